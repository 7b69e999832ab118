"""What changed, for the views that workers keep in memory: one counter, and a row for each thing that was touched.

A worker asks once a second what is new and reads those things again. An act raises the counter in its own
transaction; the counter's row stays locked until the commit, so that revisions are committed in their order.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from mainstay.kit.database import Database, DatabaseError, Transaction

REVISION = "changes"
POLL_SECONDS = 1.0
KEPT_REVISIONS = 100_000
_ROWS_MAX = 20_000
_TRIM_EVERY = 1000

_LOG = logging.getLogger(__name__)


class ChangeKind(StrEnum):
    """What a view may be told of. The values are stored."""

    ORGANISATION = "organisation"
    PROJECT = "project"
    PRINCIPAL = "principal"
    """A user, group or service account: made, changed, deactivated or deleted."""
    MEMBERS = "members"
    """Who is in a group; the id is the member's."""
    ROLE = "role"
    BINDINGS = "bindings"
    """Role bindings; the id is the principal's."""
    GRANTS = "grants"
    """Resource grants; the id is `resource_type:resource_id`."""
    POLICY = "policy"
    """Policies; the id is `scope_type:scope_id`."""
    SESSION = "session"
    IDENTITY_PROVIDER = "identity_provider"
    IDENTITY = "identity"
    """Who a provider's subject is; the id is the principal's."""
    LIMIT = "limit"
    BUDGET = "budget"
    PROVIDER = "provider"
    DEPLOYMENT = "deployment"
    WEBHOOK = "webhook"


Change = tuple[ChangeKind, str]
Changed = Mapping[ChangeKind, frozenset[str]]


class View(Protocol):
    """Something that a worker keeps in memory. Both methods may raise DatabaseError; they are then called again."""

    kinds: frozenset[ChangeKind]
    """What it wants to be told of."""

    async def reload(self) -> None:
        """Read everything anew."""
        ...

    async def apply(self, changed: Changed) -> None:
        """Read again what has changed; only kinds of its own, at least one."""
        ...


async def note_changes(transaction: Transaction, changes: Iterable[Change]) -> None:
    """Write what changed, under the next revision. Do it last in the transaction."""
    unique = list(dict.fromkeys(changes))
    if not unique:
        return
    ((revision,),) = await transaction.fetch(
        "UPDATE revisions SET value = value + 1 WHERE name = :name RETURNING value", {"name": REVISION}
    )
    await transaction.execute_many(
        "INSERT INTO changes (revision, kind, id) VALUES (:revision, :kind, :id)",
        [(revision, kind.value, id_) for kind, id_ in unique],
    )
    if revision % _TRIM_EVERY == 0:
        await transaction.execute("DELETE FROM changes WHERE revision <= :old", {"old": revision - KEPT_REVISIONS})


class ChangeFeed:
    """Keeps views up to date."""

    def __init__(self, database: Database, views: Sequence[View], *, poll_seconds: float = POLL_SECONDS) -> None:
        self._database = database
        self._views = views
        self._poll_seconds = poll_seconds
        self._revision: int | None = None
        self._refreshing = asyncio.Lock()
        self._is_reachable = True
        self.on_change: list[Callable[[], None]] = []
        """Called after views have changed."""

    async def refresh(self) -> None:
        """Bring every view up to date. Raises DatabaseError; what is known stays known."""
        async with self._refreshing:
            # The counter first: what is committed between the reads is then read once more, not missed.
            rows = await self._database.fetch("SELECT value FROM revisions WHERE name = :name", {"name": REVISION})
            newest = int(rows[0][0]) if rows else 0
            if newest == self._revision:
                return
            changed = await self._since(self._revision, newest)
            for view in self._views:
                if changed is None:
                    await view.reload()
                elif own := {kind: ids for kind, ids in changed.items() if kind in view.kinds}:
                    await view.apply(own)
            self._revision = newest
        for tell in self.on_change:
            tell()

    async def run(self) -> None:
        """Keep refreshing until cancelled. An unreachable database is logged once; views stay as they are."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except DatabaseError as error:
                if self._is_reachable:
                    _LOG.error("identity: %s What is known stays in force.", error.message)
                self._is_reachable = False
            else:
                if not self._is_reachable:
                    _LOG.warning("identity: The database answers again.")
                self._is_reachable = True

    async def _since(self, known: int | None, newest: int) -> Changed | None:
        """Return what changed after `known`, or None when everything must be read: at first, or after a restore."""
        if known is None or newest < known:
            return None
        rows = await self._database.fetch(
            "SELECT revision, kind, id FROM changes WHERE revision > :known ORDER BY revision LIMIT :rows",
            {"known": known, "rows": _ROWS_MAX + 1},
        )
        if len(rows) > _ROWS_MAX or not rows or rows[0][0] != known + 1:
            return None
        changed: dict[ChangeKind, set[str]] = {}
        for _, kind, id_ in rows:
            changed.setdefault(ChangeKind(kind), set()).add(id_)
        return {kind: frozenset(ids) for kind, ids in changed.items()}

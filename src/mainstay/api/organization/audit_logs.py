"""`/v1/organization/audit_logs`: the audit log, newest first, under the names that OpenAI has for what is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.api.admin.requests import page_of
from mainstay.api.admin.responses import ListOf
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.audit_shapes import AuditLog, Names, mainstay_actions, named_in, presented
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, ROOT, repeated
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.searching import EventSearch, search_events
from mainstay.platform.audit.verify import Entry
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.user_filter import UserFilter

_BOUNDS = {"gt": ("since_ms", 1), "gte": ("since_ms", 0), "lt": ("until_ms", 0), "lte": ("until_ms", 1)}
"""Which end of the time, and how many seconds later it lies: OpenAI's times are whole seconds."""
_LISTS = ("actor_emails", "actor_ids", "event_types", "project_ids", "resource_ids")
_LIST_MAX = 100
_SINGLES = (*PAGE, "before", "tenant_only", *(f"effective_at[{name}]" for name in _BOUNDS))
_ID = "audit_log-"


class AuditLogRoutes:
    """The audit log in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the one route."""
        yield Route(
            method="GET",
            path=ROOT + "/audit_logs",
            action=Action.READ_AUDIT,
            dialect=dialect,
            handler=self._list,
            summary="The audit log, newest first.",
            response=ListOf[AuditLog],
            query=(*_SINGLES, *_LISTS),
        )

    async def _list(self, exchange: Exchange) -> None:
        once, several = repeated(exchange, _SINGLES, _LISTS)
        for name, values in several.items():
            if len(values) > _LIST_MAX:
                raise InvalidRequestError(f"'{name}' may list {_LIST_MAX}, not {len(values)}.", param=name)
        page = page_of({"limit": once["limit"]} if "limit" in once else {})
        organisation_id = exchange.caller.organisation_id
        found = await search_events(
            self._parts.database,
            organisation_id,
            await self._search(organisation_id, once, several),
            after=_sequence(once, "after"),
            before=_sequence(once, "before"),
            limit=page.limit + 1,
        )
        is_backwards = "before" in once and "after" not in once
        shown = found[-page.limit :] if is_backwards else found[: page.limit]
        await self._answer(exchange, shown, has_more=len(found) > page.limit)

    async def _search(
        self, organisation_id: str, once: Mapping[str, str], several: Mapping[str, Sequence[str]]
    ) -> EventSearch:
        types = several.get("event_types")
        bounds = _bounds(once)
        return EventSearch(
            actions=None if types is None else [action for name in types for action in mainstay_actions(name)],
            actor_ids=await self._actors(organisation_id, several),
            target_ids=several.get("resource_ids"),
            project_ids=several.get("project_ids"),
            since_ms=bounds.get("since_ms"),
            until_ms=bounds.get("until_ms"),
        )

    async def _actors(self, organisation_id: str, several: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
        emails, ids = several.get("actor_emails"), several.get("actor_ids")
        if emails is None:
            return ids
        wanted = UserFilter(emails=emails)
        people = (await self._parts.users.list(organisation_id, PageRequest(limit=_LIST_MAX), wanted)).items
        named = [user.id for user in people]
        return named if ids is None else [one for one in ids if one in named]

    async def _answer(self, exchange: Exchange, entries: Sequence[Entry], *, has_more: bool) -> None:
        bodies = [msgspec.json.decode(entry.body, type=dict[str, Any]) for entry in entries]  # Any: an event's JSON
        organisation_id = exchange.caller.organisation_id
        people, projects = named_in(bodies)
        names = Names(
            emails={one.id: one.email for one in (await self._parts.users.get_many(organisation_id, people)).values()},
            projects=await self._parts.projects.names(organisation_id, projects),
        )
        data = [presented(f"{_ID}{body['sequence']}", body, names) for body in bodies]
        ids = [str(one["id"]) for one in data]
        listed = {
            "object": "list",
            "data": data,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": has_more,
        }
        await exchange.respond(200, msgspec.json.encode(listed), [(b"cache-control", b"no-store")])


def _sequence(once: Mapping[str, str], name: str) -> int | None:
    """Return the position that an id names. Raises InvalidRequestError."""
    text = once.get(name)
    if text is None:
        return None
    digits = text.removeprefix(_ID)
    if text == digits or not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise InvalidRequestError(f"'{name}' must be the id of an audit log, such as {_ID}7.", param=name)
    return int(digits)


def _bounds(once: Mapping[str, str]) -> dict[str, int]:
    """Return the times between which events lie. Raises InvalidRequestError."""
    found: dict[str, int] = {}
    for name, (bound, later) in _BOUNDS.items():
        text = once.get(f"effective_at[{name}]")
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise InvalidRequestError(f"'effective_at[{name}]' is a Unix time in seconds.", param="effective_at")
        at_ms = (int(text) + later) * 1000
        narrower = max if bound == "since_ms" else min
        found[bound] = narrower(found.get(bound, at_ms), at_ms)
    return found

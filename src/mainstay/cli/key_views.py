"""How keys look: in a table that fits a terminal, one by one, and as JSON."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from mainstay.cli.output import table
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.key_rows import Key

_SHORTEST_ID = 12
_NAME_CHARACTERS = 15
_USUAL_SCOPES = ("inference",)


def described(key: Key) -> dict[str, object]:
    """Return a key as JSON members; times as people and programs both read them."""
    members: dict[str, object] = msgspec.structs.asdict(key)
    for name in ("created_at", "expires_at", "revoked_at", "last_used_at"):
        members[name] = moment(getattr(key, f"{name}_ms"))
        del members[f"{name}_ms"]
    return {**members, "state": _state(key)}


def details(key: Key) -> str:
    """Return a key as lines for people."""
    facts = [
        ("id", key.id),
        ("name", key.name),
        ("key", key.hint),
        ("state", _state(key)),
        ("scopes", ", ".join(key.scopes)),
        ("deployments", "all" if key.deployments is None else ", ".join(key.deployments)),
        ("requests", _per_minute(key.requests_per_minute)),
        ("tokens", _per_minute(key.tokens_per_minute)),
        ("project", f"{key.project_id} of {key.organisation_id}"),
        ("owner", key.principal_id or "the project"),
        ("from", "anywhere" if key.networks is None else ", ".join(key.networks)),
        ("created", moment(key.created_at_ms)),
        ("expires", moment(key.expires_at_ms) or "never"),
        ("last used", moment(key.last_used_at_ms) or "not yet"),
    ]
    if key.rotated_to is not None:
        facts.append(("replaced by", key.rotated_to))
    if key.revoked_at_ms is not None:
        facts.append(("revoked", moment(key.revoked_at_ms)))
    return "\n".join(f"{name:<13}{value}" for name, value in facts)


def listing(keys: Sequence[Key]) -> str:
    """Return a table: ids as short as they are unique, and only the columns that say something."""
    ids = shortened(key.id for key in keys)
    columns: dict[str, list[str | None]] = {
        "id": [ids[key.id] for key in keys],
        "name": [_cut(key.name) for key in keys],
        "key": [key.hint for key in keys],
        "state": [_state(key) for key in keys],
        "scopes": [None if key.scopes == _USUAL_SCOPES else _scopes(key) for key in keys],
        "deployments": [None if key.deployments is None else _cut(",".join(key.deployments)) for key in keys],
        "limits": [_limits(key) for key in keys],
        "expires": [(moment(key.expires_at_ms) or "")[:10] or None for key in keys],
    }
    if all(state == "active" for state in columns["state"]):
        del columns["state"]
    told = {name: cells for name, cells in columns.items() if any(cells)}
    return table(tuple(told), zip(*told.values(), strict=True))


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id the beginning by which commands can tell it from the others."""
    distinct = set(ids)
    lengths = range(_SHORTEST_ID, max(map(len, distinct), default=0))
    length = next((length for length in lengths if len({one[:length] for one in distinct}) == len(distinct)), None)
    return {one: one[:length] for one in distinct}


def moment(milliseconds: int | None) -> str | None:
    """Return a time as in ISO 8601, UTC."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _limits(key: Key) -> str | None:
    limits = ((key.requests_per_minute, "rpm"), (key.tokens_per_minute, "tpm"))
    return ", ".join(f"{_count(count)} {unit}" for count, unit in limits if count is not None) or None


def _count(count: int) -> str:
    return str(count) if count % 1000 else f"{count // 1000}k"


def _scopes(key: Key) -> str:
    return "all" if set(key.scopes) == {Scope.INFERENCE, Scope.ADMIN} else ",".join(key.scopes)


def _per_minute(count: int | None) -> str:
    return "the limit of the settings, if any" if count is None else f"{count:,} per minute"


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_CHARACTERS else text[: _NAME_CHARACTERS - 1] + "…"


def _state(key: Key) -> str:
    if key.revoked_at_ms is not None:
        return "revoked"
    if key.expires_at_ms is not None and key.expires_at_ms <= time.time() * 1000:
        return "expired"
    return "active"

"""Audit events as OpenAI shows them: its names where it has one, Mainstay's own for the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

_Json = dict[str, Any]  # Any: an event's JSON

_TYPES: Mapping[str, str] = {
    "key.created": "api_key.created",
    "key.updated": "api_key.updated",
    "key.rotated": "api_key.updated",
    "key.revoked": "api_key.deleted",
    "user.created": "user.added",
    "user.updated": "user.updated",
    "user.deactivated": "user.updated",
    "user.reactivated": "user.updated",
    "user.deleted": "user.deleted",
    "service_account.deactivated": "service_account.updated",
    "service_account.reactivated": "service_account.updated",
    "organisation.updated": "organization.updated",
    "project.restored": "project.updated",
    "group.member_added": "group.updated",
    "group.member_removed": "group.updated",
    "binding.created": "role.assignment.created",
    "binding.deleted": "role.assignment.deleted",
    "limit.set": "rate_limit.updated",
    "limit.removed": "rate_limit.deleted",
    "session.created": "login.succeeded",
    "session.revoked": "logout.succeeded",
    "sign_in.failed": "login.failed",
}
"""Mainstay's names, and OpenAI's where it is another."""
_CREATED = (".created", ".added")


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who did it: someone who signed in, or a key."""

    type: Literal["session", "api_key"]
    session: _Json | None = None
    api_key: _Json | None = None


class AuditLog(msgspec.Struct, frozen=True, kw_only=True):
    """One event; a member that is named like its type says more."""

    id: str
    type: str
    effective_at: int
    actor: AuditActor
    project: _Json | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called now, as far as they exist still."""

    emails: Mapping[str, str]
    projects: Mapping[str, str]


def mainstay_actions(type_: str) -> Sequence[str]:
    """Return Mainstay's names for what OpenAI calls so."""
    renamed = [own for own, name in _TYPES.items() if name == type_]
    return [*renamed, type_] if type_ not in _TYPES or _TYPES[type_] == type_ else renamed


def named_in(bodies: Iterable[_Json]) -> tuple[list[str], list[str]]:
    """Return the ids of people and projects that events speak of."""
    people, projects = [], []
    for body in bodies:
        people.append(str(body["actor"]["id"]))
        project_id = _project_id(body)
        if project_id is not None:
            projects.append(project_id)
    return people, projects


def presented(id_: str, body: _Json, names: Names) -> _Json:
    """Return an event in OpenAI's shape."""
    type_ = _TYPES.get(body["action"], body["action"])
    shown: _Json = {"id": id_, "type": type_, "effective_at": body["at_ms"] // 1000, "actor": _actor(body, names)}
    project_id = _project_id(body)
    if project_id is not None:
        shown["project"] = {"id": project_id, "name": names.projects.get(project_id)}
    return shown | {type_: _payload(type_, body)}


def _payload(type_: str, body: _Json) -> _Json:
    target, details = body.get("target"), body.get("details", {})
    payload: _Json = {} if target is None else {"id": target["id"]}
    if type_.endswith(_CREATED):
        named = {} if target is None or "name" not in target else {"name": target["name"]}
        return payload | {"data": named | details}
    if type_.endswith(".updated"):
        after = {name: change[1] for name, change in body.get("changed", {}).items()}
        return payload | {"changes_requested": after | details}
    more: _Json = details
    return payload | more


def _actor(body: _Json, names: Names) -> AuditActor:
    actor = body["actor"]
    who: _Json = {"id": actor["id"]}
    if actor["id"] in names.emails:
        who["email"] = names.emails[actor["id"]]
    credential = actor.get("credential_id", "")
    if not credential.startswith("key_"):
        address = body.get("origin", {}).get("address")
        return AuditActor(type="session", session={"user": who, "ip_address": address})
    key: _Json = {"id": credential}
    if actor["type"] == "user":
        key |= {"type": "user", "user": who}
    elif actor["type"] == "service_account":
        key |= {"type": "service_account", "service_account": who}
    return AuditActor(type="api_key", api_key=key)


def _project_id(body: _Json) -> str | None:
    target = body.get("target")
    if target is not None and target["type"] == "project":
        return str(target["id"])
    project_id = body.get("details", {}).get("project_id")
    return None if project_id is None else str(project_id)

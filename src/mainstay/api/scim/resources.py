"""Users and groups as SCIM resources: between what is sent and what is stored."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.audit.events import Act
from mainstay.platform.identity.groups import Group
from mainstay.platform.identity.scim.documents import clean
from mainstay.platform.identity.scim.groups import ScimGroup, ScimGroups
from mainstay.platform.identity.scim.memberships import MEMBERS, membership_of, take_members
from mainstay.platform.identity.scim.patching import apply, read_operations
from mainstay.platform.identity.scim.queries import Query
from mainstay.platform.identity.scim.user_rows import ScimUser
from mainstay.platform.identity.scim.users import ScimUsers
from mainstay.platform.identity.scim.vocabulary import Json, Kind, Vocabulary

_TYPES = {"user": ("User", "/Users/"), "group": ("Group", "/Groups/")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who asks, for which organisation, and at which address."""

    act: Act
    organisation_id: str
    address: str
    """Where SCIM is reached, such as `https://ai.example.com/scim/v2`."""
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class Shown:
    """A resource as it is sent, with what goes into headers."""

    body: Json
    version: int

    @property
    def location(self) -> str:
        """Where the resource is."""
        return str(self.body["meta"]["location"])

    @property
    def tag(self) -> str:
        """The version as an entity tag; weak, since the body depends on what is asked for."""
        return str(self.body["meta"]["version"])


class Resources(Protocol):
    """One kind of resources. Methods raise what the stores raise."""

    links: str
    """The attribute that costs a look-up of its own."""

    def kind(self, vocabulary: Vocabulary) -> Kind:
        """Return what the kind is."""
        ...

    async def find(self, context: Context, query: Query) -> tuple[int, list[Json]]:
        """Return how many there are in all, and those of the page."""
        ...

    async def get(self, context: Context, id: str, *, wants_links: bool) -> Shown:
        """Return one."""
        ...

    async def create(self, context: Context, body: object) -> Shown:
        """Make one."""
        ...

    async def replace(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Put another in its place."""
        ...

    async def patch(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Change some of it."""
        ...

    async def delete(self, context: Context, id: str, *, expected_version: int | None) -> None:
        """Delete it."""
        ...


class UserResources:
    """Users."""

    links = "groups"

    def __init__(self, users: ScimUsers) -> None:
        self._users = users

    def kind(self, vocabulary: Vocabulary) -> Kind:
        """Return what a user is."""
        return vocabulary.user

    async def find(self, context: Context, query: Query) -> tuple[int, list[Json]]:
        """Return how many users there are in all, and those of the page."""
        found = await self._users.find(context.vocabulary.user, context.organisation_id, query)
        return found.total, [_show_user(context, user).body for user in found.items]

    async def get(self, context: Context, id: str, *, wants_links: bool) -> Shown:
        """Return one user."""
        del wants_links  # a user's groups are few
        return _show_user(context, await self._users.get(context.organisation_id, id))

    async def create(self, context: Context, body: object) -> Shown:
        """Make a user."""
        document = clean(context.vocabulary.user, body)
        return _show_user(context, await self._users.create(context.act, context.organisation_id, document))

    async def replace(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Put another document in its place; the status stays where the document says nothing of it."""
        document = clean(context.vocabulary.user, body)

        def make(before: Json) -> Json:
            return ({"active": before["active"]} if "active" in before else {}) | document

        return await self._change(context, id, make, expected_version)

    async def patch(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Change some of a user."""
        operations = read_operations(context.vocabulary.user, body)
        return await self._change(context, id, lambda before: apply(before, operations), expected_version)

    async def delete(self, context: Context, id: str, *, expected_version: int | None) -> None:
        """Delete a user."""
        await self._users.delete(context.act, context.organisation_id, id, expected_version=expected_version)

    async def _change(
        self, context: Context, id: str, make: Callable[[Json], Json], expected_version: int | None
    ) -> Shown:
        user = await self._users.change(
            context.act, context.organisation_id, id, make=make, expected_version=expected_version
        )
        return _show_user(context, user)


class GroupResources:
    """Groups."""

    links = MEMBERS

    def __init__(self, groups: ScimGroups) -> None:
        self._groups = groups

    def kind(self, vocabulary: Vocabulary) -> Kind:
        """Return what a group is."""
        return vocabulary.group

    async def find(self, context: Context, query: Query) -> tuple[int, list[Json]]:
        """Return how many groups there are in all, and those of the page."""
        found = await self._groups.find(context.vocabulary.group, context.organisation_id, query)
        return found.total, [_show_group(context, group).body for group in found.items]

    async def get(self, context: Context, id: str, *, wants_links: bool) -> Shown:
        """Return one group."""
        group = await self._groups.get(context.organisation_id, id, wants_members=wants_links)
        return _show_group(context, group)

    async def create(self, context: Context, body: object) -> Shown:
        """Make a group."""
        document = clean(context.vocabulary.group, body)
        return _show_group(context, await self._groups.create(context.act, context.organisation_id, document))

    async def replace(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Put another document, and other members, in its place."""
        document = clean(context.vocabulary.group, body)
        membership = membership_of(document)
        document.pop(MEMBERS, None)
        await self._groups.change(
            context.act,
            context.organisation_id,
            id,
            make=lambda _: document,
            membership=membership,
            expected_version=expected_version,
        )
        return await self.get(context, id, wants_links=True)

    async def patch(self, context: Context, id: str, body: object, *, expected_version: int | None) -> Shown:
        """Change some of a group; what is returned is without members, of which there may be thousands."""
        membership, others = take_members(read_operations(context.vocabulary.group, body))
        group = await self._groups.change(
            context.act,
            context.organisation_id,
            id,
            make=lambda before: apply(before, others),
            membership=membership,
            expected_version=expected_version,
        )
        return _show_group(context, group)

    async def delete(self, context: Context, id: str, *, expected_version: int | None) -> None:
        """Delete a group."""
        await self._groups.delete(context.act, context.organisation_id, id, expected_version=expected_version)


def resources_at(path: str, users: Resources, groups: Resources) -> tuple[Resources, str | None]:
    """Return which resources a path such as `/Users/ID` leads to, and the id. Raises InvalidRequestError."""
    collection, _, resource_id = path.strip("/").partition("/")
    found = {"Users": users, "Groups": groups}.get(collection)
    if found is None or "/" in resource_id:
        raise InvalidRequestError(f"'{path[:100]}' is no path of a resource; write /Users or /Groups/ID.", param="path")
    return found, resource_id or None


def _show_user(context: Context, user: ScimUser) -> Shown:
    kind = context.vocabulary.user
    extensions = [urn for urn, _ in kind.extensions.values() if urn in user.document]
    body: Json = {"schemas": [kind.schema, *extensions], "id": user.id, **user.document}
    if user.groups:
        body["groups"] = [
            {"value": group_id, "$ref": f"{context.address}/Groups/{group_id}", "display": name, "type": "direct"}
            for group_id, name in user.groups
        ]
    body["meta"] = _meta(context.address, "user", user)
    return Shown(body, user.version)


def _show_group(context: Context, shown: ScimGroup) -> Shown:
    group = shown.group
    body: Json = {"schemas": [context.vocabulary.group.schema], "id": group.id, **shown.document}
    if shown.members:
        body[MEMBERS] = [
            {"value": member_id, "$ref": f"{context.address}{_TYPES[kind][1]}{member_id}", "type": _TYPES[kind][0]}
            for member_id, kind in shown.members
        ]
    body["meta"] = _meta(context.address, "group", group)
    return Shown(body, group.version)


def _meta(address: str, kind: str, thing: ScimUser | Group) -> Json:
    name, path = _TYPES[kind]
    return {
        "resourceType": name,
        "created": _time(thing.created_at_ms),
        "lastModified": _time(thing.updated_at_ms),
        "location": f"{address}{path}{thing.id}",
        "version": f'W/"{thing.version}"',
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

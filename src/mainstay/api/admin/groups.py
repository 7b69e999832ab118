"""`/admin/v1/groups` and their members. A group that a directory keeps is changed there."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.giving import Giving
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.groups import Group, Groups, GroupSource, NewGroup
from mainstay.platform.identity.members import Member, Members
from mainstay.platform.identity.principals import PrincipalStatus, PrincipalType

_PATH = "/admin/v1/groups"
_ONE = _PATH + "/{group}"
_MEMBERS = _ONE + "/members"
_PAGE = ("limit", "after", "order")


class GroupBody(Body, frozen=True, kw_only=True):
    """A new group, without members."""

    name: str


class GroupPatch(Patch, frozen=True, kw_only=True):
    """Another name."""

    name: str


class MembersBody(Body, frozen=True, kw_only=True):
    """Who shall be in the group: users, service accounts and groups."""

    member_ids: list[str]


class GroupObject(msgspec.Struct, frozen=True, kw_only=True):
    """A group; `source` says who keeps it."""

    id: str
    object: Literal["group"] = "group"
    name: str
    source: GroupSource
    external_id: str | None
    created_at: int
    updated_at: int
    version: int


class MemberObject(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a group."""

    id: str
    object: Literal["group.member"] = "group.member"
    type: PrincipalType
    name: str
    email: str | None
    status: PrincipalStatus


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """Who was not in the group before."""

    object: Literal["group.added"] = "group.added"
    group_id: str
    member_ids: tuple[str, ...]


class GroupRoutes:
    """Administration of groups."""

    def __init__(self, groups: Groups, members: Members, giving: Giving, idempotency: Idempotency) -> None:
        self._groups = groups
        self._members = members
        self._giving = giving
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_GROUPS,
            dialect=dialect,
            handler=self._list,
            summary="The groups; `member` asks for those that name someone as a member.",
            response=ListOf[GroupObject],
            query=(*_PAGE, "name", "member"),
        )
        yield Route(
            method="GET",
            path=_MEMBERS,
            action=Action.READ_GROUPS,
            dialect=dialect,
            handler=self._list_members,
            summary="Who is in a group.",
            response=ListOf[MemberObject],
            query=_PAGE,
        )
        create, add = self._idempotency.of(self._create), self._idempotency.of(self._add)
        for method, path, handler, summary, request, response, status in (
            ("POST", _PATH, create, "Make a group.", GroupBody, GroupObject, 201),
            ("PATCH", _ONE, self._rename, "Give a group another name.", GroupPatch, GroupObject, 200),
            ("DELETE", _ONE, self._delete, "Delete a group; its members stay.", None, Deleted, 200),
            ("POST", _MEMBERS, add, "Put members into a group.", MembersBody, Added, 200),
            ("DELETE", _MEMBERS + "/{member}", self._remove, "Take a member out of a group.", None, Deleted, 200),
        ):
            yield Route(
                method=method,
                path=path,
                action=Action.WRITE_GROUPS,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
                status=status,
            )
        yield Route(
            method="GET",
            path=_ONE,
            action=Action.READ_GROUPS,
            dialect=dialect,
            handler=self._show,
            summary="One group.",
            response=GroupObject,
        )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "name", "member")
        found = await self._groups.list(
            exchange.caller.organisation_id, page, name=asked.get("name"), member_id=asked.get("member")
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, GroupBody)
        group = await self._groups.create(act_of(exchange), exchange.caller.organisation_id, NewGroup(name=body.name))
        await show(exchange, _shown(group), version=group.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        group = await self._found(exchange)
        await show(exchange, _shown(group), version=group.version)

    async def _rename(self, exchange: Exchange) -> None:
        body = await read(exchange, GroupPatch)
        group = await self._groups.rename(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["group"],
            body.name,
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(group), version=group.version)

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        group = await self._found(exchange)
        self._giving.require_not_an_owner(exchange.caller, group.id)
        await self._groups.delete(
            act_of(exchange), exchange.caller.organisation_id, group.id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=group.id, object="group"))

    async def _list_members(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        group = await self._found(exchange)
        await show_page(exchange, await self._members.list(group.organisation_id, group.id, page), _shown_member)

    async def _add(self, exchange: Exchange) -> None:
        body = await read(exchange, MembersBody)
        group = await self._found(exchange)
        self._giving.require_principal(exchange.caller, group.id)
        added = await self._members.add(act_of(exchange), group.organisation_id, group.id, body.member_ids)
        await show(exchange, Added(group_id=group.id, member_ids=added))

    async def _remove(self, exchange: Exchange) -> None:
        query(exchange)
        group, member_id = await self._found(exchange), exchange.parameters["member"]
        self._giving.require_not_an_owner(exchange.caller, group.id)
        removed = await self._members.remove(act_of(exchange), group.organisation_id, group.id, [member_id])
        if not removed:
            raise NotFoundError(f"'{member_id[:80]}' is not in the group '{group.name}'.")
        await show(exchange, Deleted(id=member_id, object="group.member"))

    async def _found(self, exchange: Exchange) -> Group:
        return await self._groups.get(exchange.caller.organisation_id, exchange.parameters["group"])


def _shown(group: Group) -> GroupObject:
    return GroupObject(
        id=group.id,
        name=group.name,
        source=group.source,
        external_id=group.external_id,
        created_at=seconds(group.created_at_ms),
        updated_at=seconds(group.updated_at_ms),
        version=group.version,
    )


def _shown_member(member: Member) -> MemberObject:
    return MemberObject(id=member.id, type=member.type, name=member.name, email=member.email, status=member.status)

"""`/admin/v1/organisation`, the caller's own, and `/admin/v1/organisations`, all of them, for the operator."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.organisation_store import (
    NewOrganisation,
    Organisation,
    OrganisationChanges,
    Organisations,
    OrganisationStatus,
)
from mainstay.platform.identity.users import NewUser

_OWN = "/admin/v1/organisation"
_ALL = "/admin/v1/organisations"
_ONE = _ALL + "/{organisation}"


class OwnerBody(Body, frozen=True, kw_only=True):
    """Who owns a new organisation."""

    email: str
    name: str


class OrganisationBody(Body, frozen=True, kw_only=True):
    """A new organisation; it begins with one project."""

    name: str
    owner: OwnerBody | None = None


class OwnOrganisationPatch(Patch, frozen=True, kw_only=True):
    """What its owners may change."""

    name: str | UnsetType = UNSET


class OrganisationPatch(OwnOrganisationPatch, frozen=True, kw_only=True):
    """What the operator may change: in an organisation that is suspended nobody may do anything."""

    status: OrganisationStatus | UnsetType = UNSET


class OrganisationObject(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation."""

    id: str
    object: Literal["organisation"] = "organisation"
    name: str
    status: OrganisationStatus
    created_at: int
    version: int


class NewOrganisationObject(OrganisationObject, frozen=True, kw_only=True):
    """An organisation that was made just now, with its first project and its owner."""

    project_id: str
    owner_id: str | None


class OrganisationRoutes:
    """Administration of organisations."""

    def __init__(self, organisations: Organisations, idempotency: Idempotency) -> None:
        self._organisations = organisations
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        all_ = Action.CREATE_ORGANISATIONS
        own_patch, patch = OwnOrganisationPatch, OrganisationPatch
        for method, path, action, handler, summary, request in (
            ("GET", _OWN, Action.READ_ORGANISATION, self._show, "The organisation of the caller.", None),
            ("PATCH", _OWN, Action.WRITE_ORGANISATION, self._rename, "Give it another name.", own_patch),
            ("GET", _ONE, all_, self._show, "One organisation.", None),
            ("PATCH", _ONE, all_, self._update, "Rename, suspend or reactivate an organisation.", patch),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=OrganisationObject,
            )
        yield Route(
            method="GET",
            path=_ALL,
            action=all_,
            dialect=dialect,
            handler=self._list,
            summary="All organisations of the installation.",
            response=ListOf[OrganisationObject],
            query=("limit", "after", "order"),
        )
        yield Route(
            method="POST",
            path=_ALL,
            action=all_,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make an organisation with a project and an owner.",
            request=OrganisationBody,
            response=NewOrganisationObject,
            status=201,
        )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        await show_page(exchange, await self._organisations.list(page), _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, OrganisationBody)
        owner = None if body.owner is None else NewUser(email=body.owner.email, name=body.owner.name)
        made = await self._organisations.create(
            act_of(exchange), exchange.caller.organisation_id, NewOrganisation(name=body.name, owner=owner)
        )
        organisation = made.organisation
        shown = NewOrganisationObject(
            **msgspec.structs.asdict(_shown(organisation)),
            project_id=made.project.id,
            owner_id=None if made.owner is None else made.owner.id,
        )
        await show(exchange, shown, version=organisation.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        organisation = await self._organisations.get(_named(exchange))
        await show(exchange, _shown(organisation), version=organisation.version)

    async def _rename(self, exchange: Exchange) -> None:
        body = await read(exchange, OwnOrganisationPatch)
        await self._change(exchange, OrganisationChanges(name=body.name))

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, OrganisationPatch)
        await self._change(exchange, OrganisationChanges(name=body.name, status=body.status))

    async def _change(self, exchange: Exchange, changes: OrganisationChanges) -> None:
        organisation = await self._organisations.update(
            act_of(exchange), _named(exchange), changes, expected_version=expected_version(exchange)
        )
        await show(exchange, _shown(organisation), version=organisation.version)


def _named(exchange: Exchange) -> str:
    """Return the organisation that the address names: without a parameter, the caller's own."""
    return exchange.parameters.get("organisation", exchange.caller.organisation_id)


def _shown(organisation: Organisation) -> OrganisationObject:
    return OrganisationObject(
        id=organisation.id,
        name=organisation.name,
        status=organisation.status,
        created_at=seconds(organisation.created_at_ms),
        version=organisation.version,
    )

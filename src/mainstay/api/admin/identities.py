"""`/admin/v1/identity_providers/{id}/identities`: who a provider's subjects are here."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.identity_providers import PATH
from mainstay.api.admin.requests import Body, act_of, page_request, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.identities import Identities, Identity
from mainstay.platform.identity.identity_providers import IdentityProviders

_PATH = PATH + "/{identity_provider}/identities"


class IdentityBody(Body, frozen=True, kw_only=True):
    """A subject, as the provider's tokens name it, and the user that it shall be."""

    subject: str
    user_id: str


class IdentityObject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject of a provider and the user that it is; the id is the user's."""

    id: str
    object: Literal["identity"] = "identity"
    subject: str
    user_id: str
    created_at: int
    last_seen_at: int


class IdentityRoutes:
    """Administration of identities."""

    def __init__(
        self, identities: Identities, providers: IdentityProviders, authority: Authority, idempotency: Idempotency
    ) -> None:
        self._identities = identities
        self._providers = providers
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._list,
            summary="Who a provider's subjects are here.",
            response=ListOf[IdentityObject],
            query=("limit", "after", "order", "user"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._idempotency.of(self._link),
            summary="Let a subject be a user.",
            request=IdentityBody,
            response=IdentityObject,
            status=201,
        )
        yield Route(
            method="DELETE",
            path=_PATH + "/{user}",
            action=Action.WRITE_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._separate,
            summary="Let a subject be a user no more, and end the user's sessions.",
            response=Deleted,
        )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "user")
        organisation_id = exchange.caller.organisation_id
        provider = await self._providers.get(organisation_id, exchange.parameters["identity_provider"])
        found = await self._identities.list(organisation_id, provider.id, page, user_id=asked.get("user"))
        await show_page(exchange, found, _shown)

    async def _link(self, exchange: Exchange) -> None:
        body = await read(exchange, IdentityBody)
        caller = exchange.caller
        # Whoever can choose the subject can sign in as the user.
        self._authority.require_covers_principal(caller, body.user_id)
        identity = await self._identities.link(
            act_of(exchange),
            caller.organisation_id,
            exchange.parameters["identity_provider"],
            subject=body.subject,
            user_id=body.user_id,
        )
        await show(exchange, _shown(identity), status=201)

    async def _separate(self, exchange: Exchange) -> None:
        user_id = exchange.parameters["user"]
        await self._identities.separate(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["identity_provider"], user_id
        )
        await show(exchange, Deleted(id=user_id, object="identity"))


def _shown(identity: Identity) -> IdentityObject:
    return IdentityObject(
        id=identity.user_id,
        subject=identity.subject,
        user_id=identity.user_id,
        created_at=seconds(identity.created_at_ms),
        last_seen_at=seconds(identity.last_seen_at_ms),
    )

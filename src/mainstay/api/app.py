"""The ASGI application: no framework between a model call and the socket."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mainstay.api.authentication import Authentication
from mainstay.api.browsers import Browsers
from mainstay.api.client_address import ClientAddresses
from mainstay.api.exchange import ClientGoneError, Exchange, Receive, Send
from mainstay.api.live_calls import ENDED, LiveCalls
from mainstay.api.organisation_header import HEADER as ORGANISATION_HEADER
from mainstay.api.organisation_header import OrganisationHeader
from mainstay.api.routes import Route, Router
from mainstay.kit.errors import MainstayError, PermissionDeniedError, UnavailableError
from mainstay.kit.ids import new_id
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import SOMEWHERE, Authority, Resource

_LOG = logging.getLogger("mainstay.api")
_STRANGERS_BODY_BYTES = 128 * 1024
"""What is read of someone who is not known: more than any form of ours has."""
DRAIN = "mainstay.drain"
"""The message of the cancellation that ends what is still open when the grace period is over."""


def ignore_denial(exchange: Exchange, route: Route, error: PermissionDeniedError) -> None:
    """Do nothing; the caller is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What stands between the network and the routes."""

    authentication: Authentication
    authority: Authority
    live_calls: LiveCalls
    organisations: OrganisationHeader
    browsers: Browsers = field(default_factory=Browsers)
    addresses: ClientAddresses = field(default_factory=ClientAddresses)
    on_denied: Callable[[Exchange, Route, PermissionDeniedError], None] = ignore_denial
    """Called when a known caller may not do what it asks for."""


class App:
    """Dispatch: find the route, know the caller, authorise, handle; and turn every failure into a response."""

    def __init__(self, router: Router, edge: Edge, *, body_limit: int, on_response: Callable[[Exchange], None]) -> None:
        self._router = router
        self._edge = edge
        self._body_limit = body_limit
        self._on_response = on_response

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # an ASGI 3.0 scope
        exchange = Exchange(scope, receive, send, body_limit=self._body_limit)
        exchange.request_id = new_id("req_")
        exchange.dialect = self._router.dialect_of(exchange.path)
        exchange.edge_headers = self._edge.browsers.headers(exchange)
        exchange.address = self._edge.addresses.find(exchange.address, scope["headers"])
        try:
            await self._serve(exchange, scope["raw_path"])
        except ClientGoneError:
            return
        except MainstayError as error:
            await exchange.fail(error)
        except asyncio.CancelledError as cancelled:
            await self._cancelled(exchange, cancelled)
        except Exception:  # noqa: BLE001 - the edge: whatever escapes must become a response, never a dead socket
            _LOG.exception("request %s (%s %s) failed", exchange.request_id, exchange.method, exchange.path)
            await exchange.fail(
                MainstayError(f"The server failed to handle this request; its log names {exchange.request_id}.")
            )
        finally:
            self._on_response(exchange)

    async def _serve(self, exchange: Exchange, raw_path: bytes) -> None:
        if exchange.method == "OPTIONS" and await self._edge.browsers.answer_preflight(exchange):
            return
        route, exchange.parameters = self._router.find(exchange.method, exchange.path, raw_path)
        exchange.dialect = route.dialect
        if route.action is Action.PUBLIC:
            exchange.limit_body(_STRANGERS_BODY_BYTES)
            await route.handler(exchange)
            return
        try:
            resource = await self._admit(exchange, route)
            if _may_be_ended(route):
                await self._handle_live(exchange, route, resource)
            else:
                await route.handler(exchange)
        except PermissionDeniedError as error:
            if hasattr(exchange, "caller") and not error.is_noted:
                self._edge.on_denied(exchange, route, error)
            raise

    async def _handle_live(self, exchange: Exchange, route: Route, resource: Resource | None) -> None:
        live_calls = self._edge.live_calls
        live_calls.enter(exchange, route.action, resource)
        try:
            await route.handler(exchange)
        finally:
            live_calls.leave(exchange)

    async def _admit(self, exchange: Exchange, route: Route) -> Resource | None:
        """Know the caller and authorise; return what is acted on."""
        edge = self._edge
        caller = edge.authentication.find(exchange)
        if caller is None:
            caller = await edge.authentication.verify(exchange)
        exchange.caller = caller
        organisation = exchange.headers.get(ORGANISATION_HEADER)
        if organisation is not None:
            exchange.caller = edge.organisations.enter(caller, organisation)
        resource = _resource(route, exchange)
        edge.authority.authorize(exchange.caller, route.action, resource)
        return resource

    async def _cancelled(self, exchange: Exchange, cancelled: asyncio.CancelledError) -> None:
        """The caller went away (nothing to say), the server is about to stop or the caller may not have it (say so)."""
        if cancelled.args == (DRAIN,):
            reason: MainstayError = UnavailableError(
                "The server is restarting; send the request again.", retry_after_seconds=1.0
            )
        elif cancelled.args == (ENDED,) and exchange.ending is not None:
            reason = exchange.ending
        else:
            return
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        await exchange.fail(reason)


def _may_be_ended(route: Route) -> bool:
    """Whether a request may be ended in the middle when its caller may not have it any more.

    Not what is being written: whoever revokes the very key that he uses is told that it was done.
    """
    return route.action is Action.CALL_MODEL or route.method == "GET"


def _resource(route: Route, exchange: Exchange) -> Resource | None:
    """What the address names, where permissions may be given for it alone: a project."""
    if route.is_narrowed:
        return SOMEWHERE
    if not route.project:
        return None
    project_id = exchange.parameters[route.project]
    return Resource(type="project", id=project_id, project_id=project_id)

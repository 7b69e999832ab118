"""The ASGI application: no framework between a model call and the socket."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mainstay.api.authentication import Callers, authenticate
from mainstay.api.exchange import ClientGoneError, Exchange, Receive, Send
from mainstay.api.routes import Route, Router
from mainstay.kit.errors import MainstayError, UnavailableError
from mainstay.kit.ids import new_id
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import SOMEWHERE, Authority, Resource

_LOG = logging.getLogger("mainstay.api")
DRAIN = "mainstay.drain"
"""The message of the cancellation that ends what is still open when the grace period is over."""


class App:
    """Dispatch: find the route, know the caller, authorise, handle; and turn every failure into a response."""

    def __init__(
        self,
        router: Router,
        callers: Callers,
        authority: Authority,
        *,
        body_limit: int,
        on_response: Callable[[Exchange], None],
    ) -> None:
        self._router = router
        self._callers = callers
        self._authority = authority
        self._body_limit = body_limit
        self._on_response = on_response

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # an ASGI 3.0 scope
        exchange = Exchange(scope, receive, send, body_limit=self._body_limit)
        exchange.request_id = new_id("req_")
        exchange.dialect = self._router.dialect_of(exchange.path)
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
        route, exchange.parameters = self._router.find(exchange.method, exchange.path, raw_path)
        exchange.dialect = route.dialect
        if route.action is not Action.PUBLIC:
            exchange.caller = authenticate(exchange.headers, self._callers)
            self._authority.authorize(exchange.caller, route.action, _resource(route, exchange))
        await route.handler(exchange)

    async def _cancelled(self, exchange: Exchange, cancelled: asyncio.CancelledError) -> None:
        """The caller went away (nothing to say), or the server is about to stop (say so)."""
        if cancelled.args != (DRAIN,):
            return
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        await exchange.fail(
            UnavailableError("The server is restarting; send the request again.", retry_after_seconds=1.0)
        )


def _resource(route: Route, exchange: Exchange) -> Resource | None:
    """What the address names, where permissions may be given for it alone: a project."""
    if route.is_narrowed:
        return SOMEWHERE
    if not route.project:
        return None
    project_id = exchange.parameters[route.project]
    return Resource(type="project", id=project_id, project_id=project_id)

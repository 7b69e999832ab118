"""The routes that call models: chat completions, completions, embeddings, in every dialect."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from mainstay.api.exchange import Exchange, Header
from mainstay.inference import Operation
from mainstay.kit.errors import NotFoundError
from mainstay.serving.calls import Call, Calls, Incoming

_DONE = b"[DONE]"


class ModelCalls:
    """Reads a call off the wire and writes its answer back."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def handler(self, operation: Operation) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of one operation."""

        async def handle(exchange: Exchange) -> None:
            call = self._calls.read(
                Incoming(
                    operation=operation,
                    caller=exchange.caller,
                    body=await exchange.read_body(),
                    request_id=exchange.request_id,
                    deployment=exchange.parameters.get("deployment"),
                )
            )
            exchange.deployment = call.name
            if call.request.is_stream:
                await self._stream(exchange, call)
            else:
                await self._answer(exchange, call)

        return handle

    def classic_handler(self, operation: Operation) -> Callable[[Exchange], Awaitable[None]]:
        """The same behind Azure's classic URLs, which need an `api-version`; any version is as good as another."""
        handle = self.handler(operation)

        async def handle_classic(exchange: Exchange) -> None:
            require_api_version(exchange)
            await handle(exchange)

        return handle_classic

    async def _answer(self, exchange: Exchange, call: Call) -> None:
        served = await self._calls.answer(call)
        headers = exchange.dialect.limit_headers(served.remaining) + self._target_headers(exchange, call)
        await exchange.respond(200, served.answer.body, headers)

    async def _stream(self, exchange: Exchange, call: Call) -> None:
        # The head waits for the first batch: a target that fails before it has said anything is an HTTP error.
        async with await self._calls.stream(call) as served, aclosing(served.batches()) as batches:
            first: list[bytes] = await anext(batches, [])
            call.request.release_body()
            if call.request.operation is Operation.CHAT:
                first = exchange.dialect.first_chunks(first)
            headers = exchange.dialect.limit_headers(served.remaining) + self._target_headers(exchange, call)
            await exchange.start_events(headers)
            if first:
                await exchange.send_events(first)
            async for batch in batches:
                await exchange.send_events(batch)
        await exchange.end_events(_DONE)

    def _target_headers(self, exchange: Exchange, call: Call) -> list[Header]:
        name = call.deployment.name.encode("latin-1", "replace")
        target = call.deployment.target
        return [
            (b"x-ms-deployment-name" if exchange.dialect.name == "azure" else b"x-mainstay-deployment", name),
            (b"x-mainstay-target", f"{target.provider}/{target.model_name}".encode("latin-1", "replace")),
        ]


def require_api_version(exchange: Exchange) -> None:
    """Refuse a classic Azure call without `api-version`, as Azure does."""
    if not exchange.query().get("api-version"):
        raise NotFoundError(
            "Resource not found: this address needs the query parameter 'api-version', e.g. ?api-version=2024-10-21.",
            code="404",
        )

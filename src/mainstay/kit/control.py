"""Calls between the processes of one installation: JSON lines over a Unix socket that only its owner can open.

A connection carries calls both ways at once: each line is a call (`call`, `method`, `params`), its result
(`result` or `error` with the same number), or a notice (`method` without a number).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainstay.kit.errors import MainstayError, UnavailableError

_LOG = logging.getLogger("mainstay.control")
_LINE_LIMIT = 16 * 1024 * 1024
Params = Mapping[str, Any]  # JSON values; each method validates its own
Handler = Callable[["Connection", Params], Awaitable[Any]]


class Frame(msgspec.Struct, omit_defaults=True):
    """One line."""

    call: int | None = None
    method: str | None = None
    params: dict[str, Any] = {}
    result: Any = None
    error: dict[str, Any] | None = None


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(Frame).decode


class Connection:
    """One end. `run` reads until the peer goes away; calls in flight then fail with UnavailableError."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_call = 0
        self.is_closed = False
        self.on_close: list[Callable[[], None]] = []

    async def call(self, method: str, params: Params | None = None, *, timeout_seconds: float = 30.0) -> Any:
        """Call the peer. Raises the peer's error as a MainstayError, UnavailableError when it has gone."""
        if self.is_closed:
            raise _gone()
        self._last_call += 1
        number = self._last_call
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._write(Frame(call=number, method=method, params=dict(params or {})))
        try:
            async with asyncio.timeout(timeout_seconds):
                return await future
        except TimeoutError:
            raise UnavailableError(f"The supervisor did not answer '{method}' in {timeout_seconds:.0f} s.") from None
        finally:
            self._waiting.pop(number, None)

    def notify(self, method: str, params: Params) -> None:
        """Tell the peer; nothing comes back."""
        if not self.is_closed:
            self._write(Frame(method=method, params=dict(params)))

    async def run(self) -> None:
        """Serve the connection until it ends."""
        try:
            while line := await self._reader.readline():
                self._receive(_DECODE(line))
        except (ConnectionError, msgspec.DecodeError, ValueError) as error:
            _LOG.warning("control connection ended: %s", error)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close this end."""
        if self.is_closed:
            return
        self.is_closed = True
        for task in self._tasks:
            task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_gone())
        self._writer.close()
        for callback in self.on_close:
            callback()

    def _receive(self, frame: Frame) -> None:
        if frame.method is not None:
            task = asyncio.get_running_loop().create_task(self._serve(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        future = self._waiting.get(frame.call or 0)
        if future is None or future.done():
            return
        if frame.error is None:
            future.set_result(frame.result)
        else:
            future.set_exception(raised(frame.error))

    async def _serve(self, frame: Frame) -> None:
        method = frame.method or ""
        try:
            handler = self._handlers.get(method)
            if handler is None:
                raise MainstayError(f"'{method}' is not a control call of this version.", code="unknown_method")
            result = await handler(self, frame.params)
            answer = Frame(call=frame.call, result=result)
        except MainstayError as error:
            answer = Frame(call=frame.call, error=_told(error))
        except Exception as error:  # noqa: BLE001 - the boundary between processes: the peer must get an answer
            _LOG.exception("control call '%s' failed", method)
            answer = Frame(call=frame.call, error={"message": f"'{method}' failed: {error}", "status": 500})
        if frame.call is not None and not self.is_closed:
            self._write(answer)

    def _write(self, frame: Frame) -> None:
        self._writer.write(_ENCODE(frame) + b"\n")


async def connect(path: Path, handlers: Mapping[str, Handler]) -> Connection:
    """Connect to a control socket; the caller runs the connection. Raises UnavailableError."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LINE_LIMIT)
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            f"No Mainstay answers on {path} ({str(error) or 'time out'}); start it with 'mainstay serve'."
        ) from error
    return Connection(reader, writer, handlers)


async def listen(
    path: Path, handlers: Mapping[str, Handler], on_connect: Callable[[Connection], None] | None = None
) -> asyncio.Server:
    """Accept control connections on `path`, which is created for its owner only."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, handlers)
        if on_connect is not None:
            on_connect(connection)
        await connection.run()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
    server = await asyncio.start_unix_server(accept, path=str(path), limit=_LINE_LIMIT)
    path.chmod(0o600)  # noqa: ASYNC240 - once, at start
    return server


def _told(error: MainstayError) -> dict[str, Any]:  # a JSON object
    return {
        "message": error.message,
        "status": error.status,
        "code": error.code,
        "type": error.type,
        "param": error.param,
        "can_retry": error.can_retry,
        "retry_after_seconds": error.retry_after_seconds,
    }


def raised(told: Mapping[str, Any]) -> MainstayError:
    """The error that a frame tells of."""
    return MainstayError(
        str(told.get("message")),
        status=told.get("status"),
        code=told.get("code"),
        type=told.get("type"),
        param=told.get("param"),
        can_retry=told.get("can_retry"),
        retry_after_seconds=told.get("retry_after_seconds"),
    )


def _gone() -> UnavailableError:
    return UnavailableError("The supervisor has gone away; the call was not carried out.", retry_after_seconds=1.0)

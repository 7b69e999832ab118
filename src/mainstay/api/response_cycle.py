"""Writes responses: the head goes out together with the first part of the body, in one system call.

uvicorn writes them separately (0.54), which costs a call more for each response and wakes the peer twice.
"""

from collections.abc import Iterable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NO_BODY = (204, 304)


class ResponseCycle(RequestResponseCycle):
    """uvicorn's cycle of one request and its response, with another way of writing."""

    held_head = b""
    """The head, from the application's first message to its second."""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override] # an ASGI message
        """Take a message of the application. Raises RuntimeError when it is out of order."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._begin(message)
        elif not self.response_complete:
            self._continue(message)
        else:
            raise RuntimeError(f"ASGI message '{message['type']}' came after the response was complete.")

    def _begin(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"The first ASGI message is '{message['type']}'.")
        self.response_started = True
        self.waiting_for_100_continue = False
        status: int = message["status"]
        parts = [STATUS_LINE[status]]
        self._add_headers(parts, self.default_headers)
        self._add_headers(parts, message.get("headers", ()))
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        self.held_head = b"".join(parts)

    def _add_headers(self, parts: list[bytes], headers: Iterable[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if b"\n" in value or b"\r" in value or b"\0" in value:
                raise RuntimeError(f"The value of the response header {name!r} holds a line break.")
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            parts += (name, b": ", value, b"\r\n")

    def _continue(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"ASGI message '{message['type']}' came where the body was due.")
        body: bytes = message.get("body", b"")
        is_last = not message.get("more_body", False)
        out, self.held_head = self.held_head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            out += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            out += b"0\r\n\r\n" if is_last else b""
        else:
            self.expected_content_length -= len(body)
            out += body
        if self.expected_content_length < 0 or (is_last and self.expected_content_length and not self.chunked_encoding):
            raise RuntimeError("The response is not as long as its Content-Length says.")
        if out:
            self.transport.write(out)
        if is_last:
            self._end()

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

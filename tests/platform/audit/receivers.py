"""A receiver of webhooks that checks signatures as the specification says, and answers what a test wants."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any


class Receiver:
    """Keeps what it has accepted, and what was sent to it in all."""

    def __init__(self) -> None:
        self.url = ""
        self.secrets: list[str] = []
        self.answers: list[bytes] = []
        """What the next requests are answered, 200 when there is nothing."""
        self.attempts = 0
        self.accepted: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.received = asyncio.Event()

    @property
    def sequences(self) -> list[int]:
        return [event["body"]["sequence"] for message in self.accepted for event in message["data"]["events"]]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.attempts += 1
            answer = self.answers.pop(0) if self.answers else b"200 OK"
            if answer.startswith(b"200"):
                assert self._is_signed(headers, body), "the signature is wrong"
                self.headers.append(headers)
                self.accepted.append(json.loads(body))
            self.received.set()
            writer.write(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        version, _, given = headers["webhook-signature"].partition(",")
        keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in self.secrets]
        return version == "v1" and any(
            hmac.compare_digest(base64.b64decode(given), hmac.new(key, content, hashlib.sha256).digest())
            for key in keys
        )


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/audit?token=canary-of-the-path"
    try:
        yield receiver
    finally:
        server.close()

"""Requests to a real server, with any credential in any place."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CARRIERS = {
    "bearer": lambda secret: {"authorization": f"Bearer {secret}"},
    "api-key": lambda secret: {"api-key": secret},
    "x-api-key": lambda secret: {"x-api-key": secret},
}


@dataclass(frozen=True)
class Told:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """One server, asked over one connection at a time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str] = {}, body: Any = None) -> Told:
        """Send a request; a body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = dict(headers)
        if content is not None:
            scim = path.startswith("/scim/")
            sent.setdefault("content-type", "application/scim+json" if scim else "application/json")
        try:
            self._connection.request(method, path, body=content, headers=sent)
            answer = self._connection.getresponse()
            told = Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            raise
        if answer.will_close:
            self._connection.close()
        return told


_JSON = {"content-type": "application/json"}


def cookie(value: str, url: str) -> dict[str, str]:
    """Return the headers of a request that a page of ours makes in a browser."""
    return {"cookie": f"mainstay={value}", "origin": url, "sec-fetch-site": "same-origin"} | _JSON

"""The cookie of a session: how it is set so that nobody else reads, sets or sends it."""

from collections.abc import Mapping

from mainstay.api.exchange import Header

NAME = b"mainstay"
_HOST_PREFIX = b"__Host-"
"""A browser takes a cookie of this name only from this very host, over TLS (RFC 6265bis, 4.1.3.2)."""
_ATTRIBUTES = b"; Path=/; HttpOnly; SameSite=Lax"


class Cookies:
    """Writes and reads the cookie. Behind https it is sent over nothing else."""

    def __init__(self, public_url: str | None, *, name: bytes = NAME) -> None:
        is_secure = public_url is not None and public_url.startswith("https://")
        self.name = (_HOST_PREFIX if is_secure else b"") + name
        self._attributes = _ATTRIBUTES + (b"; Secure" if is_secure else b"")

    def set(self, secret: str, *, max_age_seconds: int) -> Header:
        """Return the header that gives the browser its cookie."""
        age = b"; Max-Age=%d" % max(max_age_seconds, 0)
        return b"set-cookie", self.name + b"=" + secret.encode() + age + self._attributes

    def clear(self) -> Header:
        """Return the header that takes the cookie away."""
        return b"set-cookie", self.name + b"=; Max-Age=0" + self._attributes

    def read(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """Return the cookie that the browser sent; None without one, or with two: one of them was planted."""
        line = headers.get(b"cookie")
        if line is None:
            return None
        found = [
            value for name, _, value in (part.partition(b"=") for part in line.split(b";")) if name.strip() == self.name
        ]
        return found[0].strip() if len(found) == 1 else None

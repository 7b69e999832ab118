"""What a vendor says about a failure, read from whatever it sent: an error object, a bare message, a web page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgspec

MAX_MESSAGE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class VendorError:
    """The parts of an error object that vendors agree on; absent ones are None."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | None = None
    status: int | None = None
    """The status that an error inside a 200 claims for itself."""
    body: bytes | None = None
    """The error object as it was sent."""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the body of a failed call; never raises."""
        try:
            document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return cls()
        return cls.of(document.get("error", msgspec.Raw(body)))

    @classmethod
    def of(cls, raw: msgspec.Raw) -> Self:
        """Read an error object, or a string in its place."""
        encoded = bytes(raw)
        try:
            content = msgspec.json.decode(encoded)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return cls()
        if isinstance(content, str):
            return cls(message=content[:MAX_MESSAGE_CHARACTERS])
        if not isinstance(content, Mapping):
            return cls()
        return cls(
            message=_text(content, "message", "detail"),
            type=_text(content, "type"),
            param=_text(content, "param"),
            code=_text(content, "code"),
            status=_status(content),
            body=encoded,
        )


def is_error(raw: msgspec.Raw) -> bool:
    """Say whether the member `error` of an answer reports one; many vendors always send it, as null."""
    return bytes(raw).strip() not in (b"", b"null", b"false", b"{}", b"[]", b'""')


def _text(content: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = content.get(name)
        if isinstance(value, str) and value:
            return value[:MAX_MESSAGE_CHARACTERS]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _status(content: Mapping[str, object]) -> int | None:
    for name in ("status", "statusCode", "code"):
        value = content.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None

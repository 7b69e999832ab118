"""Reading what administrators send: strict bodies, pages, versions, and who is acting."""

import hashlib
import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import msgspec.inspect

from mainstay.api.exchange import Exchange
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.pages import LIMIT_DEFAULT, LIMIT_MAX, PageRequest
from mainstay.platform.audit.events import Act, Actor, Origin

_PAGE = frozenset({"limit", "after", "order"})
_BODY_BYTES_MAX = 1024 * 1024
_CURSOR_LENGTH_MAX = 128
_HEADER_LENGTH_MAX = 256
_is_cursor = re.compile(r"[A-Za-z0-9_.:@/-]+").fullmatch
_is_version = re.compile(r'(?:W/)?"(\d{1,18})"').fullmatch
_unsafe = re.compile(r"[\x00-\x1f\x7f]")

T = TypeVar("T")


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What bodies derive from: a member that is not declared is refused, never ignored."""


class Patch(Body, frozen=True, kw_only=True):
    """What bodies of PATCH derive from: members default to msgspec.UNSET, which leaves things as they are."""


async def read(exchange: Exchange, kind: type[T]) -> T:
    """Decode the body. Raises InvalidRequestError that names the member by its JSON path."""
    body = await exchange.read_body()
    if len(body) > _BODY_BYTES_MAX:
        raise InvalidRequestError(f"The body has {len(body)} bytes; {_BODY_BYTES_MAX} are enough here.", status=413)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text, _, path = str(error).partition(" - at `$")
        param = path.rstrip("`").lstrip(".") or None
        where = f" ({param})" if param else ""
        if allowed := _allowed(kind, param):
            text = f"{text}; it may be {allowed}"
        raise InvalidRequestError(f"The body cannot be used{where}: {text}.", param=param) from None
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


def _allowed(kind: type[object], param: str | None) -> str:
    """Return the values that a member of a closed set may have, in words; nothing for other members."""
    for member in msgspec.structs.fields(kind) if param and issubclass(kind, msgspec.Struct) else ():
        if member.encode_name == param:
            found = msgspec.inspect.type_info(member.type)
            types = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
            values = [value for one in types for value in _values(one)]
            return ", ".join(str(value) for value in values)
    return ""


def _values(found: msgspec.inspect.Type) -> list[object]:
    if isinstance(found, msgspec.inspect.EnumType):
        return [member.value for member in found.cls]
    return list(found.values) if isinstance(found, msgspec.inspect.LiteralType) else []


def query(exchange: Exchange, *known: str) -> dict[str, str]:
    """Return the parameters of the query. Raises InvalidRequestError for one that is not in `known`."""
    asked = exchange.query()
    for name in asked.keys() - set(known):
        shown = ", ".join(sorted(known)) or "none"
        raise InvalidRequestError(f"'{name[:100]}' is not a parameter here; known are: {shown}.", param=name[:100])
    return asked


def page_request(exchange: Exchange, *filters: str) -> tuple[PageRequest, dict[str, str]]:
    """Return which page is asked for, and the values of `filters`."""
    asked = query(exchange, *_PAGE, *filters)
    return page_of(asked), {name: value for name, value in asked.items() if name not in _PAGE}


def page_of(asked: Mapping[str, str]) -> PageRequest:
    """Return which page the parameters ask for. Raises InvalidRequestError."""
    limit = asked.get("limit", str(LIMIT_DEFAULT))
    if not (len(limit) <= len(str(LIMIT_MAX)) and limit.isascii() and limit.isdigit() and 1 <= int(limit) <= LIMIT_MAX):
        raise InvalidRequestError(f"'limit' must be a number from 1 to {LIMIT_MAX}.", param="limit")
    order = asked.get("order", "asc")
    if order not in ("asc", "desc"):
        raise InvalidRequestError("'order' must be asc or desc.", param="order")
    after = asked.get("after")
    if after is not None and (len(after) > _CURSOR_LENGTH_MAX or not _is_cursor(after)):
        raise InvalidRequestError("'after' must be the last id of the page before.", param="after")
    return PageRequest(limit=int(limit), after=after, is_descending=order == "desc")


def expected_version(exchange: Exchange) -> int | None:
    """Return the version that the caller has read, from If-Match; None if any will do."""
    text = exchange.headers.get(b"if-match", b"*").decode("latin-1").strip()
    if text == "*":
        return None
    found = _is_version(text)
    if found is None:
        raise InvalidRequestError('If-Match must be a version as it came in the ETag header, such as "3".')
    return int(found[1])


def act_of(exchange: Exchange) -> Act:
    """Return who is acting, for the audit log, and the key by which the request is known again."""
    caller = exchange.caller
    key = exchange.headers.get(b"idempotency-key") if exchange.method == "POST" else None
    return Act(
        actor=Actor(type=caller.actor_type, id=caller.principal_id or caller.key_id, credential_id=caller.key_id),
        origin=origin_of(exchange),
        reason=_header(exchange, b"x-mainstay-reason"),
        idempotency_key=None if key is None else idempotency_key(key),
        request_digest=None if key is None else request_digest(exchange),
    )


def origin_of(exchange: Exchange) -> Origin:
    """Return where the request came from."""
    return Origin(address=exchange.address, user_agent=_header(exchange, b"user-agent"), request_id=exchange.request_id)


def idempotency_key(value: bytes) -> str:
    """Return the key as text. Raises InvalidRequestError if it is none."""
    if not 1 <= len(value) <= _HEADER_LENGTH_MAX or not value.isascii():
        raise InvalidRequestError(f"Idempotency-Key must be 1 to {_HEADER_LENGTH_MAX} ASCII characters.")
    return value.decode()


def request_digest(exchange: Exchange) -> bytes:
    """Return what two requests must have in common to be the same: SHA-256 of path and body."""
    body = exchange.kept_body or b""
    return hashlib.sha256(exchange.path.encode("utf-8", "surrogateescape") + b"\n" + body).digest()


def _header(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.headers.get(name)
    return None if value is None else _unsafe.sub(" ", value[:_HEADER_LENGTH_MAX].decode("utf-8", "replace"))

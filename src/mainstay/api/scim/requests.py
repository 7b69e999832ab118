"""Reading what SCIM clients send: bodies, queries, versions."""

import re
from collections.abc import Mapping

import msgspec

from mainstay.api.admin.requests import origin_of
from mainstay.api.exchange import Exchange
from mainstay.api.scim.selection import Selection, select
from mainstay.kit.errors import InvalidRequestError, VersionMismatchError
from mainstay.platform.audit.events import Act, Actor, ActorType
from mainstay.platform.identity.scim.errors import InvalidSyntaxError, InvalidValueError
from mainstay.platform.identity.scim.queries import COUNT_DEFAULT, COUNT_MAX, Query
from mainstay.platform.identity.scim.vocabulary import Json, Kind

BODY_BYTES_MAX = 8 * 1024 * 1024
"""A group of 100,000 members."""

_START_INDEX_MAX = 2**31
_CONTENT_TYPES = ("application/scim+json", "application/json")
_is_tag = re.compile(r'(?:W/)?"(\d{1,18})"').fullmatch


async def read_body(exchange: Exchange) -> Json:
    """Return the body, a JSON object. Raises InvalidSyntaxError, or status 413 or 415."""
    declared = exchange.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if declared and declared not in _CONTENT_TYPES:
        raise InvalidRequestError(f"The body is declared as {declared!r}; send application/scim+json.", status=415)
    body = await exchange.read_body()
    if len(body) > BODY_BYTES_MAX:
        raise InvalidRequestError(f"The body has {len(body)} bytes; {BODY_BYTES_MAX} are possible.", status=413)
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSyntaxError(f"The body is no JSON: {error}.") from None
    except RecursionError:
        raise InvalidSyntaxError("The body is nested too deeply.") from None
    if not isinstance(decoded, dict):
        raise InvalidSyntaxError("The body must be a JSON object.")
    return decoded


def act_of(exchange: Exchange) -> Act:
    """Return who is acting: a directory, by its token."""
    caller = exchange.caller
    actor = Actor(type=ActorType.DIRECTORY, id=caller.principal_id or caller.key_id, credential_id=caller.key_id)
    return Act(actor=actor, origin=origin_of(exchange))


def selection_of(kind: Kind, asked: Mapping[str, str]) -> Selection:
    """Return which attributes the query asks for. Raises InvalidValueError."""
    return select(kind, _names(asked.get("attributes")), _names(asked.get("excludedAttributes")))


def query_of(asked: Mapping[str, object], *, wants_links: bool, is_lenient: bool = False) -> Query:
    """Return what a query string or the body of a search asks for. Raises InvalidValueError."""
    order = str(asked.get("sortOrder") or "ascending").lower()
    if order not in ("ascending", "descending"):
        raise InvalidValueError("'sortOrder' must be ascending or descending.", param="sortOrder")
    return Query(
        filter=_text(asked, "filter"),
        sort_by=_text(asked, "sortBy"),
        is_descending=order == "descending",
        start_index=min(max(_number(asked, "startIndex", 1), 1), _START_INDEX_MAX),
        count=min(max(_number(asked, "count", COUNT_DEFAULT), 0), COUNT_MAX),
        wants_links=wants_links,
        is_lenient=is_lenient,
    )


def expected_version(text: str | None) -> int | None:
    """Return the version that the caller has read, from If-Match; None if any will do.

    Raises VersionMismatchError for what is no version of anything here.
    """
    if text is None or text.strip() == "*":
        return None
    found = _is_tag(text.strip())
    if found is None:
        raise VersionMismatchError(f'There is no version {text[:80]!r}; send it as meta.version says it: W/"3".')
    return int(found[1])


def is_known(exchange: Exchange, tag: str) -> bool:
    """Whether the caller has this version already, by If-None-Match."""
    text = exchange.headers.get(b"if-none-match", b"").decode("latin-1")
    known = [one.strip().removeprefix("W/") for one in text.split(",")]
    return "*" in known or tag.removeprefix("W/") in known


def names_in(body: Json, name: str) -> list[str]:
    """Return a list of names in the body of a search. Raises InvalidValueError."""
    names = body.get(name) or []
    if isinstance(names, str):
        return names.split(",")
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise InvalidValueError(f"'{name}' must be a list of names.", param=name)
    return names


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name.strip()]


def _text(asked: Mapping[str, object], name: str) -> str | None:
    value = asked.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidValueError(f"'{name}' must be a text.", param=name)
    return value


def _number(asked: Mapping[str, object], name: str, default: int) -> int:
    value = asked.get(name)
    if value is None or value == "":
        return default
    try:
        return int(str(value)[:20])
    except ValueError:
        raise InvalidValueError(f"'{name}' must be a number.", param=name) from None

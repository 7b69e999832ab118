"""Writing what administrators read: one thing with its version, or a page of a list, in OpenAI's envelope."""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from mainstay.api.exchange import Exchange, Header
from mainstay.kit.pages import Page

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_NO_STORE: Header = (b"cache-control", b"no-store")


class ListOf(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; `last_id` is what `after` takes to get the next one."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a thing."""

    id: str
    object: str
    deleted: bool = True


async def show(exchange: Exchange, value: msgspec.Struct, *, version: int | None = None, status: int = 200) -> None:
    """Send one thing; its version goes into the ETag header, for If-Match."""
    headers = [_NO_STORE]
    if version is not None:
        headers.append((b"etag", b'"%d"' % version))
    await exchange.respond(status, msgspec.json.encode(value), headers)


async def show_page(exchange: Exchange, page: Page[T], present: Callable[[T], S]) -> None:
    """Send a page. What is presented has an `id`."""
    data = [present(item) for item in page.items]
    ids: list[Any] = [getattr(one, "id", None) for one in data]  # Any: what a Struct holds is known to it alone
    listed = ListOf(
        data=data, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=page.has_more
    )
    await exchange.respond(200, msgspec.json.encode(listed), [_NO_STORE])

"""The addresses under `/scim/v2`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec

from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Handler, Route
from mainstay.api.scim.bulk import Bulk
from mainstay.api.scim.dialect import CONTENT_TYPE, ScimDialect
from mainstay.api.scim.discovery import list_of, one_of, provider_config, require_no_filter, resource_types, schemas
from mainstay.api.scim.requests import (
    act_of,
    expected_version,
    is_known,
    names_in,
    query_of,
    read_body,
    selection_of,
)
from mainstay.api.scim.resources import Context, GroupResources, Resources, Shown, UserResources
from mainstay.api.scim.selection import Selection, select
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.scim.groups import ScimGroups
from mainstay.platform.identity.scim.users import ScimUsers
from mainstay.platform.identity.scim.vocabulary import Json, Vocabularies

BASE = "/scim/v2"
_LIST_QUERY = ("filter", "sortBy", "sortOrder", "startIndex", "count", "attributes", "excludedAttributes")
_ONE_QUERY = ("attributes", "excludedAttributes")
_is_host = re.compile(r"[A-Za-z0-9.\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?").fullmatch


class Provisioning:
    """What a directory may do: only the token's organisation, and only with the scope `scim`.

    `public_url` is where the server is reached; without it, where the client says that it has reached it.
    """

    def __init__(self, users: ScimUsers, groups: ScimGroups, *, public_url: str | None) -> None:
        self._users = UserResources(users)
        self._groups = GroupResources(groups)
        self._bulk = Bulk(self._users, self._groups)
        self._public_url = public_url
        self._vocabularies = Vocabularies()

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route, all in SCIM's own dialect."""
        del dialect
        scim = ScimDialect("")
        for path, resources, name in (("/Users", self._users, "user"), ("/Groups", self._groups, "group")):
            one = path + "/{id}"
            yield _route(scim, "GET", path, self._listing(resources), summary=f"Find {name}s.", query=_LIST_QUERY)
            yield _route(
                scim, "POST", path, self._creating(resources), summary=f"Make a {name}.", status=201, query=_ONE_QUERY
            )
            yield _route(scim, "POST", path + "/.search", self._searching(resources), summary=f"Find {name}s by POST.")
            yield _route(scim, "GET", one, self._getting(resources), summary=f"Read a {name}.", query=_ONE_QUERY)
            yield _route(scim, "PUT", one, self._replacing(resources), summary=f"Replace a {name}.", query=_ONE_QUERY)
            yield _route(scim, "PATCH", one, self._patching(resources), summary=f"Change a {name}.", query=_ONE_QUERY)
            yield _route(scim, "DELETE", one, self._deleting(resources), summary=f"Delete a {name}.", status=204)
        yield _route(scim, "POST", "/.search", self._search_all, summary="Find users and groups.")
        yield _route(scim, "POST", "/Bulk", self._run_bulk, summary="Carry out several operations.")
        yield _route(scim, "GET", "/ServiceProviderConfig", self._show_config, summary="What is supported.")
        yield _route(scim, "GET", "/Schemas", self._show_schemas, summary="What resources hold.")
        yield _route(scim, "GET", "/Schemas/{id}", self._show_schemas, summary="What one kind of resource holds.")
        yield _route(scim, "GET", "/ResourceTypes", self._show_types, summary="Which resources there are.")
        yield _route(scim, "GET", "/ResourceTypes/{id}", self._show_types, summary="One type of resource.")

    def _listing(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context, asked = await self._context(exchange), exchange.query()
            selection = selection_of(resources.kind(context.vocabulary), asked)
            await self._send_page(exchange, context, resources, asked, selection=selection)

        return handle

    def _searching(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context, asked = await self._context(exchange), await read_body(exchange)
            await self._send_page(exchange, context, resources, asked, selection=_selection(context, resources, asked))

        return handle

    async def _send_page(
        self,
        exchange: Exchange,
        context: Context,
        resources: Resources,
        asked: Mapping[str, object],
        *,
        selection: Selection,
    ) -> None:
        query = query_of(asked, wants_links=selection.wants(resources.links))
        total, found = await resources.find(context, query)
        documents = [selection.of(one) for one in found]
        await _send(exchange, 200, list_of(documents, total=total, start_index=query.start_index))

    async def _search_all(self, exchange: Exchange) -> None:
        """Users first, then groups, as if they were one list."""
        context, asked = await self._context(exchange), await read_body(exchange)
        query = query_of(asked, wants_links=True, is_lenient=True)
        skipped, room, total = query.start_index - 1, query.count, 0
        documents: list[Json] = []
        for resources in (self._users, self._groups):
            selection = _selection(context, resources, asked)
            window = replace(
                query,
                start_index=max(skipped - total, 0) + 1,
                count=room,
                wants_links=selection.wants(resources.links),
            )
            count, found = await resources.find(context, window)
            total += count
            room -= len(found)
            documents += [selection.of(document) for document in found]
        await _send(exchange, 200, list_of(documents, total=total, start_index=query.start_index))

    def _creating(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context = await self._context(exchange)
            selection = selection_of(resources.kind(context.vocabulary), exchange.query())
            shown = await resources.create(context, await read_body(exchange))
            await _show(exchange, shown, selection, status=201)

        return handle

    def _getting(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context = await self._context(exchange)
            selection = selection_of(resources.kind(context.vocabulary), exchange.query())
            shown = await resources.get(
                context, exchange.parameters["id"], wants_links=selection.wants(resources.links)
            )
            if is_known(exchange, shown.tag):
                await exchange.respond(304, b"", [(b"etag", shown.tag.encode())], kind=CONTENT_TYPE)
                return
            await _show(exchange, shown, selection)

        return handle

    def _replacing(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context = await self._context(exchange)
            selection = selection_of(resources.kind(context.vocabulary), exchange.query())
            shown = await resources.replace(
                context,
                exchange.parameters["id"],
                await read_body(exchange),
                expected_version=expected_version(_if_match(exchange)),
            )
            await _show(exchange, shown, selection)

        return handle

    def _patching(self, resources: Resources) -> Handler:
        """A group is sent back when attributes are asked for only: its members may be many (RFC 7644, 3.5.2)."""

        async def handle(exchange: Exchange) -> None:
            context, asked = await self._context(exchange), exchange.query()
            selection = selection_of(resources.kind(context.vocabulary), asked)
            one = exchange.parameters["id"]
            shown = await resources.patch(
                context, one, await read_body(exchange), expected_version=expected_version(_if_match(exchange))
            )
            if resources is not self._groups:
                await _show(exchange, shown, selection)
            elif selection.included is None:
                await exchange.respond(204, b"", [(b"etag", shown.tag.encode())], kind=CONTENT_TYPE)
            else:
                wants_links = selection.wants(resources.links)
                await _show(exchange, await resources.get(context, one, wants_links=wants_links), selection)

        return handle

    def _deleting(self, resources: Resources) -> Handler:
        async def handle(exchange: Exchange) -> None:
            context = await self._context(exchange)
            version = expected_version(_if_match(exchange))
            await resources.delete(context, exchange.parameters["id"], expected_version=version)
            await exchange.respond(204, b"", kind=CONTENT_TYPE)

        return handle

    async def _run_bulk(self, exchange: Exchange) -> None:
        context = await self._context(exchange)
        await _send(exchange, 200, await self._bulk.run(context, await read_body(exchange)))

    async def _show_config(self, exchange: Exchange) -> None:
        await _send(exchange, 200, provider_config(self._address(exchange)))

    async def _show_schemas(self, exchange: Exchange) -> None:
        vocabulary = await self._vocabularies.get()
        await _send_documents(exchange, schemas(vocabulary, self._address(exchange)))

    async def _show_types(self, exchange: Exchange) -> None:
        vocabulary = await self._vocabularies.get()
        await _send_documents(exchange, resource_types(vocabulary, self._address(exchange)))

    async def _context(self, exchange: Exchange) -> Context:
        return Context(
            act=act_of(exchange),
            organisation_id=exchange.caller.organisation_id,
            address=self._address(exchange),
            vocabulary=await self._vocabularies.get(),
        )

    def _address(self, exchange: Exchange) -> str:
        if self._public_url is not None:
            return self._public_url.rstrip("/") + BASE
        host = exchange.headers.get(b"host", b"").decode("latin-1")
        return f"http://{host}{BASE}" if _is_host(host) else BASE


def _route(
    scim: ScimDialect,
    method: str,
    path: str,
    handler: Handler,
    *,
    summary: str,
    status: int = 200,
    query: tuple[str, ...] = (),
) -> Route:
    return Route(
        method=method,
        path=BASE + path,
        action=Action.PROVISION,
        dialect=scim,
        handler=handler,
        summary=summary,
        status=status,
        query=query,
    )


def _selection(context: Context, resources: Resources, asked: Json) -> Selection:
    kind = resources.kind(context.vocabulary)
    return select(kind, names_in(asked, "attributes"), names_in(asked, "excludedAttributes"))


async def _show(exchange: Exchange, shown: Shown, selection: Selection, *, status: int = 200) -> None:
    headers = [(b"etag", shown.tag.encode()), (b"location", shown.location.encode())]
    await exchange.respond(status, msgspec.json.encode(selection.of(shown.body)), headers, kind=CONTENT_TYPE)


async def _send(exchange: Exchange, status: int, document: Json) -> None:
    await exchange.respond(status, msgspec.json.encode(document), kind=CONTENT_TYPE)


async def _send_documents(exchange: Exchange, documents: list[Json]) -> None:
    """One of the documents, if the address names it, or all of them."""
    require_no_filter(exchange.query())
    one = exchange.parameters.get("id")
    await _send(exchange, 200, list_of(documents) if one is None else one_of(documents, one))


def _if_match(exchange: Exchange) -> str | None:
    value = exchange.headers.get(b"if-match")
    return None if value is None else value.decode("latin-1")

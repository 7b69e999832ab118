"""The OpenAPI document, made from the route table."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
Json = dict[str, Any]  # a part of a JSON document


class ErrorDetail(msgspec.Struct):
    """What went wrong."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct):
    """Every error, in every dialect, has this envelope."""

    error: ErrorDetail


class OpenApi:
    """Publishes the document; it is built at the first request for it."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._routes: Sequence[Route] = ()
        self._document: bytes | None = None

    def describe(self, routes: Sequence[Route]) -> None:
        """Set the routes, which include the one of this document."""
        self._routes = routes
        self._document = None

    async def show(self, exchange: Exchange) -> None:
        """The document as JSON."""
        if self._document is None:
            self._document = msgspec.json.encode(self.document())
        await exchange.respond(200, self._document)

    def document(self) -> Json:
        """The document."""
        types = [kind for route in self._routes for kind in (route.request, route.response) if kind is not None]
        unique = list(dict.fromkeys([*types, ErrorBody]))
        schemas, components = msgspec.json.schema_components(
            unique, schema_hook=_any_value, ref_template="#/components/schemas/{name}"
        )
        by_type = dict(zip(unique, schemas, strict=True))
        paths: dict[str, Json] = {}
        for route in self._routes:
            path = _PARAMETER.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, by_type)
        return {
            "openapi": "3.1.0",
            "info": {"title": "Mainstay", "version": self._version},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "mainstay",
                        "description": "Of a browser that has signed in; behind https it is named __Host-mainstay.",
                    },
                },
            },
        }


def _any_value(kind: type) -> Json:
    """The schema of `object`, by which our wire types mean any JSON value."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise TypeError(f"{kind} has no JSON schema")


def _operation(route: Route, by_type: dict[type, Json]) -> Json:
    operation: Json = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "x-action": route.action.value,
        "responses": _responses(route, by_type),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": _json(by_type[route.request])}
    if route.action is not Action.PUBLIC:
        operation["security"] = [{"bearer": []}, {"apiKey": []}, {"session": []}]
    return operation


def _responses(route: Route, by_type: dict[type, Json]) -> Json:
    content: Json = _json(by_type[route.response] if route.response is not None else {})
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"description": "An error", "content": _json(by_type[ErrorBody])}
    return {str(route.status): {"description": route.summary, "content": content}, "4XX": error, "5XX": error}


def _operation_id(route: Route) -> str:
    return re.sub(r"\W+", "_", f"{route.method.lower()}_{route.path}").strip("_")


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}

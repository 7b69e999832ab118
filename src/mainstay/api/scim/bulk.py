"""Several operations in one request (RFC 7644, 3.7): each is an act of its own, and fails by itself.

An operation may name what another one makes, `bulkId:qwerty`, also one that comes later: it is then carried out after
that one. What wait for each other fail.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mainstay.api.scim.dialect import error_document
from mainstay.api.scim.discovery import BULK_OPERATIONS_MAX
from mainstay.api.scim.requests import expected_version
from mainstay.api.scim.resources import Context, Resources, Shown, resources_at
from mainstay.kit.database import DatabaseError
from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.platform.identity.scim.errors import InvalidSyntaxError, InvalidValueError
from mainstay.platform.identity.scim.vocabulary import Json

RESPONSE_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_DEPTH_MAX = 32
"""Far more than any resource is nested."""
_reference = re.compile(r"(?:^|(?<=/))bulkId:([^/\s]+)$").search


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """One operation. `bulk_id` is the client's name for what it makes."""

    method: str
    path: str
    bulk_id: str | None
    version: str | None
    data: Any  # JSON, as it was sent

    def waits_for(self) -> set[str]:
        """The names of what must have been made before."""
        found = _references(self.data)
        in_path = _reference(self.path)
        return found | ({in_path[1]} if in_path else set())


class Bulk:
    """Carries operations out, one after another."""

    def __init__(self, users: Resources, groups: Resources) -> None:
        self._users = users
        self._groups = groups

    async def run(self, context: Context, body: Json) -> Json:
        """Return the response to a bulk request. Raises InvalidSyntaxError, or status 413 for too many operations."""
        operations = _read(body)
        limit = body.get("failOnErrors")
        errors_max = limit if isinstance(limit, int) and limit > 0 else len(operations) + 1
        results: dict[int, Json] = {}
        made: dict[str, str] = {}
        waiting, errors = {number: one.waits_for() for number, one in enumerate(operations)}, 0
        while waiting and errors < errors_max:
            ready = [number for number, names in waiting.items() if names <= made.keys()]
            # What waits for something that will not be made is carried out as it is, and told why it fails.
            for number in ready or list(waiting):
                del waiting[number]
                results[number] = await self._result(context, operations[number], made)
                errors += int(results[number]["status"]) >= 400
                if errors >= errors_max:
                    break
        return {"schemas": [RESPONSE_SCHEMA], "Operations": [results[number] for number in sorted(results)]}

    async def _result(self, context: Context, operation: _Operation, made: dict[str, str]) -> Json:
        result: Json = {"method": operation.method}
        if operation.bulk_id is not None:
            result["bulkId"] = operation.bulk_id
        try:
            status, shown = await self._carry_out(context, operation, made)
        except DatabaseError:
            raise
        except MainstayError as error:
            if operation.method != "POST":
                result["location"] = context.address + operation.path
            return result | {"status": str(error.status), "response": error_document(error)}
        if shown is None:
            return result | {"status": str(status), "location": context.address + operation.path}
        if operation.bulk_id is not None:
            made[operation.bulk_id] = str(shown.body["id"])
        return result | {"status": str(status), "location": shown.location, "version": shown.tag}

    async def _carry_out(
        self, context: Context, operation: _Operation, made: dict[str, str]
    ) -> tuple[int, Shown | None]:
        data = _resolved(operation.data, made)
        resources, resource_id = resources_at(_resolved(operation.path, made), self._users, self._groups)
        if operation.method == "POST":
            if resource_id is not None or operation.bulk_id is None:
                raise InvalidRequestError("A POST goes to /Users or /Groups and has a bulkId.", param="path")
            return 201, await resources.create(context, data)
        if resource_id is None:
            raise InvalidRequestError(f"{operation.method} needs the path of one resource.", param="path")
        version = expected_version(operation.version)
        if operation.method == "DELETE":
            await resources.delete(context, resource_id, expected_version=version)
            return 204, None
        change = resources.replace if operation.method == "PUT" else resources.patch
        return 200, await change(context, resource_id, data, expected_version=version)


def _read(body: Json) -> list[_Operation]:
    given = body.get("Operations")
    if not isinstance(given, list):
        raise InvalidSyntaxError("The body must hold 'Operations', a list.")
    if len(given) > BULK_OPERATIONS_MAX:
        raise InvalidRequestError(f"{len(given)} operations are more than {BULK_OPERATIONS_MAX}.", status=413)
    return [_read_one(one) for one in given]


def _read_one(one: object) -> _Operation:
    if not isinstance(one, dict):
        raise InvalidSyntaxError("An operation must be an object.")
    method, path = str(one.get("method", "")).upper(), one.get("path")
    if method not in _METHODS or not isinstance(path, str):
        raise InvalidSyntaxError(f"An operation must have a path and a method: {', '.join(_METHODS)}.")
    bulk_id, version = one.get("bulkId"), one.get("version")
    if not isinstance(bulk_id, str | None) or not isinstance(version, str | None):
        raise InvalidSyntaxError("'bulkId' and 'version' must be texts.")
    data = one.get("data")
    _require_shallow(data)
    return _Operation(method=method, path=path, bulk_id=bulk_id, version=version, data=data)


def _require_shallow(data: object) -> None:
    """Raise InvalidSyntaxError for what is nested so deeply that looking into it would exhaust the stack."""
    level = [data]
    for _ in range(_DEPTH_MAX):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise InvalidSyntaxError("The data of an operation is nested too deeply.")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _references(value: object) -> set[str]:
    if isinstance(value, str):
        found = _reference(value)
        return {found[1]} if found else set()
    if isinstance(value, list):
        return {name for one in value for name in _references(one)}
    if isinstance(value, dict):
        return {name for one in value.values() for name in _references(one)}
    return set()


def _resolved(value: Any, made: dict[str, str]) -> Any:  # JSON, as it was sent
    """Return the value with the ids of what has been made. Raises InvalidValueError for a name that has none."""
    if isinstance(value, str):
        found = _reference(value)
        if found is None:
            return value
        if found[1] not in made:
            raise InvalidValueError(f"Nothing was made as bulkId '{found[1][:80]}'.")
        return value[: found.start()] + made[found[1]]
    if isinstance(value, list):
        return [_resolved(one, made) for one in value]
    if isinstance(value, dict):
        return {name: _resolved(one, made) for name, one in value.items()}
    return value

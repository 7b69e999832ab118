"""A directory's synchronisation of 10,000 users by SCIM, as Entra ID and Okta do it, against a whole server over HTTP.

Eight connections send one request after another, each a thread; the server has one worker. The first synchronisation
looks every user up and makes it, then fills groups of a hundred by PATCH; the next ones read pages, or look users up
again; then a tenth of the users is deactivated. The last part makes the users once more, 1,000 in a request.
"""

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks.processes import BenchmarkError
from benchmarks.tables import Claim, Table
from mainstay import __version__
from mainstay.testing.installation import Installation
from mainstay.testing.postgres import running_postgres

USERS = 10_000
USERS_QUICK = 500
IN_GROUP = 100
PAGE = 100
BULK = 1000
CONNECTIONS = 8
SYNC_SECONDS_MAX = 300.0
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


class Directory:
    """The client: connections that are kept alive, one for each thread."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/scim+json"}
        self._own = threading.local()
        self.milliseconds: list[float] = []

    def reconnect(self) -> None:
        """Begin with new connections, as a directory does after a pause."""
        self._own = threading.local()

    def ask(self, method: str, path: str, body: Any = None, *, expected: int = 200) -> Any:
        """Send one request; any other status than `expected` ends the run."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._host, timeout=120)
        connection: http.client.HTTPConnection = self._own.connection
        began = time.perf_counter()
        text = None if body is None else json.dumps(body)
        connection.request(method, "/scim/v2" + path, text, self._headers)
        response = connection.getresponse()
        content = response.read()
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        if response.status != expected:
            raise BenchmarkError(f"{method} {path} answered {response.status}: {content[:300]!r}")
        return json.loads(content) if content else None


def person(number: int, domain: str = "example.com") -> dict[str, Any]:
    """A user as Entra ID sends one."""
    name = f"user.{number:05d}@{domain}"
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", _ENTERPRISE],
        "userName": name,
        "externalId": f"{domain}-{number}",
        "active": True,
        "displayName": f"User {number}",
        "name": {"formatted": f"User {number}", "givenName": "User", "familyName": str(number)},
        "title": "Engineer",
        "emails": [{"primary": True, "type": "work", "value": name}],
        "phoneNumbers": [{"type": "work", "value": f"+41 44 {number:07d}"}],
        _ENTERPRISE: {"department": f"Department {number % 50}", "employeeNumber": str(number)},
    }


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """The body of a PATCH."""
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}


class Synchronisation:
    """The steps, in their order."""

    def __init__(self, directory: Directory, users: int) -> None:
        self._directory = directory
        self._users = users
        self._ids: list[str] = []

    def steps(self) -> Iterator[tuple[str, int, Callable[[], None]]]:
        """Yield what is done, how many requests it takes, and what does it."""
        count, groups = self._users, self._users // IN_GROUP
        yield "look each user up by userName, and make it", 2 * count, self._make
        yield f"make groups, and fill each with {IN_GROUP} by PATCH", 2 * groups, self._fill_groups
        yield "look each user up again by userName", count, self._look_up
        yield f"read all users in pages of {PAGE}", count // PAGE, self._read_pages
        yield "read all groups without members", max(groups // PAGE, 1), self._read_groups
        yield "deactivate a tenth of the users by PATCH", count // 10, self._deactivate
        yield f"make as many users by Bulk, {min(BULK, count)} in a request", -(-count // BULK), self._make_by_bulk

    def _each(self, work: Callable[[int], object], count: int) -> list[Any]:
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(work, range(count)))

    def _find(self, number: int) -> list[Any]:
        path = "/Users?filter=" + quote(f'userName eq "{person(number)["userName"]}"')
        found: list[Any] = self._directory.ask("GET", path)["Resources"]
        return found

    def _make(self) -> None:
        def make(number: int) -> str:
            if self._find(number):
                raise BenchmarkError(f"User {number} is there already.")
            return str(self._directory.ask("POST", "/Users", person(number), expected=201)["id"])

        self._ids = self._each(make, self._users)

    def _fill_groups(self) -> None:
        def fill(number: int) -> None:
            body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": f"Group {number}"}
            made = self._directory.ask("POST", "/Groups", body, expected=201)
            members = [{"value": id_} for id_ in self._ids[number * IN_GROUP : (number + 1) * IN_GROUP]]
            change = patch({"op": "Add", "path": "members", "value": members})
            self._directory.ask("PATCH", f"/Groups/{made['id']}", change, expected=204)

        self._each(fill, self._users // IN_GROUP)

    def _look_up(self) -> None:
        def look(number: int) -> None:
            if [one["id"] for one in self._find(number)] != [self._ids[number]]:
                raise BenchmarkError(f"User {number} was not found.")

        self._each(look, self._users)

    def _read_pages(self) -> None:
        def read(number: int) -> int:
            page = self._directory.ask("GET", f"/Users?startIndex={number * PAGE + 1}&count={PAGE}")
            if page["totalResults"] != self._users:
                raise BenchmarkError(f"There are {page['totalResults']} users, not {self._users}.")
            return len(page["Resources"])

        if sum(self._each(read, self._users // PAGE)) != self._users:
            raise BenchmarkError("The pages do not hold all users.")

    def _read_groups(self) -> None:
        groups = self._users // IN_GROUP
        for start in range(0, groups, PAGE):
            self._directory.ask("GET", f"/Groups?excludedAttributes=members&startIndex={start + 1}&count={PAGE}")

    def _deactivate(self) -> None:
        change = patch({"op": "Replace", "path": "active", "value": "False"})

        def deactivate(number: int) -> None:
            after = self._directory.ask("PATCH", f"/Users/{self._ids[number]}", change)
            if after["active"]:
                raise BenchmarkError(f"User {number} is still active.")

        self._each(deactivate, self._users // 10)

    def _make_by_bulk(self) -> None:
        for start in range(0, self._users, BULK):
            numbers = range(start, min(start + BULK, self._users))
            operations = [
                {"method": "POST", "path": "/Users", "bulkId": str(number), "data": person(number, "bulk.example")}
                for number in numbers
            ]
            body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
            results = self._directory.ask("POST", "/Bulk", body)["Operations"]
            if [one["status"] for one in results] != ["201"] * len(numbers):
                raise BenchmarkError("A bulk request did not make every user.")


@contextmanager
def databases() -> Iterator[Sequence[tuple[str, dict[str, str]]]]:
    """The kinds of database, each with what tells a server of it."""
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres:
        sqlite = f"sqlite:///{Path(folder) / 'scim.db'}"
        yield [
            ("SQLite", {"MAINSTAY_DATABASE_URL": sqlite}),
            ("PostgreSQL", {"MAINSTAY_DATABASE_URL": postgres.url()}),
        ]


def run(*, is_quick: bool) -> tuple[list[Table], list[Claim], list[str]]:
    """Synchronise into both databases, once each: the steps build on one another."""
    users = USERS_QUICK if is_quick else USERS
    tables, claims = [], []
    with databases() as each:
        for name, environment in each:
            table = Table(
                f"SCIM, {users:,} users, {CONNECTIONS} connections, {name}",
                ["", "requests", "seconds", "requests/s", "p50 ms", "p99 ms"],
            )
            with Installation(environment=environment) as server:
                directory = Directory(server.url, server.create_key("--scopes", "scim"))
                sync_seconds = measure(Synchronisation(directory, users), directory, table)
            tables.append(table)
            if not is_quick:
                what = f"first synchronisation of {users:,} users and their groups, {name}"
                claims.append(Claim(what, SYNC_SECONDS_MAX, sync_seconds, "s"))
    return tables, claims, [f"Mainstay {__version__}"]


def measure(synchronisation: Synchronisation, directory: Directory, table: Table) -> float:
    """Run every step; return how long the first synchronisation took: users and groups."""
    directory.ask("GET", "/ServiceProviderConfig")  # the first request loads the schemas
    took = []
    for what, requests, work in synchronisation.steps():
        directory.reconnect()
        directory.milliseconds.clear()
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
        if len(directory.milliseconds) != requests:
            raise BenchmarkError(f"{len(directory.milliseconds)} requests were sent for '{what}', not {requests}.")
        times = sorted(directory.milliseconds)
        p99 = times[min(len(times) * 99 // 100, len(times) - 1)]
        table.add(what, requests, took[-1], requests / took[-1], statistics.median(times), p99)
    return took[0] + took[1]

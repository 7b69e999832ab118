"""Connections to one origin, kept open and shared by all calls that go there."""

import asyncio
import math
import ssl
from collections import deque

from mainstay.kit.http.addresses import AddressGuard
from mainstay.kit.http.connection import Connection
from mainstay.kit.http.dial import Route, dial
from mainstay.kit.http.errors import ConnectionReset, DeadlineExceeded, PoolExhausted
from mainstay.kit.http.head import Headers, RequestHead
from mainstay.kit.http.limits import PoolLimits, Timeouts
from mainstay.kit.http.origin import Origin, Proxy
from mainstay.kit.http.response import Response
from mainstay.kit.http.tls import client_context

CLOSE_SECONDS = 5.0
"""For sockets to close after they were aborted, which takes a turn of the loop."""


class Pool:
    """Sends requests to one origin over at most `limits.max_connections` connections.

    The connection that was used last is used first, so that the others age and are closed. Belongs to the event
    loop that first uses it.
    """

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits | None = None,
        timeouts: Timeouts | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        guard: AddressGuard | None = None,
    ) -> None:
        """Set up; connects only when asked. Without `tls`, an https origin is verified by the system's roots.

        With `guard`, connections are opened only to addresses that it allows, and through no proxy.
        """
        if origin.is_tls and tls is None:
            tls = client_context()
        self.origin = origin
        self._route = Route(origin, proxy=proxy, tls=tls, guard=guard)
        self._name = str(self._route)
        self._limits = limits or PoolLimits()
        self._timeouts = timeouts or Timeouts()
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._slots_taken = 0
        self._is_retired = False
        self._emptied: asyncio.Future[None] | None = None

    async def send(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes = b"",
        *,
        timeouts: Timeouts | None = None,
        deadline: float = math.inf,
    ) -> Response:
        """Send a request and return when the head of its answer has arrived.

        `deadline` is the monotonic time by which the answer must have ended. Raises TransportError, or
        UnsafeHeader if the request cannot be written safely.
        """
        return await self.exchange(self.head(method, path, headers), body, timeouts=timeouts, deadline=deadline)

    def head(self, method: str, path: str, headers: Headers) -> RequestHead:
        """Render a request head for use with `exchange`, once for many calls. Raises UnsafeHeader."""
        return RequestHead.render(method, path, headers, origin=self.origin, proxy=self._route.proxy)

    async def exchange(
        self, head: RequestHead, body: bytes, *, timeouts: Timeouts | None = None, deadline: float = math.inf
    ) -> Response:
        """Do as `send` does, with a head that was rendered before.

        A connection that the server had closed while it was idle is replaced once.
        """
        timeouts = timeouts or self._timeouts
        connection = await self._take(timeouts, deadline)
        try:
            return await connection.exchange(head, body, timeouts=timeouts, deadline=deadline)
        except ConnectionReset as error:
            if not error.is_stale:
                raise
        self._close_idle()  # they have been idle for longer than the one that was closed
        connection = await self._take(timeouts, deadline)
        return await connection.exchange(head, body, timeouts=timeouts, deadline=deadline)

    def retire(self) -> None:
        """Let open answers end in their own time, and keep no connection after them."""
        self._is_retired = True
        self._close_idle()

    async def aclose(self) -> None:
        """Close every connection now; open answers break."""
        self.retire()
        for connection in tuple(self._connections):
            connection.abort()
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._emptied

    @property
    def open_connections(self) -> int:
        """Connections that are open or being opened."""
        return self._slots_taken

    @property
    def idle_connections(self) -> int:
        """Connections that wait to be used again."""
        return len(self._idle)

    def released(self, connection: Connection) -> None:
        """Take back a connection whose answer has ended."""
        if self._is_retired:
            connection.close()
        elif not self._hand_over(connection):
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection."""
        if connection not in self._connections:  # lost while it was being opened
            return
        self._connections.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._free_slot()
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def _take(self, timeouts: Timeouts, deadline: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        if self._slots_taken < self._limits.max_connections:
            self._slots_taken += 1
            return await self._open(timeouts, deadline)
        waited_for = await self._wait(deadline)
        return waited_for or await self._open(timeouts, deadline)

    async def _open(self, timeouts: Timeouts, deadline: float) -> Connection:
        """Connect, in a slot that is already ours."""
        loop = asyncio.get_running_loop()
        seconds = min(timeouts.connect_seconds, deadline - loop.time())
        try:
            if seconds <= 0:
                raise DeadlineExceeded(f"No time was left to connect to {self._name}.")
            connection = await dial(self._route, self._new_connection, seconds)
            if not connection.is_open:
                raise ConnectionReset(f"{self._name} closed the connection at once.")
        except BaseException:  # cancellation too must free the slot
            self._free_slot()
            raise
        self._connections.add(connection)
        return connection

    def _new_connection(self) -> Connection:
        return Connection(
            self, asyncio.get_running_loop(), name=self._name, keep_alive_seconds=self._limits.keep_alive_seconds
        )

    async def _wait(self, deadline: float) -> Connection | None:
        """Queue for a connection, or for the right to open one (None)."""
        loop = asyncio.get_running_loop()
        if len(self._queue) >= self._limits.max_waiting:
            raise PoolExhausted(f"All connections to {self._name} are busy and {len(self._queue)} calls wait for one.")
        turn: asyncio.Future[Connection | None] = loop.create_future()
        self._queue.append(turn)
        patience = loop.time() + self._limits.wait_seconds
        try:
            async with asyncio.timeout_at(min(patience, deadline)):
                return await turn
        except TimeoutError as error:
            self._give_back(turn)
            if deadline <= patience:  # not the clock, which may be a millisecond short of what the timer waited for
                raise DeadlineExceeded(f"No connection to {self._name} came free before the deadline.") from error
            raise PoolExhausted(f"No connection to {self._name} came free in time.") from error
        except asyncio.CancelledError:
            self._give_back(turn)
            raise

    def _give_back(self, turn: asyncio.Future[Connection | None]) -> None:
        """Pass on what was handed to a call that no longer waits."""
        if not turn.done() or turn.cancelled():
            if turn in self._queue:
                self._queue.remove(turn)
            return
        connection = turn.result()
        if connection is None:
            self._free_slot()
        elif connection.is_open:  # one that is closed frees its slot itself, in `lost`
            self.released(connection)

    def _hand_over(self, connection: Connection | None) -> bool:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _free_slot(self) -> None:
        if not self._hand_over(None):
            self._slots_taken -= 1

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

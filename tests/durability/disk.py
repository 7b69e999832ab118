"""A disk in memory that forgets what was not synced when the power goes, and a database on it.

SQLite reaches it through a VFS of apsw. What was written since the last sync of a file survives in any part and order,
as on a disk with a cache; each sync is believed, since whoever lies about that loses data with any database.
"""

import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import apsw

from mainstay.kit.database import DatabaseError, Dialect, Row, Transaction, Value
from mainstay.kit.database.interface import NO_VALUES, PLACEHOLDER, Values
from mainstay.kit.database.sqlite import JOURNAL, SYNCHRONOUS

PATH = "/mainstay.db"
_SECTOR = 512
_NUMBERS = itertools.count()


class PowerCutError(Exception):
    """The power is gone: nothing more is written."""


class File:
    """One file: what is on the disk for good, what programs see, and what lies between the two."""

    def __init__(self) -> None:
        self.durable: bytes | None = None
        self.content = bytearray()
        self.pending: list[Callable[[bytearray], None]] = []

    def write(self, data: bytes, offset: int) -> None:
        for start in range(0, len(data), _SECTOR):
            piece, place = data[start : start + _SECTOR], offset + start
            change = _put(piece, place)
            change(self.content)
            self.pending.append(change)

    def truncate(self, size: int) -> None:
        def change(content: bytearray) -> None:
            del content[size:]

        change(self.content)
        self.pending.append(change)

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.pending.clear()

    def lose_power(self, dice: random.Random) -> bool:
        """Keep any part of what was not synced; return whether the file is there at all."""
        if self.durable is None and dice.random() < 0.5:
            return False
        content = bytearray(self.durable or b"")
        for change in self.pending:
            if dice.random() < 0.5:
                change(content)
        self.content, self.durable = content, bytes(content)
        self.pending.clear()
        return True


class Disk:
    """Files by name. `on_write` is asked before each write, sync, truncation and deletion, and may raise."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files: dict[str, File] = {}
        self.deleted: dict[str, File] = {}
        for name, content in files.items():
            self.files[name] = file = File()
            file.write(content, 0)
            file.sync()
        self.writes = 0
        self.on_write: Callable[[int], None] = lambda number: None

    def about_to_write(self) -> None:
        self.writes += 1
        self.on_write(self.writes)

    def lose_power(self, dice: random.Random) -> None:
        """Cut the power and turn it on again."""
        for name, file in self.deleted.items():
            if name not in self.files and dice.random() < 0.5:
                self.files[name] = file
        self.deleted.clear()
        self.files = {name: file for name, file in self.files.items() if file.lose_power(dice)}
        self.writes = 0
        self.on_write = lambda number: None


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, base="")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or f"/temporary-{next(_NUMBERS)}"
        if path not in self.disk.files:
            self.disk.files[path] = File()
        flags[1] = flags[0]
        return _VfsFile(self.disk, path)

    def xAccess(self, path, flags):  # noqa: N802
        return path in self.disk.files

    def xDelete(self, path, is_synced):  # noqa: N802
        self.disk.about_to_write()
        if path not in self.disk.files:
            raise apsw.IOErrorError
        file = self.disk.files.pop(path)
        if not is_synced:
            self.disk.deleted[path] = file

    def xFullPathname(self, name):  # noqa: N802
        return name


class _VfsFile:
    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._file = disk.files[path]

    def xRead(self, amount, offset):  # noqa: N802
        return bytes(self._file.content[offset : offset + amount])

    def xWrite(self, data, offset):  # noqa: N802
        self._disk.about_to_write()
        self._file.write(bytes(data), offset)

    def xTruncate(self, size):  # noqa: N802
        self._disk.about_to_write()
        self._file.truncate(size)

    def xSync(self, flags):  # noqa: N802
        self._disk.about_to_write()
        self._file.sync()

    def xFileSize(self):  # noqa: N802
        return len(self._file.content)

    def xLock(self, level):  # noqa: N802
        pass

    def xUnlock(self, level):  # noqa: N802
        pass

    def xCheckReservedLock(self):  # noqa: N802
        return False

    def xFileControl(self, operation, pointer):  # noqa: N802
        return False

    def xSectorSize(self):  # noqa: N802
        return _SECTOR

    def xDeviceCharacteristics(self):  # noqa: N802
        return 0

    def xClose(self):  # noqa: N802
        pass


class DiskDatabase:
    """The database on such a disk, with the settings that `SQLiteDatabase` makes.

    Locks are exclusive, since a VFS in Python has no shared memory: the log is written and synced all the same.
    """

    dialect = Dialect.SQLITE
    url = f"sqlite:///{PATH}"

    def __init__(self, disk: Disk, *, synchronous: str = SYNCHRONOUS) -> None:
        name = f"disk-{next(_NUMBERS)}"
        self._vfs = _Vfs(name, disk)
        self._connection = apsw.Connection(PATH, vfs=name)
        for statement in ("PRAGMA locking_mode = EXCLUSIVE", JOURNAL, synchronous, "PRAGMA foreign_keys = ON"):
            self._connection.execute(statement)
        # Often, so that the power also goes while the log is moved into the file.
        self._connection.execute("PRAGMA wal_autocheckpoint = 20")

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        with _translated():
            return list(self._connection.execute(sql, dict(values)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield _DiskTransaction(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    async def aclose(self) -> None:
        self._connection.close()


class _DiskTransaction:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        return list(self._connection.execute(sql, dict(values)))

    async def execute(self, sql: str, values: Values = NO_VALUES) -> int:
        self._connection.execute(sql, dict(values))
        return self._connection.changes()

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._connection.executemany(PLACEHOLDER.sub("?", sql), rows)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise DatabaseError(f"The disk failed: {error}") from error


def _put(piece: bytes, place: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content.extend(bytes(max(0, place + len(piece) - len(content))))
        content[place : place + len(piece)] = piece

    return change

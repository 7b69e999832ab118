"""Root keys: files that seal the data keys, apart from the database and its backups.

Each is 32 random bytes in a numbered file of its own; the highest number seals, all of them open. The folder is read
anew each time, which is seldom, so a key that is added is used without a restart. Another keeper of root keys, such
as a key management service, would take this class's place.
"""

import hashlib
import re
from pathlib import Path

from mainstay.kit.errors import ConfigurationError
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.vault.sealing import open_text, seal_text

ID_BYTES = 8
_FIRST = 1
_is_key_file = re.compile(r"(\d{4,9})\.key").fullmatch


class MissingRootKeyError(ConfigurationError):
    """What was sealed with a root key cannot be opened without it."""

    code = "root_key_missing"


class RootKeys:
    """The root keys in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self) -> list[str]:
        """Return the ids of all keys, oldest first. Raises ConfigurationError for a file that others may read."""
        return [key_id(key) for key in self._load().values()]

    async def wrap(self, plain: bytes, *, context: bytes) -> tuple[str, bytes]:
        """Seal with the newest key; return its id and the sealed bytes. Raises MissingRootKeyError."""
        keys = self._load()
        if not keys:
            raise MissingRootKeyError(f"There is no root key in {self.folder}; restore the folder from a backup.")
        newest = keys[max(keys)]
        return key_id(newest), seal_text(newest, plain, context=context)

    async def unwrap(self, root_key_id: str, wrapped: bytes, *, context: bytes) -> bytes:
        """Open what the key of that id has sealed. Raises MissingRootKeyError, or BrokenSealError."""
        for key in self._load().values():
            if key_id(key) == root_key_id:
                return open_text(key, wrapped, context=context)
        raise MissingRootKeyError(
            f"The root key {root_key_id} is not in {self.folder}; without it no secret that it protects can be "
            "opened. Restore its file from a backup, or copy it from the server that made it."
        )

    def add(self) -> str:
        """Create a key, which seals from now on; return its id. Several processes may do so at once."""
        keys = self._load()
        number = max(keys) + 1 if keys else _FIRST
        return key_id(load_or_create_secret(self._path(number)))

    def path_of(self, root_key_id: str) -> Path | None:
        """Return where the key of that id is, if it is there."""
        return next((self._path(number) for number, key in self._load().items() if key_id(key) == root_key_id), None)

    def _load(self) -> dict[int, bytes]:
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"The root keys in {self.folder} cannot be read: {error.strerror}.") from error
        return {
            int(found[1]): load_or_create_secret(self.folder / found[0]) for found in map(_is_key_file, names) if found
        }

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.key"


def key_id(key: bytes) -> str:
    """Return the id of a root key, which says nothing about the key."""
    return hashlib.sha256(key).digest()[:ID_BYTES].hex()

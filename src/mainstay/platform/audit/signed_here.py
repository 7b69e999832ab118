"""What this server has signed, remembered outside of the database.

Whoever can write to the database can delete checkpoints with the events before them, and write another log. This file
is then what still knows better; so are exports and webhooks that are kept elsewhere.
"""

import os
from pathlib import Path

import msgspec

from mainstay.kit.errors import ConfigurationError

Positions = dict[str, tuple[int, bytes]]
"""Sequence and hash of an event of each organisation."""


class _Position(msgspec.Struct, frozen=True):
    sequence: int
    hash: str


_DECODER = msgspec.json.Decoder(dict[str, _Position])


class SignedHere:
    """The newest position of each organisation's log that this server has signed, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Positions:
        """Return what is remembered. Raises ConfigurationError if the file cannot be read."""
        try:
            found = _DECODER.decode(self.path.read_bytes())
            return {id_: (one.sequence, bytes.fromhex(one.hash)) for id_, one in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise ConfigurationError(
                f"What was signed cannot be read from {self.path}: {error}. Restore the file from a backup; without "
                "it nobody but your exports knows how far the audit log had come."
            ) from error

    def remember(self, positions: Positions) -> None:
        """Add to what is remembered. Raises ConfigurationError if the file cannot be written."""
        known = self.load()
        for organisation_id, position in positions.items():
            if position[0] >= known.get(organisation_id, position)[0]:
                known[organisation_id] = position
        text = msgspec.json.encode({id_: _Position(one[0], one[1].hex()) for id_, one in known.items()})
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise ConfigurationError(f"What was signed cannot be kept in {self.path}: {error.strerror}.") from error

    def anchors(self, organisation_id: str) -> dict[int, tuple[bytes, str]]:
        """Return the hash that the organisation's log must have, and who says so."""
        position = self.load().get(organisation_id)
        if position is None:
            return {}
        return {position[0]: (position[1], f"the record of what this server has signed ({self.path})")}

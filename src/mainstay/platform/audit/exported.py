"""Verifying an exported log without the database that it came from."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.audit.export import FORMAT, LINES, CheckpointLine, End, EventLine, Header
from mainstay.platform.audit.signing import Checkpoint, PublicKeys, export_message, read_public_key
from mainstay.platform.audit.verify import MEMBERS, ChainCheck, Entry, Report

_END = "The export's end"
_LINE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """What an export is, and what was found in it."""

    header: Header
    report: Report
    anchors: dict[int, tuple[bytes, str]]
    """The hashes that the log must have, wherever it is, if this export is genuine: of the last event and those that
    were signed.
    """
    trusts_itself: bool
    """The signatures were checked with the keys that the file brings along: compare them with the server's."""


def verify_export(
    lines: Iterable[bytes],
    public_keys: list[bytes] | None = None,
    *,
    name: str = "the export",
    anchors: Mapping[int, tuple[bytes, str]] | None = None,
) -> Verified:
    """Verify an export, line by line, in little memory. Raises InvalidRequestError if it is none at all."""
    source = enumerate(lines, 1)
    first = next(source, (1, b""))[1]
    header = _header(first, name)
    trusted = [read_public_key(one) for one in header.public_keys] if public_keys is None else public_keys
    reader = _Reader(header, PublicKeys(trusted), name, anchors)
    reader.digest.update(first)
    for number, text in source:
        reader.read(number, text)
    return Verified(header, reader.finish(), reader.anchors, trusts_itself=public_keys is None)


class _Reader:
    """Follows the lines after the header."""

    def __init__(
        self, header: Header, keys: PublicKeys, name: str, anchors: Mapping[int, tuple[bytes, str]] | None
    ) -> None:
        self._name = name
        self._is_whole = not header.filters
        self._public_keys = keys
        self.digest = hashlib.sha256()
        self._after = header.after_sequence
        # What the export leaves out on purpose cannot be compared.
        expected = {at: one for at, one in (anchors or {}).items() if self._is_whole and at > self._after}
        self._check = ChainCheck(
            header.organisation_id, keys, after=self._after, anchors=expected, is_whole=self._is_whole
        )
        self._is_first = True
        self._events = 0
        self._end: End | None = None
        self.anchors: dict[int, tuple[bytes, str]] = {}

    def read(self, number: int, text: bytes) -> None:
        """Take in one line."""
        sequence = self._check.last_sequence
        if self._end is not None:
            self._check.fault(sequence, f"after it, line {number} follows the end of the export")
            return
        try:
            line = LINES.decode(text)
            if isinstance(line, EventLine):
                self._read_event(line)
            elif isinstance(line, CheckpointLine):
                self._read_checkpoint(line)
            elif isinstance(line, End):
                self._end = line
                return
            else:
                self._check.fault(sequence, f"after it, line {number} is a second header")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self._check.fault(sequence, f"after it, line {number} cannot be read")
        self.digest.update(text)

    def finish(self) -> Report:
        """Compare with the end."""
        check = self._check
        if self._end is None:
            check.fault(check.last_sequence, "after it, the export ends without its last line: it was cut off")
        else:
            try:
                self._compare_end(self._end)
            except ValueError:
                check.fault(check.last_sequence, "it has a hash or a signature that is none", what=_END)
        if self._events:
            self.anchors[check.last_sequence] = (check.last_hash, self._name)
        return check.report()

    def _compare_end(self, end: End) -> None:
        check = self._check
        if end.events != self._events:
            message = f"it says that the export has {end.events} events, but there are {self._events}"
            check.fault(check.last_sequence, message, what=_END)
        last_hash = bytes.fromhex(end.last_hash) if end.last_hash else check.last_hash
        check.end(end.last_sequence, last_hash, what="the end of the export")
        if end.sha256 != self.digest.hexdigest():
            check.fault(
                check.last_sequence, "the lines before it are not what was signed: they were changed", what=_END
            )
        signed = export_message(self.digest.digest())
        wrong = self._public_keys.fault(end.key_id, base64.b64decode(end.signature), signed)
        if wrong is not None:
            check.fault(check.last_sequence, f"it {wrong}", what=_END)

    def _read_event(self, line: EventLine) -> None:
        raw = bytes(line.body)
        body = msgspec.json.decode(raw, type=str).encode("utf-8", "surrogatepass") if raw.startswith(b'"') else raw
        said = MEMBERS.decode(body)
        entry = Entry(
            said.sequence,
            said.at_ms,
            said.action,
            said.actor.id,
            said.target.id if said.target is not None else None,
            body,
            bytes.fromhex(line.previous_hash),
            bytes.fromhex(line.hash),
        )
        if (self._is_first and self._after) or not self._is_whole:
            # What lies before is not in the file: its hash is taken as it is said.
            self._check.last_hash = entry.previous_hash
            if not self._is_whole:
                self._check.last_sequence = max(self._check.last_sequence, entry.sequence - 1)
        self._is_first = False
        self._events += 1
        self._check.add([entry])

    def _read_checkpoint(self, line: CheckpointLine) -> None:
        checkpoint = Checkpoint(
            organisation_id=line.organisation_id,
            through_sequence=line.through_sequence,
            hash=bytes.fromhex(line.hash),
            signed_at_ms=line.signed_at_ms,
            key_id=line.key_id,
            signature=base64.b64decode(line.signature, validate=True),
        )
        self._check.expect([checkpoint])
        self.anchors[checkpoint.through_sequence] = (checkpoint.hash, self._name)


def _header(text: bytes, name: str) -> Header:
    try:
        header = LINES.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        header = None
    if not isinstance(header, Header) or header.format != FORMAT:
        raise InvalidRequestError(f"{name} is no export of an audit log: its first line is not the header of one.")
    return header

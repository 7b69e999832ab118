"""The audit log as lines of JSON: a header, events with the checkpoints between them, and an end.

An event's `body` is exactly what is hashed, `hash` is SHA-256 of the previous hash's 32 bytes and the body's. The end
says how many events there are and is signed for all the bytes before it. Only an export without filters shows that
nothing is missing from the log; a filtered one, that the server said this and nothing else.
"""

import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.platform.audit.reading import EVERYTHING, EventFilter, find_events
from mainstay.platform.audit.signing import Checkpoint, Signer, write_public_key
from mainstay.platform.audit.stored import checkpoints, head_of
from mainstay.platform.audit.verify import MEMBERS, Entry

FORMAT = "mainstay.audit/1"
BATCH_ROWS = 500


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", tag_field="type"):
    """What an export is of. `public_keys` are those of the server that made it."""

    format: str = FORMAT
    organisation_id: str
    exported_at_ms: int
    after_sequence: int = 0
    filters: dict[str, Any] = {}  # as they were asked for
    public_keys: list[str] = []


class EventLine(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="type"):
    """One event."""

    hash: str
    previous_hash: str
    body: msgspec.Raw


class CheckpointLine(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint", tag_field="type"):
    """A signed checkpoint, after the event that it is of."""

    organisation_id: str
    through_sequence: int
    hash: str
    signed_at_ms: int
    key_id: str
    signature: str


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last line. `signature` is of the key `key_id`, over the SHA-256 of all lines before this one."""

    events: int
    last_sequence: int
    last_hash: str | None = None
    sha256: str
    key_id: str
    signature: str


Line = Header | EventLine | CheckpointLine | End
LINES = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


class Export:
    """Writes an organisation's log down, up to the event that is the last one at the beginning."""

    def __init__(self, database: Database, clock: Clock, signer: Signer) -> None:
        self._database = database
        self._clock = clock
        self._signer = signer

    async def lines(
        self, organisation_id: str, wanted: EventFilter = EVERYTHING, *, after: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield the export in pieces of many lines. Raises DatabaseError, also in the middle."""
        head = await head_of(self._database, organisation_id)
        through = head[0] if head is not None else 0
        header = Header(
            organisation_id=organisation_id,
            exported_at_ms=int(self._clock.wall() * 1000),
            after_sequence=after,
            filters=wanted.described(),
            public_keys=[write_public_key(self._signer.public_key)],
        )
        piece = encode_line(header)
        digest = hashlib.sha256(piece)
        yield piece
        events, last = 0, None
        async for batch in self._batches(organisation_id, wanted, after, through):
            signed = await self._signed(organisation_id, batch) if wanted == EVERYTHING else {}
            piece = b"".join(_described(batch, signed))
            digest.update(piece)
            yield piece
            events += len(batch)
            last = batch[-1]
        yield encode_line(self._end(events, last, after, digest.digest()))

    def _end(self, events: int, last: Entry | None, after: int, digest: bytes) -> End:
        return End(
            events=events,
            last_sequence=last.sequence if last is not None else after,
            last_hash=last.hash.hex() if last is not None else None,
            sha256=digest.hex(),
            key_id=self._signer.key_id,
            signature=base64.b64encode(self._signer.sign_export(digest)).decode(),
        )

    async def _batches(
        self, organisation_id: str, wanted: EventFilter, after: int, through: int
    ) -> AsyncIterator[list[Entry]]:
        while True:
            found = await find_events(self._database, organisation_id, wanted, after=after, limit=BATCH_ROWS)
            batch = [entry for entry in found if entry.sequence <= through]
            if batch:
                yield batch
            if len(batch) < BATCH_ROWS:
                return
            after = batch[-1].sequence

    async def _signed(self, organisation_id: str, batch: list[Entry]) -> dict[int, Checkpoint]:
        found = await checkpoints(
            self._database, organisation_id, after=batch[0].sequence - 1, through=batch[-1].sequence
        )
        return {one.through_sequence: one for one in found}


def encode_line(line: Line) -> bytes:
    """Return one line with its end."""
    return _ENCODER.encode(line) + b"\n"


def event_line(entry: Entry) -> EventLine:
    """Return an event as it is exported. A body that is no JSON on one line was changed, and is kept as a string."""
    body = entry.body
    try:
        MEMBERS.decode(body)
        is_object = b"\n" not in body
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        is_object = False
    if not is_object:
        body = _ENCODER.encode(body.decode("utf-8", "replace"))
    return EventLine(hash=entry.hash.hex(), previous_hash=entry.previous_hash.hex(), body=msgspec.Raw(body))


def checkpoint_line(checkpoint: Checkpoint) -> CheckpointLine:
    """Return a checkpoint as it is exported."""
    return CheckpointLine(
        organisation_id=checkpoint.organisation_id,
        through_sequence=checkpoint.through_sequence,
        hash=checkpoint.hash.hex(),
        signed_at_ms=checkpoint.signed_at_ms,
        key_id=checkpoint.key_id,
        signature=base64.b64encode(checkpoint.signature).decode(),
    )


def _described(batch: list[Entry], signed: dict[int, Checkpoint]) -> Iterable[bytes]:
    for entry in batch:
        yield encode_line(event_line(entry))
        if entry.sequence in signed:
            yield encode_line(checkpoint_line(signed[entry.sequence]))

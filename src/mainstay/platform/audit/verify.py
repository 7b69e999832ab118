"""Verification of a chain: every event's hash, the links between them, and what signed checkpoints say of them."""

from collections.abc import Iterable, Mapping

import msgspec

from mainstay.platform.audit.chain import GENESIS, event_hash
from mainstay.platform.audit.signing import Checkpoint, PublicKeys

FAULTS_SHOWN = 100


class Entry(msgspec.Struct, frozen=True):
    """One event as it is stored, or as an export has it."""

    sequence: int
    at_ms: int
    action: str
    actor_id: str
    target_id: str | None
    body: bytes
    previous_hash: bytes
    hash: bytes


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that cannot be unless someone, or a broken disk, has changed it."""

    sequence: int
    message: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What verification has found."""

    organisation_id: str
    is_intact: bool
    events: int
    """How many were verified."""
    after_sequence: int
    """The event before the first one that was verified; 0 when the chain was verified from its beginning."""
    last_sequence: int
    last_hash: str
    checkpoints: int
    """How many were verified."""
    signed_through: int
    """The last event that a verified checkpoint covers; 0 if there is none. Nobody vouches for those after it yet."""
    fault_count: int
    faults: list[Fault]
    """The first ones."""


class _Named(msgspec.Struct, frozen=True):
    id: str


class Members(msgspec.Struct, frozen=True):
    """What a body says that is also in columns."""

    organisation_id: str
    sequence: int
    at_ms: int
    action: str
    actor: _Named
    target: _Named | None = None


MEMBERS = msgspec.json.Decoder(Members)


class ChainCheck:
    """Follows one chain, or the end of one, from its first event to its last.

    A fault does not stop it: it goes on from what is stored, so that one change is told of once or twice, not for
    every event that follows. `anchors` are hashes that events must have, and who says so.
    """

    def __init__(
        self,
        organisation_id: str,
        public_keys: PublicKeys,
        *,
        after: int = 0,
        previous: bytes = GENESIS,
        anchors: Mapping[int, tuple[bytes, str]] | None = None,
        is_whole: bool = True,
    ) -> None:
        self._organisation_id = organisation_id
        self._public_keys = public_keys
        self._after = after
        self._anchors = dict(anchors or {})
        self._is_whole = is_whole
        self._claims: dict[int, list[Checkpoint]] = {}
        self._faults: list[Fault] = []
        self._fault_count = 0
        self._events = 0
        self._checkpoints = 0
        self._signed_through = 0
        self.last_sequence = after
        self.last_hash = previous

    def expect(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Hold the events that follow against checkpoints."""
        for checkpoint in checkpoints:
            if checkpoint.through_sequence > self.last_sequence:
                self._claims.setdefault(checkpoint.through_sequence, []).append(checkpoint)
            else:
                self._judge(checkpoint, self.last_hash if checkpoint.through_sequence == self.last_sequence else None)

    def add(self, entries: Iterable[Entry]) -> None:
        """Verify the next events."""
        for entry in entries:
            self._link(entry)
            if event_hash(entry.previous_hash, entry.body) != entry.hash:
                self.fault(entry.sequence, "its hash is not that of its content: the event was changed")
            self._compare(entry)
            self.last_sequence = entry.sequence
            self.last_hash = entry.hash
            self._events += 1
            if self._claims and (claims := self._claims.pop(entry.sequence, None)):
                for checkpoint in claims:
                    self._judge(checkpoint, entry.hash)
            if self._anchors and (anchor := self._anchors.pop(entry.sequence, None)) and anchor[0] != entry.hash:
                self.fault(entry.sequence, f"its hash is another than in {anchor[1]}: the log was written anew")

    def end(self, sequence: int, hash: bytes, *, what: str) -> None:
        """Compare the last event with what `what` says is the last one."""
        if self.last_sequence != sequence:
            self.fault(
                max(self.last_sequence, sequence),
                f"the log ends at event {self.last_sequence}, but {what} is at {sequence}",
            )
        elif self.last_hash != hash:
            self.fault(sequence, f"the last event has another hash than {what}")

    def fault(self, sequence: int, message: str, *, what: str | None = None) -> None:
        """Note something that is wrong, with an event or with `what`."""
        self._fault_count += 1
        if len(self._faults) < FAULTS_SHOWN:
            self._faults.append(Fault(sequence=sequence, message=f"{what or f'Event {sequence}'}: {message}."))

    def report(self) -> Report:
        """Return what was found. Everything that was promised and did not come is a fault."""
        for sequence in sorted(self._claims):
            self.fault(sequence, "a checkpoint covers it, but it is not there")
        for sequence in sorted(self._anchors):
            self.fault(sequence, f"it is in {self._anchors[sequence][1]}, but not in the log")
        self._claims, self._anchors = {}, {}
        return Report(
            organisation_id=self._organisation_id,
            is_intact=not self._fault_count,
            events=self._events,
            after_sequence=self._after,
            last_sequence=self.last_sequence,
            last_hash=self.last_hash.hex(),
            checkpoints=self._checkpoints,
            signed_through=self._signed_through,
            fault_count=self._fault_count,
            faults=self._faults,
        )

    def _link(self, entry: Entry) -> None:
        expected = self.last_sequence + 1
        if entry.sequence == expected:
            if entry.previous_hash != self.last_hash:
                self.fault(entry.sequence, "it does not follow from the event before it")
        elif entry.sequence <= self.last_sequence:
            self.fault(entry.sequence, f"it comes after event {self.last_sequence}: events are doubled or out of order")
        elif self._is_whole:
            missing = str(expected) if entry.sequence == expected + 1 else f"{expected} to {entry.sequence - 1}"
            self.fault(entry.sequence, f"before it, {missing} is missing")

    def _compare(self, entry: Entry) -> None:
        try:
            said = MEMBERS.decode(entry.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.fault(entry.sequence, "its content cannot be read")
            return
        if (
            said.sequence != entry.sequence
            or said.action != entry.action
            or said.actor.id != entry.actor_id
            or said.at_ms != entry.at_ms
            or (said.target.id if said.target is not None else None) != entry.target_id
            or said.organisation_id != self._organisation_id
        ):
            self.fault(entry.sequence, "the columns that it is searched by differ from its content")

    def _judge(self, checkpoint: Checkpoint, hash: bytes | None) -> None:
        sequence = checkpoint.through_sequence
        wrong = self._public_keys.fault(checkpoint.key_id, checkpoint.signature, checkpoint.message())
        if wrong is not None:
            self.fault(sequence, f"the checkpoint at it {wrong}")
        elif checkpoint.organisation_id != self._organisation_id:
            self.fault(sequence, "the checkpoint at it is of another organisation")
        elif hash != checkpoint.hash:
            self.fault(sequence, "the checkpoint at it has another hash: the log was changed after it was signed")
        else:
            self._checkpoints += 1
            self._signed_through = max(self._signed_through, sequence)

"""Signing checkpoints, in the background: a minute after an event at the latest, and every thousand events."""

import logging
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.platform.audit.chain import GENESIS
from mainstay.platform.audit.signed_here import Positions, SignedHere
from mainstay.platform.audit.signing import Checkpoint, PublicKeys, Signer
from mainstay.platform.audit.stored import entries
from mainstay.platform.audit.verify import ChainCheck

SIGN_SECONDS = 60.0
SIGN_EVENTS = 1000
_HEADS = "SELECT organisation_id, sequence, hash FROM audit_heads WHERE sequence > 0"
# For each head its newest checkpoint, found by the key of the table.
_SIGNED = (
    "SELECT h.organisation_id, c.through_sequence, c.hash FROM audit_heads h JOIN audit_checkpoints c "
    "ON c.organisation_id = h.organisation_id AND c.through_sequence = (SELECT MAX(l.through_sequence) "
    "FROM audit_checkpoints l WHERE l.organisation_id = h.organisation_id)"
)
_INSERT = (
    "INSERT INTO audit_checkpoints (organisation_id, through_sequence, hash, signed_at_ms, key_id, signature) "
    "VALUES (:organisation_id, :through_sequence, :hash, :signed_at_ms, :key_id, :signature) "
    "ON CONFLICT (organisation_id, through_sequence) DO NOTHING"
)

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Signed:
    """How far a chain is signed, and since when there has been more."""

    sequence: int = 0
    hash: bytes = GENESIS
    waiting_since: float | None = None
    is_broken: bool = False


class Checkpoints:
    """Signs what has been appended. Two that do so at once do no harm.

    What is appended is verified before it is signed: a chain that was broken since the last checkpoint, or that does
    not have what this server has signed, is told of in the log, once, and not signed any more.
    """

    def __init__(self, database: Database, signer: Signer, clock: Clock, signed_here: SignedHere) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._signed_here = signed_here
        self._signed: dict[str, _Signed] | None = None

    async def sign_due(self, *, everything: bool = False) -> int:
        """Sign every chain whose time has come, or that has grown at all; return how many.

        Raises DatabaseError, or ConfigurationError when it cannot be remembered.
        """
        if self._signed is None:
            self._signed = await self._load()
        new: Positions = {}
        for organisation_id, sequence, link in await self._database.fetch(_HEADS):
            signed = self._signed.setdefault(str(organisation_id), _Signed())
            head = (int(sequence), bytes(link))
            if signed.is_broken or not self._is_due(signed, head, everything=everything):
                continue
            if await self._sign(str(organisation_id), signed, head):
                new[str(organisation_id)] = head
        if new:
            self._signed_here.remember(new)
        return len(new)

    def forget(self) -> None:
        """Read anew how far chains are signed: another process may have signed meanwhile."""
        self._signed = None

    async def _load(self) -> dict[str, _Signed]:
        positions = {str(row[0]): (int(row[1]), bytes(row[2])) for row in await self._database.fetch(_SIGNED)}
        for organisation_id, position in self._signed_here.load().items():
            if position[0] >= positions.get(organisation_id, position)[0]:
                positions[organisation_id] = position
        return {organisation_id: _Signed(*position) for organisation_id, position in positions.items()}

    def _is_due(self, signed: _Signed, head: tuple[int, bytes], *, everything: bool) -> bool:
        if head[0] <= signed.sequence:
            return head != (signed.sequence, signed.hash)  # set back or written anew, which signing finds out
        now = self._clock.monotonic()
        if signed.waiting_since is None:
            signed.waiting_since = now
        return everything or head[0] - signed.sequence >= SIGN_EVENTS or now - signed.waiting_since >= SIGN_SECONDS

    async def _sign(self, organisation_id: str, signed: _Signed, head: tuple[int, bytes]) -> bool:
        check = ChainCheck(organisation_id, PublicKeys([]), after=signed.sequence, previous=signed.hash)
        async for batch in entries(self._database, organisation_id, after=signed.sequence, through=head[0]):
            check.add(batch)
        check.end(*head, what="its head")
        report = check.report()
        if not report.is_intact:
            signed.is_broken = True
            _LOG.error(
                "audit: the log of organisation %s is broken and is not signed any more: %s `mainstay audit verify` "
                "says more. If an older backup was restored, remove %s and restart.",
                organisation_id,
                report.faults[0].message,
                self._signed_here.path,
            )
            return False
        signed_at_ms = int(self._clock.wall() * 1000)
        await self._store(self._signer.sign(organisation_id, head[0], head[1], signed_at_ms=signed_at_ms))
        signed.sequence, signed.hash = head
        signed.waiting_since = None
        return True

    async def _store(self, checkpoint: Checkpoint) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                _INSERT,
                {
                    "organisation_id": checkpoint.organisation_id,
                    "through_sequence": checkpoint.through_sequence,
                    "hash": checkpoint.hash,
                    "signed_at_ms": checkpoint.signed_at_ms,
                    "key_id": checkpoint.key_id,
                    "signature": checkpoint.signature,
                },
            )

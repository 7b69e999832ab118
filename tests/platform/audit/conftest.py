"""A log to tamper with: some events, signed here and there."""

from pathlib import Path

import pytest

from mainstay.kit.database import Database
from mainstay.platform.audit.checkpoints import Checkpoints
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Target
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.signed_here import SignedHere
from mainstay.platform.audit.signing import PublicKeys, Signer

ORGANISATION = "org_default"


class TurnedClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Log:
    """Appends to one organisation's log."""

    def __init__(self, database: Database, clock: TurnedClock, signer: Signer, folder: Path) -> None:
        self.database = database
        self.clock = clock
        self.signer = signer
        self.ledger = Ledger(clock)
        self.signed_here = SignedHere(folder / "audit" / "signed.json")
        self.checkpoints = self.new_checkpoints()

    @property
    def public_keys(self) -> PublicKeys:
        return PublicKeys([self.signer.public_key])

    async def append(self, count: int, *, organisation_id: str = ORGANISATION) -> None:
        """Append `count` events of different kinds, a few to a transaction."""
        for first in range(0, count, 7):
            async with self.database.transaction() as transaction:
                events = [event(number) for number in range(first, min(first + 7, count))]
                await self.ledger.append(transaction, act(first), organisation_id, events)
            self.clock.now += 1.5

    def new_checkpoints(self) -> Checkpoints:
        """As another process has them."""
        return Checkpoints(self.database, self.signer, self.clock, self.signed_here)

    async def sign(self) -> None:
        await self.checkpoints.sign_due(everything=True)

    async def rows(self, table: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await self.database.fetch(f"SELECT * FROM {table}")]


def act(number: int) -> Act:
    origin = Origin(address=f"192.0.2.{number % 250}", user_agent="tests/1 (é)", request_id=f"req_{number}")
    return Act(actor=Actor(type=ActorType.USER, id=f"user_{number % 3}", name="Zoë"), origin=origin)


def event(number: int) -> Event:
    kinds = (
        Event(action="user.created", target=Target(type="user", id=f"user_{number}", name='Łukasz \u2028 \\ "x"')),
        Event(action="policy.set", changed={"value": [None, {"names": ["a", "b"], "n": 1.5}]}),
        Event(action="user_group.created", target=Target(type="group", id=f"group_{number}")),
        Event(action="sign_in.failed", details={"why": "no such account"}),
    )
    return kinds[number % len(kinds)]


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def signer() -> Signer:
    return Signer(b"s" * 32)


@pytest.fixture
async def log(database: Database, clock: TurnedClock, signer: Signer, tmp_path: Path) -> Log:
    """A log of 60 events, signed after 20, 40 and 50."""
    log = Log(database, clock, signer, tmp_path)
    for count in (20, 20, 10):
        await log.append(count)
        await log.sign()
    await log.append(10)
    return log

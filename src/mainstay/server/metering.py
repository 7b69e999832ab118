"""Builds what counts calls: limits and budgets, the journal, and what carries it into the database."""

from dataclasses import dataclass

from mainstay.kit.errors import ConfigurationError
from mainstay.platform.metering.allotments import Allotments, PerMinute
from mainstay.platform.metering.journal import Journal
from mainstay.platform.metering.limiter import Limiter
from mainstay.platform.metering.prices import Price
from mainstay.platform.metering.recorder import Recorder
from mainstay.platform.metering.recovery import Recovery
from mainstay.platform.metering.spending_watch import SpendingWatch
from mainstay.server.edge import Ground
from mainstay.server.targets import price_of
from mainstay.settings import Settings


class Prices:
    """What the deployments cost, as the settings in force say; for calls that were written down without their cost."""

    def __init__(self, settings: Settings) -> None:
        self._prices: dict[str, Price] = {}
        self.replace(settings)

    def replace(self, settings: Settings) -> None:
        """Take over new settings."""
        priced = ((one.name, price_of(one.prices)) for one in settings.deployments)
        self._prices = {name: price for name, price in priced if price is not None}

    def __call__(self, deployment: str) -> Price | None:
        """Return the price of a deployment, if it is known."""
        return self._prices.get(deployment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """What a worker counts with."""

    limiter: Limiter
    allotments: Allotments
    """A view for the change feed, behind the directory."""
    spending: SpendingWatch
    """Must have been refreshed before the first call, and be kept running."""
    prices: Prices

    def reload(self, settings: Settings) -> None:
        """Put new settings in force."""
        self.prices.replace(settings)
        self.allotments.replace_key_default(_of_a_key(settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where calls are written down; `recorder` and `recovery` must be kept running."""

    journal: Journal
    recorder: Recorder
    recovery: Recovery


def build_metering(settings: Settings, ground: Ground) -> Metering:
    """Build what limits calls."""
    limiter = Limiter(ground.clock, share=1 / settings.server.workers)
    allotments = Allotments(
        ground.database,
        limiter,
        ground.clock,
        groups_of=ground.authority.directory.groups_of,
        of_a_key=_of_a_key(settings),
    )
    spending = SpendingWatch(ground.database, allotments, limiter.budgets, acts=ground.acts, clock=ground.clock)
    return Metering(limiter=limiter, allotments=allotments, spending=spending, prices=Prices(settings))


def open_books(settings: Settings, ground: Ground, metering: Metering) -> Books:
    """Open this worker's journal. Raises ConfigurationError when it cannot be written."""
    folder = settings.home / "journal"
    try:
        journal = Journal(folder)
    except OSError as error:
        raise ConfigurationError(f"Calls cannot be written down in {folder}: {error.strerror}.") from error
    return Books(
        journal=journal,
        recorder=Recorder(journal, ground.database, metering.prices, listener=metering.allotments),
        recovery=Recovery(folder, ground.database, metering.prices),
    )


def _of_a_key(settings: Settings) -> PerMinute:
    declared = settings.limit_per_key
    return PerMinute(declared.requests_per_minute, declared.tokens_per_minute)

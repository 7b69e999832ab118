"""What operators watch of model calls, as Prometheus metrics.

Names follow the OpenTelemetry GenAI conventions where those have one, in Prometheus spelling.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mainstay.platform.metering.journal import CallEnd, CallStart

SERIES_MAX = 1000
"""Deployments that are counted apart: organisations make their own, and every series takes memory for good."""

OTHERS = "(others)"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class _Series:
    """The metrics of one deployment and operation, looked up once: `labels()` costs more than counting does."""

    def __init__(self, measures: "Measures", deployment: str, operation: str) -> None:
        self.in_flight = measures.in_flight.labels(deployment, operation)
        self.duration = measures.duration.labels(deployment, operation)
        self.first_token = measures.first_token.labels(deployment, operation)
        self.prompt_tokens = measures.tokens.labels(deployment, operation, "prompt")
        self.cached_tokens = measures.tokens.labels(deployment, operation, "cached")
        self.completion_tokens = measures.tokens.labels(deployment, operation, "completion")
        self._calls = measures.calls
        self._labels = (deployment, operation)
        self._by_outcome: dict[tuple[str, int], Counter] = {}

    def calls(self, outcome: str, status: int) -> Counter:
        found = self._by_outcome.get((outcome, status))
        if found is None:
            found = self._by_outcome[(outcome, status)] = self._calls.labels(*self._labels, outcome, str(status))
        return found


class Measures:
    """Counts calls by deployment; those of the same name are counted together, whosever they are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("deployment", "operation")
        self.calls = Counter(
            "mainstay_calls", "Model calls that have ended.", (*labels, "outcome", "status"), registry=registry
        )
        self.in_flight = Gauge(
            "mainstay_calls_in_flight",
            "Model calls that are being answered.",
            labels,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.duration = Histogram(
            "mainstay_call_duration_seconds", "From start to end.", labels, registry=registry, buckets=_SECONDS
        )
        self.first_token = Histogram(
            "mainstay_first_token_seconds", "From start to first chunk.", labels, registry=registry, buckets=_SECONDS
        )
        self.tokens = Counter("mainstay_tokens", "Tokens, by kind.", (*labels, "kind"), registry=registry)
        self._series: dict[tuple[str, str], _Series] = {}
        self._names: set[str] = set()

    def started(self, start: CallStart) -> None:
        """Count a call in."""
        self._of(start).in_flight.inc()

    def ended(self, start: CallStart, end: CallEnd) -> None:
        """Count a call out, with what it took."""
        series = self._of(start)
        series.in_flight.dec()
        series.calls(end.outcome, end.status).inc()
        if end.duration_ms is not None:
            series.duration.observe(end.duration_ms / 1000)
        if end.first_token_ms is not None:
            series.first_token.observe(end.first_token_ms / 1000)
        series.prompt_tokens.inc(end.prompt_tokens)
        series.completion_tokens.inc(end.completion_tokens)
        if end.cached_tokens:
            series.cached_tokens.inc(end.cached_tokens)

    def _of(self, start: CallStart) -> _Series:
        found = self._series.get((start.deployment, start.operation))
        return self._new_or_others(start) if found is None else found

    def _new_or_others(self, start: CallStart) -> _Series:
        """Return new series, or those of all who came too late for some of their own."""
        is_known = start.deployment in self._names or len(self._names) < SERIES_MAX
        key = (start.deployment if is_known else OTHERS, start.operation)
        if is_known:
            self._names.add(start.deployment)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = _Series(self, *key)
        return found

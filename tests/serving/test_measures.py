"""Metrics: counted by deployment, and never more of them than memory should hold."""

from prometheus_client import CollectorRegistry

from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.serving import measures as module
from mainstay.serving.measures import OTHERS, Measures


def started(deployment: str, operation: str = "chat.completions") -> CallStart:
    return CallStart(
        call_id="call_1",
        request_id="req_1",
        organisation_id="org_a",
        project_id="proj_a",
        key_id="key_1",
        operation=operation,
        deployment=deployment,
        provider="vendor",
        model="m",
        is_stream=False,
        started_at=0.0,
    )


def counts(registry: CollectorRegistry, name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == name:
                deployment = sample.labels["deployment"]
                found[deployment] = found.get(deployment, 0) + sample.value
    return found


def test_deployments_beyond_a_thousand_are_counted_together_and_none_twice(monkeypatch) -> None:
    monkeypatch.setattr(module, "SERIES_MAX", 2)
    registry = CollectorRegistry()
    measures = Measures(registry)
    starts = [started(name) for name in ("a", "b", "c", "d", "a")] + [started("a", "embeddings"), started("d", "x")]
    for start in starts:
        measures.started(start)
    assert counts(registry, "mainstay_calls_in_flight") == {"a": 3, "b": 1, OTHERS: 3}
    for start in starts:
        measures.ended(start, CallEnd(call_id="call_1", ended_at=1.0, status=200, outcome=Outcome.OK, duration_ms=5.0))
    assert counts(registry, "mainstay_calls_in_flight") == {"a": 0, "b": 0, OTHERS: 0}
    assert counts(registry, "mainstay_calls_total") == {"a": 3, "b": 1, OTHERS: 3}

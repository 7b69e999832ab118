"""The hash chain: each event's hash covers its exact bytes and the hash before it."""

import hashlib

import msgspec

from mainstay.platform.audit.events import Act, Event

GENESIS = bytes(32)
"""The hash before the first event."""

_ENCODER = msgspec.json.Encoder(order="deterministic")


def event_hash(previous_hash: bytes, body: bytes) -> bytes:
    """Return SHA-256 of the previous hash (32 bytes) followed by the canonical body."""
    return hashlib.sha256(previous_hash + body).digest()


def canonical_body(act: Act, event: Event, *, organisation_id: str, sequence: int, at_ms: int) -> bytes:
    """Return the bytes that are stored, hashed and exported: JSON with sorted members and no spaces, in UTF-8."""
    body = {
        "organisation_id": organisation_id,
        "sequence": sequence,
        "at_ms": at_ms,
        "action": event.action,
        "outcome": event.outcome,
        "actor": act.actor,
        "origin": act.origin,
    }
    if event.target is not None:
        body["target"] = event.target
    said = {"reason": act.reason, "changed": event.changed, "details": event.details}
    return _ENCODER.encode(body | {name: value for name, value in said.items() if value})

"""What every part of one answer repeats."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """The answer's id, when it was begun (Unix time), and who gives it."""

    id: str
    created: int
    model: str
    fingerprint: str

"""Times: Unix seconds on the wire, milliseconds inside."""

from typing import overload

from mainstay.kit.errors import InvalidRequestError

SECONDS_MAX = 253_402_300_799
"""The end of the year 9999."""


@overload
def seconds(at_ms: int) -> int: ...


@overload
def seconds(at_ms: int | None) -> int | None: ...


def seconds(at_ms: int | None) -> int | None:
    """Return the time as it is shown."""
    return None if at_ms is None else at_ms // 1000


def milliseconds(at_seconds: int | None, param: str = "expires_at") -> int | None:
    """Return the time as it is kept. Raises InvalidRequestError for what is no time."""
    if at_seconds is None:
        return None
    if not 0 <= at_seconds <= SECONDS_MAX:
        raise InvalidRequestError(f"'{param}' is a Unix time in seconds, not {at_seconds}.", param=param)
    return at_seconds * 1000

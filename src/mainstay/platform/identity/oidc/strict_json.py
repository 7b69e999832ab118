"""JSON that was signed or that decides who someone is, read so that no two readers can understand it differently."""

import json
from typing import Any

Claims = dict[str, Any]  # any JSON: what a claim holds is checked where it is used


def read_object(data: bytes) -> Claims:
    """Return a JSON object. Raises ValueError for anything else, for names that are there twice, and for NaN."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refused)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one kind of error for all that is wrong with the text
    return found


def _unique(pairs: list[tuple[str, Any]]) -> Claims:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is in it twice")
    return found


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")

"""Names of what is done, as they are asked for: `user.created`, or `user` for all that is done to users."""

import re
from collections.abc import Sequence

from mainstay.kit.errors import InvalidRequestError

_is_prefix = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63})?").fullmatch


def clean_prefix(text: str, *, param: str) -> str:
    """Return the name. Raises InvalidRequestError for what cannot be one."""
    if not _is_prefix(text):
        raise InvalidRequestError(
            f"{text[:60]!r} is no action; write one such as user.created, or user for all of them.", param=param
        )
    return text


def matches(action: str, prefixes: Sequence[str] | None) -> bool:
    """Whether an action is one of those, or of one of those nouns; None is every action."""
    return prefixes is None or any(action == one or action.startswith(one + ".") for one in prefixes)

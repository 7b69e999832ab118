"""Token ids that callers send instead of text: cl100k_base, OpenAI's encoding, read back into text.

Clients such as LangChain tokenise by themselves before they ask. They cannot know the vocabulary of the model that
runs here, so their ids are never its ids.
"""

from collections.abc import Sequence
from typing import Protocol

from mainstay.kit.errors import InvalidRequestError

_HIGHEST_ID = 100_276
"""<|endofprompt|>, the last id of cl100k_base."""


class _Encoding(Protocol):
    def decode(self, tokens: list[int]) -> str: ...


class TokenReader:
    """Turns ids into text. The vocabulary (50 ms, a few megabytes) is loaded when the first ids arrive."""

    def __init__(self) -> None:
        self._encoding: _Encoding | None = None

    def text(self, ids: Sequence[int], param: str) -> str:
        """Return the text of `ids`; `param` is where they stood in the request. Raises InvalidRequestError."""
        for place, token in enumerate(ids):
            if token < 0 or token > _HIGHEST_ID:
                raise _unknown(token, f"{param}[{place}]")
        try:
            return self._loaded().decode(list(ids))
        except KeyError as error:
            raise InvalidRequestError(
                f"An id in '{param}' is not a token of cl100k_base; send text or cl100k_base ids.",
                param=param,
                code="invalid_value",
            ) from error

    def _loaded(self) -> _Encoding:
        if self._encoding is None:
            import bpe_openai

            self._encoding = bpe_openai.get_encoding("cl100k_base")
        return self._encoding


def _unknown(token: int, param: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{token} is not a token of cl100k_base, which '{param}' is read as; send text or cl100k_base ids.",
        param=param,
        code="invalid_value",
    )

"""Token ids that callers send instead of text: cl100k_base, OpenAI's encoding, read back into text.

Clients such as LangChain tokenise by themselves before they ask. They cannot know the vocabulary of the model that
runs here, so their ids are never its ids.
"""

import asyncio
import base64
import gzip
import importlib.util
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mainstay.kit.errors import ConfigurationError, InvalidRequestError

_SPECIAL = {
    100_257: b"<|endoftext|>",
    100_258: b"<|fim_prefix|>",
    100_259: b"<|fim_middle|>",
    100_260: b"<|fim_suffix|>",
    100_276: b"<|endofprompt|>",
}
_VOCABULARY_FILE = Path("data") / "cl100k_base.tiktoken.gz"
_MAY_HOLD_IDS = re.compile(rb"[\[,]\s*\d")


class TokenReader:
    """Turns ids into text. The vocabulary (some 10 MB) is loaded when the first ids arrive."""

    def __init__(self) -> None:
        self._vocabulary: dict[int, bytes] | None = None

    async def prepare(self, field: bytes) -> None:
        """Load the vocabulary, in a thread, if the JSON text `field` may hold ids; `text` would do it in ours."""
        if self._vocabulary is None and field.lstrip()[:1] == b"[" and _MAY_HOLD_IDS.search(field):
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens") as executor:
                self._vocabulary = await asyncio.get_running_loop().run_in_executor(executor, read_vocabulary)

    def text(self, ids: Sequence[int], param: str) -> str:
        """Return the text of `ids`; `param` is where they stood in the request. Raises InvalidRequestError.

        Ids that are cut in the middle of a character give a replacement character.
        """
        if self._vocabulary is None:
            self._vocabulary = read_vocabulary()
        vocabulary = self._vocabulary
        try:
            return b"".join([vocabulary[token] for token in ids]).decode("utf-8", "replace")
        except KeyError as error:
            place = next(place for place, token in enumerate(ids) if token not in vocabulary)
            raise InvalidRequestError(
                f"'{param}[{place}]' is not a token of cl100k_base, which '{param}' is read as; send text or such ids.",
                param=f"{param}[{place}]",
                code="invalid_value",
            ) from error


def read_vocabulary() -> dict[int, bytes]:
    """Read cl100k_base from the package bpe-openai, as data: one line for each token, its bytes in base64 and its id.

    Importing the package would load its other vocabularies too, which takes ten times as long.
    """
    package = importlib.util.find_spec("bpe_openai")
    if package is None or package.origin is None:
        raise ConfigurationError("The package bpe-openai is not installed; run `make run` once to repair that.")
    with gzip.open(Path(package.origin).parent / _VOCABULARY_FILE) as file:
        lines = file.read().splitlines()
    vocabulary = dict(_SPECIAL)
    for line in lines:
        token, _, number = line.partition(b" ")
        vocabulary[int(number)] = base64.b64decode(token)
    return vocabulary

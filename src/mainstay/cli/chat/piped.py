"""Text that is piped into `mainstay chat`."""

import select
import sys
from typing import BinaryIO

import click

from mainstay.kit.errors import InvalidRequestError

LIMIT_BYTES = 1_048_576
_NOTE_SECONDS = 2.0


def read(stream: BinaryIO, limit_bytes: int = LIMIT_BYTES) -> str:
    """Return all text of the stream. Raises InvalidRequestError if it is too large, or no text."""
    _note_if_slow(stream)
    content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise InvalidRequestError(
            f"The piped input is over {limit_bytes} bytes; send a part of it, "
            "e.g. `head -c 100000 FILE | mainstay chat QUESTION`."
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"The piped input is not UTF-8 text (byte {error.start}); convert it to text first."
        ) from error


def join(question: str, piped: str) -> str:
    """Append the piped text to the question."""
    return "\n\n".join(part for part in (question, piped.strip("\n")) if part.strip())


def _note_if_slow(stream: BinaryIO) -> None:
    """Say what is waited for: standard input may be a pipe that nobody will ever write to."""
    if not sys.stderr.isatty():
        return
    ready, _, _ = select.select([stream], [], [], _NOTE_SECONDS)
    if not ready:
        click.echo("Waiting for the piped input to end (without any: add `< /dev/null`).", err=True)

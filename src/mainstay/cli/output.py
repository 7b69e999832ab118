"""How every command speaks: text for people, one JSON document for programs with `--json`.

An error is one line on standard error and exit code 1; with `--json` it is `{"error": {...}}` on standard
output, so that a program always reads exactly one document there.
"""

import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NoReturn

import click

from mainstay.kit.errors import MainstayError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells report it."""


class Output:
    """Where a command's result goes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, value: object, text: str | Callable[[], str]) -> None:
        """Print the result: `value` as JSON, or else `text` (called only if it is needed)."""
        if self.as_json:
            click.echo(to_json(value))
        else:
            click.echo(text if isinstance(text, str) else text())

    def note(self, text: str) -> None:
        """Tell people something beside the result, on standard error; programs do not see it."""
        if not self.as_json:
            click.echo(text, err=True)

    def fail(self, error: MainstayError) -> NoReturn:
        """Print the error and end with exit code 1."""
        if self.as_json:
            click.echo(to_json({"error": describe_error(error)}))
        else:
            click.echo(f"mainstay: {error.message}", err=True)
        raise click.exceptions.Exit(1)


# Any: a decorator takes commands of every signature, plain or async, and click sees none of their types either.
def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command, hand it an `output` and print the MainstayError that it may raise.

    The command may be `async`: it then runs in an event loop of its own.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
    @functools.wraps(command)
    def speaking(*args: object, as_json: bool, **kwargs: object) -> object:
        output = Output(as_json=as_json)
        try:
            result = command(*args, output=output, **kwargs)
            return asyncio.run(result) if inspect.iscoroutine(result) else result
        except MainstayError as error:
            output.fail(error)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None

    return speaking


def describe_error(error: MainstayError) -> dict[str, object]:
    """Return the error as JSON members, in the words of the API's errors."""
    return {
        "message": error.message,
        "type": error.type,
        "code": error.code,
        "param": error.param,
        "can_retry": error.can_retry,
    }


def to_json(value: object) -> str:
    """Encode a result, indented, with any character left readable."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_encode)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out in aligned columns; None is shown as a dash, and no rows as `(none)`."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        return "(none)"
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [[name.upper() for name in columns], *cells]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _encode(value: object) -> object:
    """Encode what JSON does not know. A secret is never among it: nothing here can read one."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    import msgspec

    return msgspec.to_builtins(value)

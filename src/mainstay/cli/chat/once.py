"""One question, one answer."""

import re
import sys
from collections.abc import Sequence

import click

from mainstay.cli.chat.asking import Answer, show
from mainstay.cli.chat.connection import explained, first_model
from mainstay.cli.chat.views import MarkdownView, PlainView, View
from mainstay.cli.output import Output, to_json
from mainstay.client import Client, Message, Options
from mainstay.kit.errors import MainstayError


async def ask_once(
    client: Client, output: Output, *, messages: Sequence[Message], model: str | None, options: Options
) -> bool:
    """Ask, show the answer, and tell whether it is whole (or else was stopped by Ctrl-C). Raises its error."""
    try:
        model = model or await first_model(client)
        answer = await show(client.chat(messages, model, options=options), _view(output))
        if answer.error is not None:
            raise answer.error
    except MainstayError as error:
        raise explained(error, client.base_url) from error
    if output.as_json and answer.finished is not None:
        click.echo(_json(answer, model))
    return not answer.is_interrupted


def _view(output: Output) -> View:
    if output.as_json:
        return PlainView(lambda _: None)
    if not sys.stdout.isatty():
        return PlainView(_write)
    from rich.console import Console

    console = Console()
    return PlainView(_write) if console.is_dumb_terminal else MarkdownView(console)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _json(answer: Answer, model: str) -> str:
    """Return the answer as JSON; C1 controls, which JSON lets through as they are, are escaped like the others."""
    finished = answer.finished
    document = {
        "answer": answer.text,
        "model": (finished and finished.model) or model,
        "finish_reason": finished and finished.reason,
        "usage": finished and finished.usage,
    }
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", to_json(document))

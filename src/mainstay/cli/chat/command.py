"""The command line of `mainstay chat`."""

import os
import sys
from typing import TYPE_CHECKING

import click

from mainstay.cli.output import INTERRUPTED, Output, output_option

if TYPE_CHECKING:
    from mainstay.client import Client, Options


@click.command()
@click.argument("question", nargs=-1)
@click.option("--model", "-m", help="The model to talk with; the server's first by default.")
@click.option("--system", "-s", help="What the model is told before the conversation.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 for the likeliest words, up to 2.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer, in tokens.")
@click.option("--base-url", help="The server. [default: MAINSTAY_BASE_URL, else http://127.0.0.1:$MAINSTAY_PORT]")
@click.option("--api-key", help="The key. [default: MAINSTAY_API_KEY, else the one that `make run` stored]")
@output_option
async def chat(
    output: Output,
    question: tuple[str, ...],
    *,
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    base_url: str | None,
    api_key: str | None,
) -> None:
    """Talk with a model, or ask it one QUESTION.

    Piped text is appended to the question: `cat notes.md | mainstay chat "Summarise this."`
    """
    from mainstay.client import Options

    asked = _question(" ".join(question))
    if asked is None and (output.as_json or not sys.stdout.isatty()):
        raise click.UsageError("Give a question: a conversation needs a terminal for its output.")
    async with _client(base_url, api_key) as client:
        options = Options(temperature=temperature, max_tokens=max_tokens)
        if asked is None:
            await _talk(client, model, system, options)
        else:
            await _ask_once(client, output, question=asked, model=model, system=system, options=options)


def _question(question: str) -> str | None:
    """Return what to ask, with what was piped in; None asks for a conversation."""
    if sys.stdin.isatty():
        return question.strip() or None
    from mainstay.cli.chat import piped

    joined = piped.join(question, piped.read(sys.stdin.buffer))
    if not joined:
        raise click.UsageError("Give a question: nothing was piped in.")
    return joined


def _client(base_url: str | None, api_key: str | None) -> "Client":
    from mainstay.cli.chat.connection import checked_base_url, default_api_key, default_base_url
    from mainstay.client import Client

    said_by = "MAINSTAY_BASE_URL" if os.environ.get("MAINSTAY_BASE_URL") else "The server's address"
    said_by = "--base-url" if base_url else said_by
    address = checked_base_url(base_url or default_base_url(), said_by=said_by)
    return Client(address, default_api_key(address) if api_key is None else api_key)


async def _talk(client: "Client", model: str | None, system: str | None, options: "Options") -> None:
    from mainstay.cli.chat.connection import chat_models, chosen, explained
    from mainstay.cli.chat.conversation import Conversation
    from mainstay.cli.chat.loop import Loop
    from mainstay.cli.chat.session import Session
    from mainstay.kit.errors import MainstayError
    from mainstay.settings import find_home

    try:
        known_models = await chat_models(client)
        name = chosen(model, known_models, client.base_url)
    except MainstayError as error:
        raise explained(error, client.base_url) from error
    session = Session(client, name, Conversation(system), options)
    await Loop(session, find_home(None, os.environ) / "chat_history", known_models=known_models).run()


async def _ask_once(
    client: "Client", output: Output, *, question: str, model: str | None, system: str | None, options: "Options"
) -> None:
    from mainstay.cli.chat.once import ask_once
    from mainstay.client import Message

    messages = [Message("system", system)] if system else []
    is_whole = await ask_once(
        client, output, messages=[*messages, Message("user", question)], model=model, options=options
    )
    if not is_whole:
        raise click.exceptions.Exit(INTERRUPTED)

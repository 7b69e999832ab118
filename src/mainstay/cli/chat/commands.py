"""The commands inside a conversation: what begins with a slash."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mainstay.cli.chat.connection import chat_models
from mainstay.cli.chat.session import Session
from mainstay.kit.errors import MainstayError

_COMMAND = re.compile(r"/([a-z]*)(?:\s+(.*))?", re.DOTALL)

HELP: Mapping[str, tuple[str, str]] = {
    "model": ("NAME", "talk with another model"),
    "models": ("", "list the models"),
    "system": ("TEXT", "what the model is told first; `none` takes it back"),
    "retry": ("", "ask the last question again"),
    "clear": ("", "start afresh"),
    "save": ("FILE", "write the conversation as Markdown"),
    "tokens": ("", "count what was used"),
    "help": ("", "show this"),
    "exit": ("", "leave, like Ctrl-D"),
}
"""Name of a command: its argument, and what it does."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What follows from a command: something to say, a question to ask, or the end."""

    says: str = ""
    asks: str | None = None
    is_leaving: bool = False


def is_command(line: str) -> bool:
    """Tell a command from a question; `/etc/fstab: what is it?` is a question."""
    return _COMMAND.fullmatch(line.strip()) is not None


class Commands:
    """Carries out commands on one session."""

    def __init__(self, session: Session, known_models: list[str]) -> None:
        self._session = session
        self.known_models = known_models
        self._by_name: Mapping[str, Callable[[str], Awaitable[Effect]]] = {
            "model": self._model,
            "models": self._models,
            "system": self._system,
            "retry": self._retry,
            "clear": self._clear,
            "save": self._save,
            "tokens": self._tokens,
            "help": self._help,
            "exit": self._exit,
        }

    async def run(self, line: str) -> Effect:
        """Carry out one line. Raises MainstayError if the server refuses."""
        found = _COMMAND.fullmatch(line.strip())
        name, argument = (found[1], (found[2] or "").strip()) if found else ("", "")
        if name not in self._by_name:
            return Effect(says=f"There is no command /{name}; /help lists them.")
        return await self._by_name[name](argument)

    async def _model(self, name: str) -> Effect:
        if not name:
            return Effect(says=f"You talk with {self._session.model}. /model NAME changes that; /models lists them.")
        self.known_models = await chat_models(self._session.client)
        if name not in self.known_models:
            return Effect(says=f"There is no model '{name}' here. There is: {', '.join(self.known_models)}.")
        self._session.model = name
        return Effect(says=f"You now talk with {name}; the conversation goes on.")

    async def _models(self, _: str) -> Effect:
        self.known_models = await chat_models(self._session.client)
        marked = [f"{'●' if name == self._session.model else ' '} {name}" for name in self.known_models]
        return Effect(says="\n".join(marked) or "The server has no model that can chat.")

    async def _system(self, text: str) -> Effect:
        conversation = self._session.conversation
        if text:
            conversation.system = None if text.lower() == "none" else text
        return Effect(says=f"System: {conversation.system}" if conversation.system else "No system message is set.")

    async def _retry(self, _: str) -> Effect:
        question = self._session.conversation.take_back()
        return Effect(asks=question) if question else Effect(says="Nothing was asked yet.")

    async def _clear(self, _: str) -> Effect:
        self._session.conversation.clear()
        return Effect(says="The conversation starts afresh.")

    async def _save(self, name: str) -> Effect:
        if not name:
            return Effect(says="Say where: /save FILE.")
        if not len(self._session.conversation):
            return Effect(says="There is nothing to save yet.")
        return Effect(says=_write_new(name, self._session.conversation.as_markdown()))

    async def _tokens(self, _: str) -> Effect:
        conversation, usage = self._session.conversation, self._session.conversation.last_usage
        if usage is None:
            return Effect(
                says=f"The server counted no tokens for the last answer; {conversation.total_tokens:,} before."
            )
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        speed = self._session.tokens_per_second()
        return Effect(
            says=f"Last answer: {usage.completion_tokens:,} tokens, on {usage.prompt_tokens:,} before it"
            + (f" ({cached:,} from the cache)" if cached else "")
            + (f", {speed:.0f} tokens/s" if speed else "")
            + f". This conversation: {conversation.total_tokens:,}."
        )

    async def _help(self, _: str) -> Effect:
        lines = [f"/{name} {argument}".ljust(16) + does for name, (argument, does) in HELP.items()]
        keys = "Enter sends; Alt-Enter or a backslash at the end of a line begins a new one; Ctrl-C stops an answer."
        return Effect(says="\n".join([*lines, "", keys]))

    async def _exit(self, _: str) -> Effect:
        return Effect(is_leaving=True)


def describe(error: MainstayError) -> str:
    """Return an error for the screen, with when to try again if the server said so."""
    wait = f" Try again in {error.retry_after_seconds:.0f} s." if error.retry_after_seconds else ""
    return error.message + wait


def _write_new(name: str, text: str) -> str:
    """Write a new file and say what happened; one that exists is left alone."""
    try:
        path = Path(name).expanduser()
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return f"{name} exists and was left as it is; choose another name."
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
        return f"The conversation could not be written to {name}: {why}; choose another place."
    return f"Saved to {path}."

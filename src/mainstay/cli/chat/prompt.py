"""The line editor of the conversation."""

from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style

from mainstay.cli.chat.commands import HELP

_STYLE = Style.from_dict(
    {"prompt": "ansigreen bold", "continuation": "ansigreen", "bottom-toolbar": "noreverse ansibrightblack"}
)


def open_history(path: Path) -> tuple[History, str]:
    """Return the history of questions and, if it cannot be kept in its file, a word about that.

    The file is for its owner alone: questions may be confidential.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.read_bytes()
    except OSError as error:
        return InMemoryHistory(), f"Questions are remembered only until you leave: {error}."
    return FileHistory(path), ""


class Prompt:
    """Reads questions, of one line or several, with history and completion."""

    def __init__(
        self,
        history: History,
        models: Callable[[], list[str]],
        status: Callable[[], str],
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._status = status
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", "› ")],
            prompt_continuation=[("class:continuation", "  ")],
            multiline=True,
            history=history,
            completer=SlashCompleter(models),
            key_bindings=_bindings(),
            bottom_toolbar=self._toolbar,
            style=_STYLE,
            input=input,
            output=output,
        )

    async def read(self) -> str | None:
        """Return the next question, stripped; None when it is time to leave (Ctrl-C or Ctrl-D on an empty line)."""
        try:
            # Waits for a person, for as long as it takes.
            return (await self._session.prompt_async()).strip()
        except (EOFError, KeyboardInterrupt):
            return None

    def _toolbar(self) -> StyleAndTextTuples:
        return [("class:bottom-toolbar", self._status())]


class SlashCompleter(Completer):
    """Completes commands, and the names of models after `/model`."""

    def __init__(self, models: Callable[[], list[str]]) -> None:
        self._models = models

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002 - prompt_toolkit's signature
        """Yield what the text so far can become."""
        text = document.text_before_cursor
        if text.startswith("/model "):
            typed = text.removeprefix("/model ").lstrip()
            for name in self._models():
                if name.startswith(typed):
                    yield Completion(name, start_position=-len(typed))
        elif text.startswith("/") and not any(map(str.isspace, text)):
            for name, (argument, does) in HELP.items():
                if name.startswith(text[1:]):
                    yield Completion(f"/{name}", -len(text), display=f"/{name} {argument}", display_meta=does)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _send(event: KeyPressEvent) -> None:
        """Send, or go on in a new line after a backslash."""
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        elif buffer.text.strip():
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    def _drop_or_leave(event: KeyPressEvent) -> None:
        """Throw the line away; on an empty one, leave."""
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return bindings

"""The conversation: read a line, carry out a command or ask, show what comes, again."""

from pathlib import Path

from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from rich.console import Console
from rich.text import Text

from mainstay.cli.chat.asking import Answer
from mainstay.cli.chat.commands import Commands, describe, is_command
from mainstay.cli.chat.connection import explained
from mainstay.cli.chat.interrupts import ignored, unless_stopped
from mainstay.cli.chat.prompt import Prompt, open_history
from mainstay.cli.chat.session import Session
from mainstay.cli.chat.untrusted import clean
from mainstay.cli.chat.views import MarkdownView, PlainView, View
from mainstay.kit.errors import MainstayError

_ENDINGS = {
    "length": "The answer was cut at its token limit; --max-tokens sets a higher one.",
    "content_filter": "The content filter ended the answer.",
}


class Loop:
    """Talks with the person at the terminal until they leave."""

    def __init__(
        self,
        session: Session,
        history_path: Path,
        *,
        known_models: list[str],
        console: Console | None = None,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._session = session
        self._console = console or Console()
        self._commands = Commands(session, known_models)
        history, self._history_note = open_history(history_path)
        self._prompt = Prompt(history, lambda: self._commands.known_models, self._status, input=input, output=output)

    async def run(self) -> None:
        """Run until the person leaves."""
        self._greet()
        with ignored():
            while (line := await self._prompt.read()) is not None:
                if not is_command(line):
                    await self._ask(line)
                elif not await self._command(line):
                    return

    async def _command(self, line: str) -> bool:
        """Carry out a command; False if it was the last."""
        try:
            effect = await unless_stopped(self._commands.run(line))
        except MainstayError as error:
            self._complain(explained(error, self._session.client.base_url))
            return True
        if effect is None:
            self._say("Stopped.")
            return True
        if effect.says:
            self._say(effect.says)
        if effect.asks is not None:
            self._say(effect.asks, style="italic dim")
            await self._ask(effect.asks)
        return not effect.is_leaving

    async def _ask(self, question: str) -> None:
        self._console.print()
        self._conclude(await self._session.ask(question, self._view()))
        self._console.print()

    def _view(self) -> View:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            return MarkdownView(self._console)
        return PlainView(self._console.file.write)

    def _conclude(self, answer: Answer) -> None:
        """Say how the answer ended, unless it simply did."""
        if answer.error is not None:
            self._complain(answer.error)
        elif answer.finished is None:
            self._say("Stopped.")
        elif answer.finished.reason in _ENDINGS:
            self._say(_ENDINGS[answer.finished.reason])
        elif not answer.text.strip():
            self._say("The model had nothing to say.")

    def _greet(self) -> None:
        greeting = Text.assemble(
            ("Mainstay", "bold"), f"  {clean(self._session.model)}  ", ("/help  Ctrl-D leaves", "dim")
        )
        self._console.print(greeting)
        if self._history_note:
            self._say(self._history_note)

    def _say(self, text: str, style: str = "dim") -> None:
        self._console.print(Text(clean(text), style=style))

    def _complain(self, error: MainstayError) -> None:
        self._console.print(Text(clean(describe(error)), style="red"))

    def _status(self) -> str:
        """Return the line below the prompt."""
        total_tokens = self._session.conversation.total_tokens
        speed = self._session.tokens_per_second()
        parts = [
            clean(self._session.model),
            f"{total_tokens:,} tokens so far" if total_tokens else "",
            f"{speed:.0f} tokens/s" if speed else "",
        ]
        return "  ·  ".join(filter(None, parts))

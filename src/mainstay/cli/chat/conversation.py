"""A conversation: what was said, and what of it is sent with the next question.

However an answer ends, questions and answers alternate: a question that got nothing is taken back (and kept for
`retry`), an answer that broke off stays as far as it came.
"""

from mainstay.client import Message, Usage


class Conversation:
    """The system message, the turns so far, and the tokens they cost."""

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.last_question: str | None = None
        self._is_last_noted = False
        self.last_usage: Usage | None = None
        self.total_tokens = 0
        self._turns: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._turns)

    def messages(self, question: str) -> list[Message]:
        """Return what to send in order to ask `question`."""
        said = [Message(role="system", content=self.system)] if self.system else []
        for asked, answered in self._turns:
            said += [Message(role="user", content=asked), Message(role="assistant", content=answered)]
        return [*said, Message(role="user", content=question)]

    def ask(self, question: str) -> None:
        """Note the question that is being asked, for `retry`."""
        self.last_question = question
        self._is_last_noted = False

    def answered(self, question: str, answer: str, usage: Usage | None = None) -> None:
        """Note an answer, whole or as far as it came; nothing is noted if nothing came."""
        self.last_usage = usage
        self.total_tokens += usage.total_tokens if usage else 0
        if answer.strip():
            self._turns.append((question, answer))
            self._is_last_noted = True

    def take_back(self) -> str | None:
        """Forget the last answer and return its question, or None if nothing was asked yet."""
        if self._is_last_noted:
            self._turns.pop()
            self._is_last_noted = False
        return self.last_question

    def clear(self) -> None:
        """Forget everything but the system message."""
        self._turns.clear()
        self._is_last_noted = False
        self.last_question = None
        self.last_usage = None
        self.total_tokens = 0

    def as_markdown(self) -> str:
        """Return the conversation as a Markdown document."""
        parts = [f"> {line}\n" for line in (self.system or "").splitlines()]
        for asked, answered in self._turns:
            parts.append(f"\n## You\n\n{asked}\n\n## Model\n\n{_with_closed_fence(answered)}\n")
        return "".join(parts).lstrip("\n")


def _with_closed_fence(answer: str) -> str:
    """End the code of an answer that broke off in the middle of it, so that what follows is text again."""
    fences = [line for line in answer.splitlines() if line.startswith("```")]
    return answer.rstrip("\n") + "\n```" if len(fences) % 2 else answer

"""What a conversation in the terminal consists of, and how it asks."""

from mainstay.cli.chat.asking import Answer, show
from mainstay.cli.chat.connection import explained
from mainstay.cli.chat.conversation import Conversation
from mainstay.cli.chat.views import View
from mainstay.client import Client, Options


class Session:
    """A client, the model that is talked with, and the conversation with it."""

    def __init__(self, client: Client, model: str, conversation: Conversation, options: Options) -> None:
        self.client = client
        self.model = model
        self.conversation = conversation
        self.options = options
        self.last_answer: Answer | None = None

    async def ask(self, question: str, view: View) -> Answer:
        """Ask, show the answer, and note what came of it in the conversation."""
        messages = self.conversation.messages(question)
        self.conversation.ask(question)
        answer = await show(self.client.chat(messages, self.model, options=self.options), view)
        usage = answer.finished.usage if answer.finished else None
        self.conversation.answered(question, answer.text, usage)
        if answer.error is not None:
            answer.error = explained(answer.error, self.client.base_url)
        self.last_answer = answer
        return answer

    def tokens_per_second(self) -> float | None:
        """Return how fast the last answer came once it had begun, if the server counted its tokens."""
        answer, usage = self.last_answer, self.conversation.last_usage
        if answer is None or usage is None or answer.first_text is None or usage.completion_tokens < 2:
            return None
        seconds = answer.ended - answer.first_text
        return (usage.completion_tokens - 1) / seconds if seconds > 0 else None

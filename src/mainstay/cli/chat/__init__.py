"""`mainstay chat`: talk with a model in the terminal, ask one question, or send a file through."""

from mainstay.cli.chat.command import chat

__all__ = ["chat"]

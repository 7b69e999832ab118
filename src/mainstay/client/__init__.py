"""The Python client: the one door through which products, the command line and users reach the platform."""

from mainstay.client.client import Client, Patience
from mainstay.client.errors import AnswerCutOffError, ServerFailedError, UnexpectedAnswerError
from mainstay.client.events import Event, Finished, Reasoning, Text, ToolCall
from mainstay.client.in_process import InProcess
from mainstay.client.question import Message, Options
from mainstay.client.transport import Reply, Transport
from mainstay.protocol.answers import ModelCard, Usage

__all__ = [
    "AnswerCutOffError",
    "Client",
    "Event",
    "Finished",
    "InProcess",
    "Message",
    "ModelCard",
    "Options",
    "Patience",
    "Reasoning",
    "Reply",
    "ServerFailedError",
    "Text",
    "ToolCall",
    "Transport",
    "UnexpectedAnswerError",
    "Usage",
]

"""The narrow interface: everything that answers a model call implements `Model`, in the OpenAI vocabulary."""

from mainstay.inference.errors import Failure, InferenceError
from mainstay.inference.model import Answer, Model, Operation, Request, Stream, Usage

__all__ = ["Answer", "Failure", "InferenceError", "Model", "Operation", "Request", "Stream", "Usage"]

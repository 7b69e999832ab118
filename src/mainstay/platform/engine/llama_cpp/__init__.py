"""Models in GGUF form, run by llama.cpp's own server in a child process: the worker's side of the socket."""

from mainstay.platform.engine.llama_cpp.exchange import PoolFactory
from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.model import LlamaCppModel
from mainstay.platform.engine.llama_cpp.schema import SchemaLimits

__all__ = ["Limits", "LlamaCppModel", "PoolFactory", "SchemaLimits"]

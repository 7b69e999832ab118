"""A scripted vendor with the APIs of OpenAI and Azure OpenAI, that fails in every way that vendors fail."""

from mainstay.testing.vendor.script import Fault, FaultKind, Received, Reply, ToolCall
from mainstay.testing.vendor.server import Script, Vendor

__all__ = ["Fault", "FaultKind", "Received", "Reply", "Script", "ToolCall", "Vendor"]

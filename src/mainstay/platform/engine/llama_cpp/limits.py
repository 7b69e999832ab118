"""What one call may ask of a local model."""

from dataclasses import dataclass, field

from mainstay.kit.http.limits import Timeouts
from mainstay.platform.engine.llama_cpp.schema import SchemaLimits

MAX_TOKENS_BOUND = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call; what goes beyond them is refused with 400."""

    choices: int = 16
    prompts: int = 128
    messages: int = 2_048
    parts: int = 512
    """Of one message."""
    tools: int = 128
    stop_sequences: int = 4
    stop_length: int = 256
    logit_biases: int = 1_024
    highest_token_id: int = 1_000_000
    """Larger than any vocabulary; ids that a model does not have have no effect."""
    schema: SchemaLimits = field(default_factory=SchemaLimits)
    timeouts: Timeouts = field(
        default_factory=lambda: Timeouts(connect_seconds=5.0, first_byte_seconds=120.0, idle_seconds=60.0)
    )
    error_bytes: int = 65_536
    """Of an engine's refusal."""

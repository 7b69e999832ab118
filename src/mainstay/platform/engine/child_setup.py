"""What every engine child does first: read its configuration, tie its life to its parent's, drop what it needs not.

The parent writes one line of JSON to the child's standard input and keeps that pipe open: it is the lifeline, too.
"""

import os
import resource
from pathlib import Path

import msgspec

from mainstay.kit.processes import die_with_parent

CANNOT_LOAD_EXIT_STATUS = 3
"""How a child ends that found its model unusable, as opposed to having crashed on it."""

_STANDARD_INPUT = 0
_MAX_CONFIG_BYTES = 65_536
_OOM_SCORE_ADJUSTMENT = "500"
"""Above the server's own 0 (the scale ends at 1,000), so that the kernel short of memory takes an engine first."""


class ChildConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told. `context_tokens` is per slot."""

    parent_id: int
    socket_path: str
    model_path: str
    tokenizer_path: str | None = None
    slots: int
    context_tokens: int
    threads: int
    prompt_cache_mebibytes: int = 0
    drain_seconds: float = 30.0


def set_up_child() -> ChildConfig:
    """Read the configuration and prepare the process. Exits when the parent is gone already."""
    config = msgspec.json.decode(_read_line(_STANDARD_INPUT), type=ChildConfig)
    die_with_parent(config.parent_id, _STANDARD_INPUT)
    os.umask(0o077)
    # A core dump would hold prompts of callers.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT)
    return config


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        received = os.read(descriptor, _MAX_CONFIG_BYTES)
        if not received or len(line) > _MAX_CONFIG_BYTES:
            raise SystemExit(1)
        line += received
    return line

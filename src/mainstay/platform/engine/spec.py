"""What residency must know: of a model, to run it; of the machine, to bound it."""

from dataclasses import dataclass
from pathlib import Path

from mainstay.platform.engine.endpoint import EngineKind

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """How to run one model.

    `context_tokens` is what each of the `slots` has for itself. `memory_bytes` is the estimate that is held against
    the budget: weights, contexts of all slots, prompt cache, working memory.
    """

    model_id: str
    kind: EngineKind
    model_path: Path
    tokenizer_path: Path | None = None
    context_tokens: int
    slots: int
    threads: int
    memory_bytes: int
    prompt_cache_bytes: int = 256 * _MEBIBYTE

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that the engine reads."""
        return (self.model_path,) if self.tokenizer_path is None else (self.model_path, self.tokenizer_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where engines live and how patient we are with them."""

    run_directory: Path
    """For sockets, mode 0700; with a file name of 26 characters its path must stay under AF_UNIX's 108 bytes."""
    log_directory: Path
    memory_budget_bytes: int
    load_timeout_seconds: float = 300.0
    """After this a child that still loads is killed."""
    wait_timeout_seconds: float = 60.0
    """How long one `ensure` waits for a model to become ready."""
    health_interval_seconds: float = 2.0
    silence_limit_seconds: float = 10.0
    """A child that has not answered /health for so long is killed and replaced."""
    stall_limit_seconds: float = 90.0
    """So is one whose inference loop has not finished a step for so long: far beyond any batch of a prompt."""
    drain_seconds: float = 30.0
    minimum_idle_seconds: float = 2.0
    """A model used more recently is not evicted: the caller that asked for it may be about to connect."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0

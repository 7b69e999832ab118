"""How to run a catalog model on this machine: its engine, its slots, its context, its threads."""

from pathlib import Path

from mainstay.kit.errors import NotFoundError, UnavailableError
from mainstay.platform.catalog.machine import this_machine
from mainstay.platform.catalog.weights import Engine, Weights
from mainstay.platform.engine.endpoint import EngineKind
from mainstay.platform.engine.spec import EngineSpec
from mainstay.server.local_models import LocalModels
from mainstay.settings import Settings

_MEBIBYTE = 1024 * 1024
_WORKING_MEMORY_BYTES = 200 * _MEBIBYTE
"""What llama.cpp takes beside weights and contexts: compute buffers and code, measured on models under 2B."""
_EMBEDDING_MEMORY_BYTES = 350 * _MEBIBYTE
"""What ONNX Runtime takes beside the weights for the largest batch, measured with MiniLM."""
_SMALLEST_CONTEXT = 2048
_MOST_CONTEXT = 32_768
_UNKNOWN_KV_BYTES_PER_TOKEN = 131_072
"""For a model that an operator added: an 8B model with grouped-query attention takes this much in 16 bits."""


class Specs:
    """Finds the weights of a model and sizes its engine to the memory budget."""

    def __init__(self, settings: Settings, *, budget_bytes: int) -> None:
        self._settings = settings
        self._budget_bytes = budget_bytes
        self._slots = settings.models.slots
        self._cores = this_machine().cores
        self._threads = settings.models.threads or self._cores

    def __call__(self, model_id: str) -> EngineSpec:
        """Return how to run `model_id`. Raises NotFoundError when it is unknown or not installed."""
        local = LocalModels.of(self._settings)  # anew: models are added while the server runs
        weights = local.catalog.get(model_id)
        paths = _installed(local, weights)
        if weights.engine is Engine.ONNX:
            return self._embedding(weights, paths)
        return self._llama_cpp(weights, paths[0])

    def _llama_cpp(self, weights: Weights, path: Path) -> EngineSpec:
        per_token = weights.profile.kv_bytes_per_token or _UNKNOWN_KV_BYTES_PER_TOKEN
        fixed = weights.size_bytes + _WORKING_MEMORY_BYTES
        cache = min(256 * _MEBIBYTE, self._budget_bytes // 10)
        room = self._budget_bytes - fixed - cache
        slots = self._slots or min(max(2 * self._cores, 4), 16)
        context = min(weights.context_tokens, _MOST_CONTEXT)
        while slots > 1 and slots * context * per_token > room and self._slots is None:
            slots -= 1
        while context > _SMALLEST_CONTEXT and slots * context * per_token > room:
            context //= 2
        memory = fixed + cache + slots * context * per_token
        if memory > self._budget_bytes:
            raise UnavailableError(
                f"'{weights.id}' needs {memory // _MEBIBYTE} MiB with {slots} slots of {context} tokens; the budget is "
                f"{self._budget_bytes // _MEBIBYTE} MiB. Raise models.memory_budget_bytes or choose a smaller model.",
                can_retry=False,
            )
        return EngineSpec(
            model_id=weights.id,
            kind=EngineKind.LLAMA_CPP,
            model_path=path,
            context_tokens=context,
            slots=slots,
            threads=self._threads,
            memory_bytes=memory,
            prompt_cache_bytes=cache,
        )

    def _embedding(self, weights: Weights, paths: list[Path]) -> EngineSpec:
        return EngineSpec(
            model_id=weights.id,
            kind=EngineKind.ONNX,
            model_path=paths[0],
            tokenizer_path=paths[1],
            context_tokens=weights.profile.embedding.max_tokens if weights.profile.embedding else 256,
            slots=self._slots or 4,
            threads=self._threads,
            memory_bytes=weights.size_bytes * 3 + _EMBEDDING_MEMORY_BYTES,
        )


def _installed(local: LocalModels, weights: Weights) -> list[Path]:
    paths = local.store.paths(weights)
    if paths is None:
        raise NotFoundError(
            f"The weights of '{weights.id}' are not installed; run 'mainstay models pull {weights.id}'.",
            code="model_not_installed",
        )
    return [paths[file.name] for file in weights.files]

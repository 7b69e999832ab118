"""The models that run here, as a worker calls them: one client each, kept across reloads."""

from mainstay.inference import Model
from mainstay.kit.http import Origin, Pool, PoolLimits, Timeouts
from mainstay.kit.tokens import TokenReader
from mainstay.platform.catalog.weights import Ability, Engine, Weights
from mainstay.platform.engine.admission import Admission, AdmissionLimits
from mainstay.platform.engine.control_endpoints import ControlEndpoints
from mainstay.platform.engine.llama_cpp import Limits, LlamaCppModel
from mainstay.platform.engine.onnx import EmbeddingModel
from mainstay.platform.gateway import LOCAL, Target
from mainstay.protocol.models import Capabilities
from mainstay.server.local_models import LocalModels
from mainstay.settings import Models as ModelSettings

_TIMEOUTS = Timeouts(connect_seconds=5.0, first_byte_seconds=1800.0, idle_seconds=120.0)
"""An engine reads long prompts for minutes on few cores; that it is alive at all is the supervisor's to watch."""
_POOL_LIMITS = PoolLimits(max_connections=256, max_waiting=4096, keep_alive_seconds=4.0)
"""llama.cpp closes idle connections after 5 s."""


class LocalEngines:
    """Makes one client for each model that is asked for."""

    def __init__(self, local: LocalModels, endpoints: ControlEndpoints, settings: ModelSettings) -> None:
        self.local = local
        self._endpoints = endpoints
        self._settings = settings
        self._tokens = TokenReader()
        self._models: dict[str, LlamaCppModel | EmbeddingModel] = {}

    def model(self, model_id: str) -> Model:
        """Return the client of a model. Raises NotFoundError when it is not in the catalog."""
        found = self._models.get(model_id)
        if found is None:
            found = self._models[model_id] = self._open(self.local.catalog.get(model_id))
        return found

    def capabilities(self, target: Target) -> Capabilities | None:
        """What a target can be asked for, if it is one of ours."""
        if target.provider != LOCAL:
            return None
        abilities = self.local.catalog.get(target.model_name).abilities
        is_chat = Ability.CHAT in abilities
        return Capabilities(completion=is_chat, chat_completion=is_chat, embeddings=Ability.EMBEDDINGS in abilities)

    async def aclose(self) -> None:
        """Close the connections to the engines."""
        for model in self._models.values():
            await model.aclose()

    def _open(self, weights: Weights) -> LlamaCppModel | EmbeddingModel:
        settings = self._settings
        admission = Admission(
            AdmissionLimits(max_waiting=settings.queue_length, max_wait_seconds=settings.queue_wait_seconds)
        )
        if weights.engine is Engine.ONNX:
            return EmbeddingModel(
                weights, endpoints=self._endpoints, pools=_pool, admission=admission, tokens=self._tokens
            )
        return LlamaCppModel(
            weights,
            endpoints=self._endpoints,
            pools=_pool,
            admission=admission,
            limits=Limits(timeouts=_TIMEOUTS),
            tokens=self._tokens,
        )


def _pool(origin: Origin) -> Pool:
    return Pool(origin, _POOL_LIMITS, _TIMEOUTS)

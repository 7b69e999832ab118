"""The model list: the union of OpenAI's fields and those of Azure's classic authoring API (2024-10-21)."""

import msgspec


class Capabilities(msgspec.Struct):
    """Azure's capability flags; what a target cannot do it refuses by name."""

    inference: bool = True
    completion: bool = True
    chat_completion: bool = True
    embeddings: bool = True
    fine_tune: bool = False


class Deprecation(msgspec.Struct, omit_defaults=True):
    """Unix times after which Azure would no longer serve the model; empty here."""

    inference: int | None = None
    fine_tune: int | None = None


class Model(msgspec.Struct):
    """A deployment, in the place where clients look for models."""

    id: str
    created: int
    owned_by: str
    model: str
    capabilities: Capabilities
    deprecation: Deprecation
    object: str = "model"
    lifecycle_status: str = "generally-available"
    status: str = "succeeded"


class ModelList(msgspec.Struct):
    """All models that the caller may use."""

    data: list[Model]
    object: str = "list"

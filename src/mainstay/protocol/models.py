"""The model list: the union of OpenAI's fields and those of Azure's classic authoring API (2024-10-21)."""

import msgspec


class Capabilities(msgspec.Struct):
    """What a deployment can be asked for, in Azure's words."""

    completion: bool
    chat_completion: bool
    embeddings: bool
    inference: bool = True
    fine_tune: bool = False


class Model(msgspec.Struct):
    """A deployment, in the place where clients look for models. Capabilities of a vendor's model are not known."""

    id: str
    created: int
    owned_by: str
    model: str
    capabilities: Capabilities | msgspec.UnsetType = msgspec.UNSET
    object: str = "model"
    lifecycle_status: str = "generally-available"
    status: str = "succeeded"


class ModelList(msgspec.Struct):
    """All models that the caller may use."""

    data: list[Model]
    object: str = "list"

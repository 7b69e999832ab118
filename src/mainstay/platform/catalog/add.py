"""Takes a GGUF file of the operator's own into the store and the catalog."""

import re
import shutil
from pathlib import Path

from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.download import hash_file
from mainstay.platform.catalog.errors import GgufError, NameTakenError, StoreError
from mainstay.platform.catalog.gguf import GgufHeader, read_header
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import (
    Ability,
    Engine,
    FillInTheMiddle,
    ModelFile,
    Profile,
    ToolCallStyle,
    Weights,
)

_LOCK_SECONDS = 600.0

# The tokens by which families mark the hole (and separate files), and where such a model ends its answer.
_FIM_FORMATS = (
    FillInTheMiddle(
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        repository="<|repo_name|>",
        file="<|file_sep|>",
        stop=("<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|file_sep|>"),
    ),
    FillInTheMiddle(
        prefix="<fim_prefix>",
        suffix="<fim_suffix>",
        middle="<fim_middle>",
        stop=("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<file_sep>"),
    ),
)
_FIM_TOKENS = frozenset(token for fim in _FIM_FORMATS for token in (fim.prefix, fim.suffix, fim.middle))

# `llama_ftype` of llama.cpp's include/llama.h.
_QUANTISATIONS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


def add_gguf(path: Path, store: Store, catalog: Catalog, *, model_id: str | None = None, link: bool = False) -> Weights:
    """Check, copy (or link to) and enter the file; return its entry.

    Without `model_id`, a file that the catalog knows by its hash is installed under the catalog's id, and any other
    gets an id from its name. Raises GgufError, NameTakenError, or StoreError.
    """
    header = read_header(path, wanted_tokens=_FIM_TOKENS)
    file = ModelFile(name="model.gguf", size_bytes=path.stat().st_size, sha256=hash_file(path))
    known = next((entry for entry in catalog.list() if entry.files[0].sha256 == file.sha256), None)
    weights = known if known and model_id in (None, known.id) else describe(header, file, model_id or _id_of(path))
    if weights is not known and weights.id in {entry.id for entry in catalog.list()}:
        raise NameTakenError(f"'{weights.id}' is another model's id; choose one with --id NAME.")
    try:
        store.claim(weights)
        _install(path, file, store, link=link)
    except OSError as error:
        raise StoreError(f"{path} cannot be taken into {store.root}: {error.strerror or error}.") from error
    if weights is not known:
        store.add(weights)
    return weights


def describe(header: GgufHeader, file: ModelFile, model_id: str) -> Weights:
    """Make a catalog entry from what the file says of itself."""
    context_tokens = header.number("{arch}.context_length")
    if context_tokens < 1:
        raise GgufError(f"The {header.architecture} file says no context length; it is not a language model.")
    fim = next((form for form in _FIM_FORMATS if {form.prefix, form.suffix, form.middle} <= header.known_tokens), None)
    takes_tools = "<tool_call>" in header.chat_template
    abilities = {
        Ability.CHAT: bool(header.chat_template),
        Ability.TOOLS: takes_tools,
        Ability.FIM: fim is not None,
    }
    return Weights(
        id=model_id,
        family=header.text("general.basename") or header.text("general.name") or header.architecture,
        licence=header.text("general.license") or "unknown",
        parameters=header.parameters,
        context_tokens=context_tokens,
        abilities=frozenset(ability for ability, has in abilities.items() if has),
        quantisation=_QUANTISATIONS.get(header.number("general.file_type"), "unknown"),
        engine=Engine.LLAMA_CPP,
        files=(file,),
        profile=Profile(
            tool_call_style=ToolCallStyle.HERMES_OR_JSON if takes_tools else ToolCallStyle.NONE,
            fim=fim,
            kv_bytes_per_token=_kv_bytes_per_token(header),
        ),
        is_added=True,
    )


def _kv_bytes_per_token(header: GgufHeader) -> int:
    """Return keys and values of all layers, 16 bits each; 0 if the header does not say."""
    heads = header.number("{arch}.attention.head_count")
    kv_heads = header.number("{arch}.attention.head_count_kv") or heads
    width = header.number("{arch}.embedding_length") // heads if heads else 0
    key = header.number("{arch}.attention.key_length") or width
    value = header.number("{arch}.attention.value_length") or width
    return header.number("{arch}.block_count") * kv_heads * (key + value) * 2


def _install(path: Path, file: ModelFile, store: Store, *, link: bool) -> None:
    with store.lock(file.sha256, timeout_seconds=_LOCK_SECONDS):
        if store.has(file):
            return
        draft = store.partial(file) / "added.part"
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        if link:
            draft.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, draft)
            if hash_file(draft) != file.sha256:
                draft.unlink()
                raise StoreError(f"{path} changed while it was copied; add it again.")
        store.install(draft, file)


def _id_of(path: Path) -> str:
    slug = re.sub(r"[^a-z0-9._]+", "-", path.stem.lower()).strip("-._")[:96]
    if not slug:
        raise GgufError(f"No id can be made from the name {path.name}; give one with --id NAME.")
    return slug

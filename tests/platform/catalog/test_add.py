import hashlib
from pathlib import Path

import pytest
from tests.platform.catalog.fake_index import file_of, weights_of
from tests.platform.catalog.gguf_files import METADATA, gguf

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.add import add_gguf
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.errors import GgufError, NameTakenError
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Ability, Engine, ToolCallStyle


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "My Model (Q4).gguf"
    path.write_bytes(gguf())
    return path


def test_an_added_file_is_in_the_catalog_with_what_its_header_says(file: Path, store: Store):
    added = add_gguf(file, store, Catalog.load(store))
    entry = Catalog.load(Store(store.root)).get("my-model-q4")
    assert entry == added
    assert entry.abilities == {Ability.CHAT, Ability.TOOLS, Ability.FIM}
    assert (entry.engine, entry.quantisation, entry.licence) == (Engine.LLAMA_CPP, "Q4_0", "mit")
    assert (entry.parameters, entry.context_tokens) == (256, 512)
    assert entry.profile.tool_call_style is ToolCallStyle.HERMES_OR_JSON
    assert entry.profile.fim is not None
    assert entry.profile.kv_bytes_per_token == 2 * 2 * (16 + 16) * 2
    assert entry.is_added
    path = store.path(entry)
    assert path is not None
    assert path.read_bytes() == file.read_bytes()
    assert not path.is_symlink()


def test_a_linked_file_stays_where_it_is_and_survives_removal(file: Path, store: Store):
    entry = add_gguf(file, store, Catalog.load(store), model_id="linked", link=True)
    path = store.path(entry)
    assert path is not None
    assert path.resolve() == file
    assert store.remove(entry) == 0
    assert file.exists()


def test_a_link_whose_file_went_away_is_not_installed(file: Path, store: Store):
    entry = add_gguf(file, store, Catalog.load(store), link=True)
    file.unlink()
    assert store.path(entry) is None
    assert store.installed() == ()


def test_a_removed_model_leaves_the_catalog(file: Path, store: Store):
    entry = add_gguf(file, store, Catalog.load(store))
    assert store.remove(entry) == file.stat().st_size
    with pytest.raises(NotFoundError):
        Catalog.load(store).get(entry.id)
    assert list((store.root / "blobs").iterdir()) == []


def test_a_file_without_template_completes_but_does_not_chat(tmp_path: Path, store: Store):
    plain = tmp_path / "plain.gguf"
    plain.write_bytes(gguf({k: v for k, v in METADATA.items() if not k.startswith("tokenizer.")}))
    assert add_gguf(plain, store, Catalog.load(store)).abilities == frozenset()


@pytest.mark.parametrize("taken", ["smollm2-135m-instruct", "mine"])
def test_an_id_of_another_model_is_refused(file: Path, tmp_path: Path, store: Store, taken: str):
    other = tmp_path / "other.gguf"
    other.write_bytes(gguf({**METADATA, "general.name": "Other"}))
    add_gguf(other, store, Catalog.load(store), model_id="mine")
    with pytest.raises(NameTakenError, match="--id NAME"):
        add_gguf(file, store, Catalog.load(store), model_id=taken)


def test_adding_the_same_file_twice_changes_nothing(file: Path, store: Store):
    first = add_gguf(file, store, Catalog.load(store))
    assert add_gguf(file, store, Catalog.load(store)) == first


def test_a_file_that_the_catalog_knows_is_installed_under_its_own_id(file: Path, store: Store):
    known = weights_of(file_of(file.read_bytes()), model_id="known")
    assert add_gguf(file, store, Catalog([known])) == known
    assert store.installed() == ("known",)
    assert store.added() == ()


def test_a_broken_file_leaves_nothing_behind(tmp_path: Path, store: Store):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf()[:-1])
    with pytest.raises(GgufError, match="cut off"):
        add_gguf(broken, store, Catalog.load(store))
    assert not store.root.exists()


def test_a_file_without_context_length_is_no_language_model(tmp_path: Path, store: Store):
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(gguf({"general.architecture": "clip"}))
    with pytest.raises(GgufError, match="no context length"):
        add_gguf(path, store, Catalog.load(store))


def test_a_name_of_no_letters_needs_an_id(tmp_path: Path, store: Store):
    path = tmp_path / "模型.gguf"
    path.write_bytes(gguf())
    with pytest.raises(GgufError, match="--id NAME"):
        add_gguf(path, store, Catalog.load(store))
    assert add_gguf(path, store, Catalog.load(store), model_id="m").sha256 == hashlib.sha256(gguf()).hexdigest()

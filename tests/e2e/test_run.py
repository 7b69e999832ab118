"""`mainstay run`: the first minutes of a new user."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.e2e.observing import SMALL, until


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="ms-") as folder:
        yield Path(folder)


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_") or "MODELS" in name}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {
        "MAINSTAY_HOME": str(home),
        "MAINSTAY_PORT": "0",
        "MAINSTAY_DEFAULT_MODEL": SMALL,
        "PATH": path,
        "PYTHONWARNINGS": "default",
    }


def start(home, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "mainstay.cli", "run", *arguments],
        env=environment(home),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read_until(stream, text):
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def is_ready(url, seconds=5.0):
    """Whether the server says so; until a worker accepts, a connection waits in the socket's queue."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=seconds) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def end(process):
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


def test_the_printed_examples_work_as_pasted(home):
    process = start(home)
    text = read_until(process.stdout, "Ctrl-C")
    url = re.search(r"Mainstay on (\S+)", text).group(1)
    assert not is_ready(url, 0.1), "the key must be printed before the server is ready"
    assert re.search(r"sk-[A-Za-z0-9_-]{43}", text)
    assert until(lambda: is_ready(url), 60)
    examples = re.split(r"# \d\. .*\n", text.split("Chat in another terminal")[0])[1:]
    assert len(examples) == 3
    for example in examples:
        ran = subprocess.run(
            ["bash", "-c", example], env=environment(home), cwd=home, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip()
    assert examples[0].startswith("curl -N")
    end(process)


def test_the_key_is_shown_once_and_the_second_start_reads_it_from_the_environment(home):
    first = start(home)
    key = re.search(r"sk-[A-Za-z0-9_-]{43}", read_until(first.stdout, "Ctrl-C")).group()
    end(first)
    second = start(home)
    text = read_until(second.stdout, "Ctrl-C")
    assert not re.search(r"sk-[A-Za-z0-9_-]{43}", text)
    assert "$MAINSTAY_API_KEY" in text
    url = re.search(r"Mainstay on (\S+)", text).group(1)
    assert until(lambda: is_ready(url), 60)
    (example,) = re.findall(r"# 3\. .*\n((?:.|\n)*?)\n\nChat in", text)
    ran = subprocess.run(
        ["bash", "-c", example],
        env=environment(home) | {"MAINSTAY_API_KEY": key},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    end(second)


def test_json_is_one_document(home):
    process = start(home, "--json")
    decoder, text = json.JSONDecoder(), ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            break
    told, _ = decoder.raw_decode(text)
    assert told["model"] == SMALL
    assert told["api_key"].startswith("sk-")
    end(process)


def test_nothing_that_is_kept_holds_the_key(home):
    process = start(home)
    text = read_until(process.stdout, "Ctrl-C")
    key = re.search(r"sk-[A-Za-z0-9_-]{43}", text).group().encode()
    url = re.search(r"Mainstay on (\S+)", text).group(1)
    assert until(lambda: is_ready(url), 60)
    request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": b"Bearer " + key})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    end(process)
    for path in home.rglob("*"):
        if path.is_file():
            assert key not in path.read_bytes(), path


def test_an_unknown_model_is_one_clear_line(home):
    ran = subprocess.run(
        [sys.executable, "-m", "mainstay.cli", "run", "--model", "gpt-9"],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("mainstay: Model 'gpt-9' is not in the catalog")
    assert "Traceback" not in ran.stderr

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path

from tests.client.scripted_api import Drop, Hold, ScriptedApi, chunk, serving, whole

from mainstay.kit import control
from mainstay.supervisor.paths import control_path, prepare_run_directory

CODE = "import sys; from mainstay.cli.entry import run; sys.argv[0] = 'mainstay'; run()"


def environment(url, home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY")}
    settings = {"MAINSTAY_HOME": str(home), "MAINSTAY_BASE_URL": url, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    return {**kept, **settings, **more}


async def chat(url, home, *arguments, piped=b"", **more):
    """Run `mainstay chat` away from any terminal; gives exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CODE, "chat", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(url, home, **more),
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(piped), 60)
    return process.returncode, out.decode(), errors.decode()


class Terminal:
    """`mainstay chat` in a terminal of its own."""

    def __init__(self, master, process):
        self.master, self.process = master, process
        self.seen = ""
        self._grew = asyncio.Event()

    def _readable(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the program has closed its terminal
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.master)
        self.seen += data.decode(errors="replace")
        self._grew.set()

    async def until(self, text):
        async with asyncio.timeout(60):
            while text not in self.seen:
                self._grew.clear()
                await self._grew.wait()
        self.seen = self.seen.partition(text)[2]

    def type(self, text):
        os.write(self.master, text.encode())

    async def exit_code(self):
        return await asyncio.wait_for(self.process.wait(), 60)


@contextlib.asynccontextmanager
async def terminal(url, home, *arguments):
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CODE, "chat", *arguments,
        stdin=slave, stdout=slave, stderr=slave, env=environment(url, home),
        preexec_fn=lambda: os.login_tty(slave) if hasattr(os, "login_tty") else _control(slave),
    )  # fmt: skip
    os.close(slave)
    window = Terminal(master, process)
    asyncio.get_running_loop().add_reader(master, window._readable)
    try:
        yield window
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)


def _control(slave):
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


async def test_address_that_is_none_is_told_as_it_was_written(tmp_path):
    for address in ("foo", "localhost:9", "http://", "http://x:y"):
        code, out, errors = await chat("http://unused", tmp_path, "hi", "--base-url", address)
        assert (code, out) == (1, "")
        expected = f"--base-url is '{address}', which is no address; write it as http://127.0.0.1:8080."
        assert errors == f"mainstay: {expected}\n"
    _, _, errors = await chat("foo", tmp_path, "hi")
    assert errors.startswith("mainstay: MAINSTAY_BASE_URL is 'foo'")


async def test_one_question_is_answered_in_plain_text(tmp_path):
    app = ScriptedApi(whole("**Hello** ", "\x1b[31mworld\x1b]0;x\x07"))
    async with serving(app) as url:
        code, out, errors = await chat(
            url, tmp_path, "Say", "hello", "--system", "S", "--temperature", "0.5", "--max-tokens", "9"
        )
    assert (code, out, errors) == (0, "**Hello** world\n", "")
    asked = app.asked[0]
    assert asked["messages"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "Say hello"}]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("scripted", 0.5, 9)


async def test_piped_text_is_appended_to_the_question_or_is_the_question(tmp_path):
    app = ScriptedApi(whole("ok"))
    async with serving(app) as url:
        await chat(url, tmp_path, "Summarise", "-m", "other", piped="Grüße\nan alle\n".encode())
        await chat(url, tmp_path, piped=b"Only this")
    assert app.asked[0]["messages"][0]["content"] == "Summarise\n\nGrüße\nan alle"
    assert app.asked[0]["model"] == "other"
    assert app.asked[1]["messages"][0]["content"] == "Only this"


async def test_input_that_is_too_large_or_no_text_or_nothing_is_refused_clearly(tmp_path):
    app = ScriptedApi(whole("ok"))
    async with serving(app) as url:
        large = await chat(url, tmp_path, "q", piped=b"a" * 1_100_000)
        binary = await chat(url, tmp_path, "q", piped=b"\x7fELF\xff\xfe")
        nothing = await chat(url, tmp_path)
    assert (large[0], binary[0], nothing[0]) == (1, 1, 2)
    assert "over 1048576 bytes" in large[2]
    assert "not UTF-8 text" in binary[2]
    assert "Give a question" in nothing[2]
    assert app.asked == []


async def test_json_is_one_object_with_answer_model_and_usage(tmp_path):
    async with serving(ScriptedApi(whole("a\x1b[31mb\x9bc"))) as url:
        code, out, _ = await chat(url, tmp_path, "q", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["answer"], document["model"]) == ("a\x1b[31mb\x9bc", "scripted")
    assert document["usage"]["total_tokens"] == 13
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)


async def test_without_a_server_one_line_says_what_to_do(tmp_path):
    code, out, errors = await chat("http://127.0.0.1:9", tmp_path, "q")
    assert (code, out) == (1, "")
    assert errors.count("\n") == 1
    assert "`make run` or `mainstay serve`" in errors
    code, out, _ = await chat("http://127.0.0.1:9", tmp_path, "q", "--json")
    assert (code, "make run" in json.loads(out)["error"]["message"]) == (1, True)


async def test_an_answer_that_breaks_off_stays_and_its_error_is_told(tmp_path):
    async with serving(ScriptedApi([chunk("Half"), Drop()])) as url:
        code, out, errors = await chat(url, tmp_path, "q")
    assert (code, out) == (1, "Half\n")
    assert errors.startswith("mainstay: ")
    assert "Traceback" not in errors


async def test_the_local_key_is_used_on_this_machine_and_the_environment_goes_before_it(tmp_path):
    async def give(connection, params):
        return {"api_key": "sk-local"}

    prepare_run_directory(tmp_path)
    control_server = await control.listen(control_path(tmp_path), {"local_key": give})
    app = ScriptedApi(whole("ok"))
    async with serving(app) as url, control_server:
        await chat(url, tmp_path, "q", "-m", "m")
        await chat(url, tmp_path, "q", "-m", "m", MAINSTAY_API_KEY="sk-env")
        await chat(url, tmp_path, "q", "-m", "m", "--api-key", "sk-option", MAINSTAY_API_KEY="sk-env")
    assert app.authorizations == [b"Bearer sk-local", b"Bearer sk-env", b"Bearer sk-option"]


async def test_a_refused_key_says_how_to_give_one(tmp_path):
    app = ScriptedApi([b'{"error":{"message":"The API key is unknown."}}'], status=401)
    async with serving(app) as url:
        code, _, errors = await chat(url, tmp_path, "q", "-m", "m")
    assert code == 1
    assert "The API key is unknown. Give a key with --api-key" in errors


async def test_a_reader_that_leaves_ends_the_program_quietly(tmp_path):
    app = ScriptedApi([chunk("word " * 20_000), *[chunk("word " * 2000)] * 50, Hold()])
    async with serving(app) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CODE, "chat", "q", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=environment(url, tmp_path),
        )  # fmt: skip
        assert await process.stdout.read(4) == b"word"
        process._transport.get_pipe_transport(1).close()
        errors = await asyncio.wait_for(process.stderr.read(), 60)
        assert await process.wait() == 1
    assert errors == b""


async def test_ctrl_c_stops_one_answer_with_130(tmp_path):
    app = ScriptedApi([chunk("Once"), Hold()])
    async with serving(app) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CODE, "chat", "q", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=environment(url, tmp_path),
        )  # fmt: skip
        assert await asyncio.wait_for(process.stdout.read(4), 60) == b"Once"
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        await asyncio.wait_for(app.client_left.wait(), 5)
    assert (process.returncode, out, errors) == (130, b"\n", b"")


async def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path):
    app = ScriptedApi([chunk("Once upon a time"), Hold()], whole("Second answer"))
    async with serving(app) as url, terminal(url, tmp_path) as window:
        await window.until("Ctrl-D leaves")
        window.type("tell\r")
        await window.until("Once upon a time")
        window.type("\x03")
        await asyncio.wait_for(app.client_left.wait(), 5)
        await window.until("Stopped.")
        window.type("again\r")
        await window.until("Second answer")
        await window.until("›")
        window.type("half a line\x03")
        window.type("\x04")
        assert await window.exit_code() == 0
    assert [message["content"] for message in app.asked[1]["messages"]] == ["tell", "Once upon a time", "again"]


async def test_ctrl_c_stops_a_command_that_waits_for_the_server(tmp_path):
    app = ScriptedApi(whole("ok"))
    async with serving(app) as url, terminal(url, tmp_path) as window:
        await window.until("›")
        app.models = Hold()
        window.type("/models\r")
        await asyncio.wait_for(app.holding.wait(), 60)
        window.type("\x03")
        await window.until("Stopped.")
        await window.until("›")
        window.type("\x04")
        assert await window.exit_code() == 0


async def test_ctrl_c_at_an_empty_prompt_leaves(tmp_path):
    async with serving(ScriptedApi(whole("ok"))) as url, terminal(url, tmp_path) as window:
        await window.until("›")
        window.type("\x03")
        assert await window.exit_code() == 0


async def test_what_is_typed_during_an_answer_waits_for_the_prompt_and_is_not_echoed_into_it(tmp_path):
    go_on = asyncio.Event()
    app = ScriptedApi([chunk("Once"), go_on, *whole(" upon")], whole("Second answer"))
    async with serving(app) as url, terminal(url, tmp_path) as window:
        await window.until("›")
        window.type("tell\r")
        await window.until("Once")
        window.type("next question\r")
        go_on.set()
        await window.until("Once upon")
        await window.until("next question")
        await window.until("Second answer")
    assert app.asked[1]["messages"][-1]["content"] == "next question"


async def test_one_question_at_a_terminal_is_rendered_and_gives_the_cursor_back(tmp_path):
    async with serving(ScriptedApi(whole("Some **bold**\x1b[2J text"))) as url, terminal(url, tmp_path, "q") as window:
        await window.until("\x1b[?25l")
        await window.until("Some \x1b[1mbold\x1b[0m text")
        await window.until("\x1b[?25h")
        assert await window.exit_code() == 0


async def test_help_needs_neither_editor_nor_renderer(tmp_path):
    code = "import sys, mainstay.cli.chat\nprint(sorted({'rich', 'prompt_toolkit', 'msgspec'} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out == b"[]\n"


def test_the_tests_run_the_program_of_this_checkout():
    import mainstay

    assert Path(mainstay.__file__).is_relative_to(Path(__file__).parents[2])

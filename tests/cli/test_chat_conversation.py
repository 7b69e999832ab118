import asyncio
import stat

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from tests.cli.screen import Screen
from tests.client.scripted_api import Drop, ScriptedApi, chunk, serving, whole

from mainstay.cli.chat.commands import is_command
from mainstay.cli.chat.conversation import Conversation
from mainstay.cli.chat.loop import Loop
from mainstay.cli.chat.prompt import SlashCompleter, open_history
from mainstay.cli.chat.session import Session
from mainstay.client import Client, Options

ERROR = b'data: {"error":{"message":"The engine died.\x5cu001b[2J"}}\n\n'


async def talk(app, typed, tmp_path, *, system=None, screen=None):
    """Type into a conversation with a scripted API; gives what was on the screen."""
    screen = screen or Screen(columns=100)
    console = Console(file=screen, force_terminal=True, width=100, height=24, color_system="standard")
    async with serving(app) as url, Client(url, "k") as client:
        session = Session(client, "scripted", Conversation(system), Options())
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text(typed + "\x04")
            loop = Loop(session, tmp_path / "h" / "chat_history", known_models=["scripted"], console=console)
            await asyncio.wait_for(loop.run(), 20)
    return screen.text


def contents(asked):
    return [(message["role"], message["content"]) for message in asked["messages"]]


async def test_a_conversation_carries_system_message_and_history(tmp_path):
    app = ScriptedApi(whole("First."), whole("Second."))
    text = await talk(app, "one\rtwo\r", tmp_path, system="Be brief.")
    assert "First." in text
    assert "Second." in text
    assert contents(app.asked[1]) == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "First."), ("user", "two"),
    ]  # fmt: skip


async def test_alt_enter_and_a_trailing_backslash_begin_a_new_line(tmp_path):
    app = ScriptedApi(whole("ok"))
    await talk(app, "one\x1b\rtwo\\\rthree\r", tmp_path)
    assert contents(app.asked[0]) == [("user", "one\ntwo\nthree")]


async def test_pasted_lines_are_one_question(tmp_path):
    app = ScriptedApi(whole("ok"))
    await talk(app, "\x1b[200~a\nb\n\nc\x1b[201~\r", tmp_path)
    assert contents(app.asked[0]) == [("user", "a\nb\n\nc")]


async def test_an_error_in_the_middle_keeps_the_partial_answer_and_the_order_of_turns(tmp_path):
    app = ScriptedApi([chunk("Half an answer"), ERROR], whole("Whole."))
    text = await talk(app, "one\rtwo\r", tmp_path)
    assert "Half an answer" in text
    assert "The engine died." in text
    assert contents(app.asked[1]) == [("user", "one"), ("assistant", "Half an answer"), ("user", "two")]


@pytest.mark.parametrize("script", [[ERROR], [Drop()], [b"nonsense"]])
async def test_a_question_that_got_nothing_is_not_sent_again_with_the_next(script, tmp_path):
    app = ScriptedApi(script, whole("Whole."))
    await talk(app, "one\rtwo\r", tmp_path)
    assert contents(app.asked[1]) == [("user", "two")]


async def test_retry_asks_the_last_question_again_in_place_of_its_answer(tmp_path):
    app = ScriptedApi(whole("A"), whole("B"), [ERROR], whole("C"), whole("D"))
    await talk(app, "one\r/retry\rtwo\r/retry\rthree\r", tmp_path)
    assert contents(app.asked[1]) == [("user", "one")]
    assert contents(app.asked[3]) == [("user", "one"), ("assistant", "B"), ("user", "two")]
    assert contents(app.asked[4])[-2:] == [("assistant", "C"), ("user", "three")]


async def test_retry_after_a_failure_leaves_the_same_question_asked_before_alone(tmp_path):
    app = ScriptedApi(whole("A"), [ERROR], whole("B"))
    await talk(app, "one\rone\r/retry\r", tmp_path)
    assert contents(app.asked[2]) == [("user", "one"), ("assistant", "A"), ("user", "one")]


async def test_the_model_can_be_changed_to_one_that_exists(tmp_path):
    app = ScriptedApi(whole("ok"), models=("scripted", "other", "embedder"))
    text = await talk(app, "/model nonesuch\r/model other\r/models\rhello\r", tmp_path)
    assert "There is no model 'nonesuch' here. There is: scripted, other." in text
    assert "● other" in text
    assert "embedder" not in text
    assert app.asked[0]["model"] == "other"


async def test_system_clear_tokens_help_and_unknown_commands(tmp_path):
    app = ScriptedApi(whole("ok"))
    typed = (
        "/system Be kind.\rhello\r/tokens\r/clear\rhello\r/system none\r/help\r/nonesuch\r/etc/passwd?\r/exit\rnever\r"
    )
    text = await talk(app, typed, tmp_path)
    assert "Last answer: 3 tokens, on 10 before it (4 from the cache)" in text
    assert contents(app.asked[1]) == [("system", "Be kind."), ("user", "hello")]
    assert "No system message is set." in text
    assert "/save FILE" in text
    assert "There is no command /nonesuch" in text
    assert contents(app.asked[2])[-1] == ("user", "/etc/passwd?")
    assert len(app.asked) == 3


async def test_save_writes_markdown_and_never_over_a_file(tmp_path):
    target = tmp_path / "talk.md"
    text = await talk(
        ScriptedApi(whole("**Yes.**")), f"/save x\rwell?\r/save {target}\r/save {target}\r/save\r", tmp_path
    )
    assert target.read_text() == "## You\n\nwell?\n\n## Model\n\n**Yes.**\n"
    assert "nothing to save" in text
    assert "was left as it is" in text
    assert "Say where" in text


async def test_save_to_an_impossible_place_says_why(tmp_path):
    text = await talk(ScriptedApi(whole("ok")), f"hi\r/save {tmp_path}/no/such/x.md\r/save ~nobody-here/x\r", tmp_path)
    assert text.count("could not be written") == 2
    assert "No such file or directory; choose another place." in " ".join(text.split())
    assert "Errno" not in text


async def test_line_below_the_prompt_counts_as_the_tokens_command_does(tmp_path):
    app = ScriptedApi(whole("A"), whole("B"))
    async with serving(app) as url, Client(url, "k") as client:
        session = Session(client, "scripted", Conversation(), Options())
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text("one\r/retry\r/tokens\r\x04")
            console = Console(file=Screen(columns=100), width=100)
            loop = Loop(session, tmp_path / "h" / "chat_history", known_models=["scripted"], console=console)
            await asyncio.wait_for(loop.run(), 20)
    assert session.conversation.total_tokens == 26
    assert "26 tokens so far" in loop._status()


async def test_an_answer_cut_at_its_limit_is_said_to_be(tmp_path):
    text = await talk(ScriptedApi(whole("Once upon", reason="length"), whole(reason="stop")), "a\rb\r", tmp_path)
    assert "--max-tokens" in text
    assert "nothing to say" in text


async def test_a_server_that_refuses_leaves_the_conversation_running(tmp_path):
    body = b'{"error":{"message":"Too many tokens."}}'
    app = ScriptedApi([body], status=429, headers=[(b"retry-after", b"7")])
    text = await talk(app, "one\rtwo\r", tmp_path)
    assert text.count("Too many tokens. Try again in 7 s.") == 2


async def test_questions_are_remembered_for_their_owner_alone(tmp_path):
    await talk(ScriptedApi(whole("ok")), "secret question\r", tmp_path)
    path = tmp_path / "h" / "chat_history"
    assert "+secret question" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    app = ScriptedApi(whole("ok"))
    await talk(app, "\x1b[A\r", tmp_path)
    assert contents(app.asked[0]) == [("user", "secret question")]


def test_a_history_that_cannot_be_written_is_said_and_does_without(tmp_path):
    (tmp_path / "file").touch()
    _, note = open_history(tmp_path / "file" / "chat_history")
    assert "only until you leave" in note


def completions(text):
    completer = SlashCompleter(lambda: ["gpt-4o", "gpt-4o-mini", "smol"])
    return [found.text for found in completer.get_completions(Document(text), CompleteEvent())]


def test_commands_and_models_are_completed_and_questions_are_not():
    assert completions("/mod") == ["/model", "/models"]
    assert completions("/model gpt") == ["gpt-4o", "gpt-4o-mini"]
    assert completions("/model ") == ["gpt-4o", "gpt-4o-mini", "smol"]
    assert completions("what is /mod") == []
    assert completions("/save file") == []


@pytest.mark.parametrize(
    ("line", "expected"), [("/help", True), ("/model x", True), ("/etc/fstab", False), ("/2", False)]
)
def test_only_words_after_a_slash_are_commands(line, expected):
    assert is_command(line) is expected


def test_a_conversation_without_an_answer_has_nothing_to_send_but_the_question():
    conversation = Conversation()
    conversation.ask("one")
    conversation.answered("one", "  \n")
    assert [message.content for message in conversation.messages("two")] == ["two"]
    assert conversation.take_back() == "one"


def test_a_saved_answer_that_broke_off_in_code_does_not_swallow_what_follows():
    conversation = Conversation("Be\nbrief.")
    conversation.answered("one", "```py\nx = 1\n")
    conversation.answered("two", "ok")
    text = conversation.as_markdown()
    assert text.startswith("> Be\n> brief.\n")
    assert "x = 1\n```\n\n## You\n\ntwo" in text

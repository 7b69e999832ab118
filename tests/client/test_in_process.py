import asyncio

import pytest
from tests.client.scripted_api import DONE, Hold, ScriptedApi, chunk, whole

from mainstay.client import AnswerCutOffError, Client, InProcess, Message, ServerFailedError, Text

START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]}


def body(data, *, more=True):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_the_client_speaks_with_an_app_in_this_process():
    app = ScriptedApi(whole("Hel", "lo"))
    async with Client("http://app", "sk-x", transport=InProcess(app)) as client:
        events = [event async for event in client.chat([Message("user", "Hi")], "m")]
        assert [card.id for card in await client.models()] == ["scripted", "other"]
    assert events[:2] == [Text("Hel"), Text("lo")]
    assert app.authorizations == [b"Bearer sk-x"] * 2


async def test_send_returns_with_the_head_and_pieces_come_as_they_are_sent():
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await send(START)
        await send(body(b"one"))
        await go_on.wait()
        await send(body(b"two", more=False))

    reply = await InProcess(app).send("GET", "/x", [], b"")
    assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/plain")
    assert await reply.read_chunk() == b"one"
    go_on.set()
    assert await reply.read_chunk() == b"two"
    assert await reply.read_chunk() == b""
    await reply.aclose()


async def test_a_slow_reader_holds_the_app_back():
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await send(START)
        for _ in range(1000):
            await send(body(b"x" * 100))
            sent += 1
        await send(body(b"", more=False))

    reply = await InProcess(app, buffer_bytes=1000).send("GET", "/x", [], b"")
    for _ in range(100):
        await asyncio.sleep(0)
    assert sent == 10
    size = 0
    while data := await reply.read_chunk():
        size += len(data)
        assert len(data) <= 1000
    assert (size, sent) == (100_000, 1000)
    await reply.aclose()


async def test_an_app_that_listens_sees_its_reader_leave():
    app = ScriptedApi([chunk("a"), Hold(), DONE])
    reply = await InProcess(app, grace_seconds=5).send("POST", "/v1/chat/completions", [], b"{}")
    await reply.read_chunk()
    await reply.aclose()
    await reply.aclose()
    assert app.client_left.is_set()


async def test_an_app_that_does_not_listen_is_cancelled_and_cleans_up():
    cleaned_up = asyncio.Event()

    async def app(scope, receive, send):
        await send(START)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    reply = await InProcess(app, grace_seconds=0.01).send("GET", "/x", [], b"")
    await reply.aclose()
    assert cleaned_up.is_set()


async def test_an_app_that_sends_to_a_reader_who_left_gets_an_oserror():
    seen = []

    async def app(scope, receive, send):
        await send(START)
        try:
            while True:
                await send(body(b"x" * 100))
        except OSError as error:
            seen.append(error)
            raise

    reply = await InProcess(app, buffer_bytes=100).send("GET", "/x", [], b"")
    await reply.aclose()
    assert len(seen) == 1


async def test_cancelling_the_sender_before_the_head_cancels_the_app():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    transport = InProcess(app, grace_seconds=0.01)
    sending = asyncio.create_task(transport.send("GET", "/x", [], b""))
    await started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert cancelled.is_set()


async def test_closing_the_transport_leaves_every_open_answer():
    apps = [ScriptedApi([chunk("a"), Hold()]) for _ in range(3)]
    all_apps = list(apps)

    async def app(scope, receive, send):
        await apps.pop()(scope, receive, send)

    transport = InProcess(app)
    for _ in range(3):
        await transport.send("POST", "/v1/chat/completions", [], b"{}")
    await transport.aclose()
    assert all(app.client_left.is_set() for app in all_apps)


async def test_an_app_that_fails_before_its_head_is_a_server_error():
    async def app(scope, receive, send):
        raise ValueError("broken")

    with pytest.raises(ServerFailedError) as raised:
        await InProcess(app).send("GET", "/x", [], b"")
    assert isinstance(raised.value.__cause__, ValueError)


async def test_an_app_that_fails_in_the_middle_cuts_its_answer_off():
    async def app(scope, receive, send):
        await send(START)
        await send(body(b"half"))
        raise ValueError("broken")

    reply = await InProcess(app).send("GET", "/x", [], b"")
    assert await reply.read_chunk() == b"half"
    with pytest.raises(AnswerCutOffError):
        await reply.read_chunk()
    await reply.aclose()


async def test_a_failure_after_the_reader_left_is_logged(caplog):
    async def app(scope, receive, send):
        await send(START)
        await receive()
        await receive()
        raise ValueError("while cleaning up")

    reply = await InProcess(app).send("GET", "/x", [], b"")
    await reply.aclose()
    assert "failed after its reader had left" in caplog.text


async def test_an_app_without_a_head_is_given_up():
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await InProcess(app, head_seconds=0.02, grace_seconds=0.01).send("GET", "/x", [], b"")


async def test_the_scope_is_whole():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope, body=(await receive())["body"])
        await send(START)
        await send(body(b"", more=False))

    reply = await InProcess(app).send("POST", "/a%20b?x=1", [(b"X-Y", b"z")], b"hello")
    assert await reply.read_chunk() == b""
    await reply.aclose()
    assert (seen["path"], seen["raw_path"], seen["query_string"], seen["body"]) == ("/a b", b"/a%20b", b"x=1", b"hello")
    assert (b"x-y", b"z") in seen["headers"]
    assert (b"content-length", b"5") in seen["headers"]

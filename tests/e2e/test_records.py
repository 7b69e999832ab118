"""No usage record of an answered call is lost, whatever happens to the server."""

import threading

import httpx2
import pytest
from openai import APIError, OpenAI
from tests.e2e.observing import descendants, is_alive, until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]


def usage(server):
    return server.command_json("usage", "--by", "deployment,outcome")["rows"]


def calls(server, outcome):
    return sum(row["calls"] for row in usage(server) if row["outcome"] == outcome)


def test_every_kind_of_end_leaves_a_record(install, vendor):
    slow = vendor("--chunks", "50", "--delay", "0.05")
    server = install(vendor_configuration(slow.port)).start()
    key = server.create_key()
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        client.chat.completions.create(model="upstream", messages=HELLO)
        with client.chat.completions.create(model="upstream", messages=HELLO, stream=True) as stream:
            next(iter(stream))
    assert until(lambda: calls(server, "ok") == 1 and calls(server, "cancelled") == 1)
    slow.close()
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client, pytest.raises(APIError):
        client.chat.completions.create(model="upstream", messages=HELLO)
    assert until(lambda: calls(server, "error") == 1), (usage(server), server.log())


def _kill_under_load(server, key, seconds=1.0):
    """Load the server until it is killed; return how many calls were answered to their last byte."""
    answered = []
    lock = threading.Lock()
    enough = threading.Event()

    def load(number):
        body = {"model": "upstream", "messages": HELLO, "stream": number % 2 == 0}
        with httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=10) as client:
            while True:
                try:
                    response = client.post("/v1/chat/completions", json=body)
                except httpx2.HTTPError:
                    return
                if response.status_code != 200:
                    return
                whole = b"data: [DONE]" in response.content if body["stream"] else response.json()["choices"]
                if whole:
                    with lock:
                        answered.append(1)
                    if len(answered) > 200:
                        enough.set()

    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    server.kill()
    for thread in threads:
        thread.join(30)
    return len(answered)


def _kill_repeatedly(install, vendor, times):
    server = install(vendor_configuration(vendor().port))
    answered = 0
    for _ in range(times):
        server.start()
        key = server.create_key()
        children = descendants(server.supervisor_id)
        answered += _kill_under_load(server, key)
        assert until(lambda: not any(is_alive(child) for child in children))  # noqa: B023 - called at once
    server.start()
    # The server may have written a call down whose answer did not reach its caller any more; never the reverse.
    assert until(lambda: answered <= calls(server, "ok") <= answered + 8 * times), (answered, usage(server))
    assert calls(server, "interrupted") <= 8 * times
    server.stop()


def test_kill_9_under_load_loses_no_answered_call(install, vendor):
    _kill_repeatedly(install, vendor, 5)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_kill_9_under_load_twenty_times_loses_no_answered_call(install, vendor):
    _kill_repeatedly(install, vendor, 20)

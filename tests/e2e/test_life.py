"""A server's life: starting, stopping, being killed, being replaced under load."""

import json
import os
import signal
import threading
import urllib.error
import urllib.request

import pytest
from openai import APIError, OpenAI
from tests.e2e.observing import SMALL, descendants, is_alive, until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]


def client_of(server, key, **options):
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, **({"max_retries": 0, "timeout": 60} | options))


def get(url, key=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.read()


def test_health_metrics_and_the_document_are_served(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    key = server.create_key("--scopes", "inference,admin")
    with client_of(server, key) as client:
        client.chat.completions.create(model="upstream", messages=HELLO)
    assert get(f"{server.url}/livez")[0] == 200
    assert json.loads(get(f"{server.url}/readyz")[1]) == {"ready": True, "waiting_for": []}
    metrics = get(f"{server.url}/metrics", key)[1].decode()
    assert (
        'mainstay_calls_total{deployment="upstream",operation="chat.completions",outcome="ok",status="200"} 1.0'
        in metrics
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{server.url}/metrics")
    refused.value.close()
    assert refused.value.code == 401
    document = json.loads(get(f"{server.url}/openapi.json")[1])
    assert document["paths"]["/v1/chat/completions"]["post"]["x-action"] == "models:call"


def test_sigterm_ends_everything_with_code_0(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    children = descendants(server.supervisor_id)
    assert children
    assert server.stop() == 0
    assert not any(is_alive(child) for child in children)


def test_kill_9_of_the_supervisor_leaves_no_orphan(install):
    server = install(f'[models]\ndefault = "{SMALL}"\n').start()
    children = descendants(server.supervisor_id)
    assert len(children) >= 2
    server.kill()
    assert until(lambda: not any(is_alive(child) for child in children))


def test_a_worker_that_is_killed_is_replaced_and_nobody_is_refused(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    key = server.create_key()
    (worker,) = descendants(server.supervisor_id)
    os.kill(worker, signal.SIGKILL)
    with client_of(server, key) as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices


def test_a_second_server_on_the_same_port_says_what_to_do(install, vendor):
    first = install(vendor_configuration(vendor().port)).start()
    port = first.url.rpartition(":")[2]
    second = install("", environment={"MAINSTAY_PORT": port})
    refused = second.command("serve", check=False)
    assert refused.returncode == 1
    assert f"Port {port}" in refused.stderr


def test_a_second_server_in_the_same_home_is_refused_and_harms_nobody(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    refused = server.command("serve", check=False)
    assert refused.returncode == 1
    assert "already" in refused.stderr
    server.command("restart")
    with client_of(server, server.create_key()) as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices


def test_a_good_file_is_reloaded_and_a_bad_one_changes_nothing(install, vendor):
    port = vendor().port
    server = install(vendor_configuration(port)).start()
    key = server.create_key()
    with client_of(server, key) as client:
        server.write_configuration(vendor_configuration(port) + '\n[aliases]\n"gpt-4o" = "upstream"\n')
        server.command("reload")
        assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices

        server.write_configuration(vendor_configuration(port) + '\n[aliases]\n"gpt-4o" = "nothing"\n')
        refused = server.command("reload", check=False)
        assert refused.returncode == 1
        assert "mainstay.toml:" in refused.stderr
        assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices


def test_a_bad_file_on_disk_keeps_no_dead_worker_from_being_replaced(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    key = server.create_key()
    server.write_configuration("[server]\nregion = 5\n")
    (worker,) = descendants(server.supervisor_id)
    os.kill(worker, signal.SIGKILL)
    with client_of(server, key) as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices
    refused = server.command("restart", check=False)
    assert refused.returncode == 1
    assert "mainstay.toml:2: server.region" in refused.stderr
    assert len(descendants(server.supervisor_id)) == 1
    assert "Traceback" not in server.log()


def test_a_second_server_in_the_same_home_is_refused_and_harms_nothing(install, vendor):
    server = install(vendor_configuration(vendor().port)).start()
    key = server.create_key()
    refused = server.command("serve", check=False)
    assert refused.returncode == 1
    assert f"already runs from {server.home} at {server.url}" in refused.stderr
    server.command("reload")
    with client_of(server, key) as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices


def test_a_reload_does_not_cut_an_open_stream(install, vendor):
    slow = vendor("--chunks", "20", "--delay", "0.1")
    server = install(vendor_configuration(slow.port)).start()
    key = server.create_key()
    with client_of(server, key) as client:
        stream = client.chat.completions.create(model="upstream", messages=HELLO, stream=True)
        next(stream)
        server.write_configuration(vendor_configuration(vendor().port))
        server.command("reload")
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_rolling_restarts_under_load_refuse_nothing_and_cut_no_stream(install, vendor):
    slow = vendor("--chunks", "10", "--delay", "0.05")
    server = install(vendor_configuration(slow.port)).start()
    key = server.create_key()
    failures, answered, is_over = [], [], threading.Event()

    def load():
        with client_of(server, key) as client:
            while not is_over.is_set():
                try:
                    stream = client.chat.completions.create(model="upstream", messages=HELLO, stream=True)
                    answered.append([chunk.choices[0].finish_reason for chunk in stream][-1])
                except APIError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    before = descendants(server.supervisor_id)
    for _ in range(2):
        server.command("restart")
    assert until(lambda: not before & descendants(server.supervisor_id), 40)
    is_over.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(answered) >= len(threads)
    assert set(answered) == {"stop"}


def test_streams_beyond_the_grace_period_end_with_an_event(install, vendor):
    endless = vendor("--chunks", "600", "--delay", "0.1")
    server = install(vendor_configuration(endless.port, "[server]", "drain_grace_seconds = 2")).start()
    key = server.create_key()
    with client_of(server, key) as client:
        stream = client.chat.completions.create(model="upstream", messages=HELLO, stream=True)
        next(stream)
        os.kill(server.supervisor_id, signal.SIGTERM)
        with pytest.raises(APIError, match="restarting"):
            for _ in stream:
                pass


def test_two_workers_share_the_socket(install, vendor):
    server = install(vendor_configuration(vendor().port), workers=2).start()
    key = server.create_key()
    assert len(descendants(server.supervisor_id)) == 2
    for _ in range(20):
        with client_of(server, key) as client:
            assert client.chat.completions.create(model="upstream", messages=HELLO).choices
    admin = server.create_key("--scopes", "admin")
    for _ in range(5):
        metrics = get(f"{server.url}/metrics", admin)[1].decode()
        assert 'outcome="ok",status="200"} 20.0' in metrics, "whichever worker is asked tells of all"

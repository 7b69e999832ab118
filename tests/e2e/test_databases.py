"""A whole server on either database: keys, calls, usage, and the same state after a restart."""

from openai import OpenAI
from tests.e2e.observing import until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]


def test_a_server_keeps_keys_and_usage_in_either_database(install, vendor, empty_database_url):
    environment = {"MAINSTAY_DATABASE_URL": empty_database_url}
    server = install(vendor_configuration(vendor().port), environment=environment, workers=2).start()
    key = server.create_key("--rpm", "1000")

    def call():
        with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
            assert client.chat.completions.create(model="upstream", messages=HELLO).choices

    def recorded():
        return sum(row["calls"] for row in server.command_json("usage", "--by", "deployment,day")["rows"])

    for _ in range(10):
        call()
    assert until(lambda: recorded() == 10)
    assert server.stop() == 0
    server.start()
    call()
    assert until(lambda: recorded() == 11)
    assert "Traceback" not in server.log()

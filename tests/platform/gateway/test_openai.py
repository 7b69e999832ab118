"""What is sent to a vendor, and what is read out of its answers."""

import msgspec
import pytest
from tests.platform.gateway.conftest import KEY, make_request, read

from mainstay.inference import InferenceError, Operation, Usage
from mainstay.kit.errors import ConfigurationError
from mainstay.platform.gateway import ProviderKind
from mainstay.platform.gateway.dialects.openai_usage import UsageObject
from mainstay.testing.vendor import Reply, ToolCall, Vendor


def sent(vendor):
    return msgspec.json.decode(vendor.requests[-1].body)


async def test_only_the_name_of_the_model_is_rewritten(vendor, open_model):
    odd = {"temperature": 0.70, "unknown": {"z": [1, 2.50, "é\u2028"]}, "n": 1}
    request = make_request(**odd)
    await open_model(vendor, "vendors/model-1").answer(request)
    assert vendor.requests[-1].path == "/v1/chat/completions"
    assert vendor.requests[-1].body == request.body.replace(b"callers-name", b"vendors/model-1")


async def test_the_providers_credentials_and_headers_are_sent(vendor, open_model):
    await open_model(vendor, headers=(("x-team", "blue"),)).answer(make_request())
    headers = vendor.requests[-1].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-team"] == "blue"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("header", [("x", "a\r\nevil: 1"), ("x\ny", "1"), ("content-length", "1")])
async def test_a_providers_header_that_would_change_requests_is_refused(vendor, open_model, header):
    with pytest.raises(ConfigurationError):
        open_model(vendor, headers=(header,))


async def test_each_operation_has_its_path(vendor, open_model):
    model = open_model(vendor)
    await model.answer(make_request(operation=Operation.COMPLETIONS, prompt="x"))
    answer = await model.answer(make_request(operation=Operation.EMBEDDINGS, input=["a", "b"]))
    assert [received.path for received in vendor.requests] == ["/v1/completions", "/v1/embeddings"]
    assert len(msgspec.json.decode(answer.body)["data"]) == 2
    assert answer.usage == Usage(prompt_tokens=9)


async def test_usage_and_model_are_read_and_the_body_is_passed_on(open_model):
    reply = Reply(prompt_tokens=7, completion_tokens=5, cached_tokens=3, reasoning_tokens=2, model="m-2026")
    async with Vendor(reply) as vendor:
        answer = await open_model(vendor).answer(make_request())
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=3, reasoning_tokens=2)
    assert answer.model == "m-2026"
    assert msgspec.json.decode(answer.body)["choices"][0]["message"]["content"] == reply.text


@pytest.mark.parametrize("claimed", [10**9, 2**62, 10**400], ids=["most", "64 bits", "400 digits"])
def test_a_number_of_tokens_that_cannot_be_is_bounded(claimed):
    usage = UsageObject(prompt_tokens=claimed, completion_tokens=-claimed).read()
    assert usage == Usage(prompt_tokens=10**9)


async def test_usage_in_the_style_of_responses_is_read():
    text = (
        b'{"input_tokens":4,"output_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens_details":null}'
    )
    assert msgspec.json.decode(text, type=UsageObject).read() == Usage(4, 3, 1, 0)


async def test_a_stream_yields_chunks_without_framing(vendor, open_model):
    chunks = await read(await open_model(vendor).stream(make_request(stream=True)))
    texts = [msgspec.json.decode(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert "".join(texts) == Reply().text


async def test_a_stream_with_pauses_comes_chunk_by_chunk(open_model):
    async with Vendor(Reply(chunks=4, delay_seconds=0.02)) as vendor:
        stream = await open_model(vendor).stream(make_request(stream=True))
        batches = [batch async for batch in stream]
        await stream.aclose()
    assert len(batches) >= 4
    assert all(batches)


@pytest.mark.parametrize("options", [None, {"include_usage": False, "include_obfuscation": True}, {}])
async def test_the_vendor_is_always_asked_for_usage_and_other_options_stay(vendor, open_model, options):
    fields = {} if options is None else {"stream_options": options}
    stream = await open_model(vendor).stream(make_request(stream=True, **fields))
    chunks = await read(stream)
    assert sent(vendor)["stream_options"] == {**(options or {}), "include_usage": True}
    assert stream.usage == Usage(prompt_tokens=9, completion_tokens=6)
    assert all(msgspec.json.decode(chunk)["choices"] for chunk in chunks), "the caller did not ask for usage"


async def test_the_usage_chunk_is_passed_on_if_asked_for(vendor, open_model):
    stream = await open_model(vendor).stream(make_request(stream=True, wants_usage=True))
    last = msgspec.json.decode((await read(stream))[-1])
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 15


async def test_usage_beside_choices_is_read_and_the_chunk_is_passed_on(open_model):
    async with Vendor(Reply(has_usage_beside_choices=True)) as vendor:
        stream = await open_model(vendor).stream(make_request(stream=True))
        last = msgspec.json.decode((await read(stream))[-1])
    assert stream.usage == Usage(prompt_tokens=9, completion_tokens=6)
    assert last["choices"][0]["finish_reason"] == "stop"


async def test_stream_options_that_are_no_object_are_the_vendors_to_refuse(vendor, open_model):
    with pytest.raises(InferenceError) as caught:
        await open_model(vendor).stream(make_request(stream=True, stream_options="yes"))
    assert caught.value.status == 400


async def test_texts_that_look_like_members_do_not_confuse_the_probes(open_model):
    text = 'He said "error": {"usage":{"prompt_tokens":99}} "finish_reason":"stop" [DONE] data: x\n\n'
    async with Vendor(Reply(text=text, chunks=1)) as vendor:
        stream = await open_model(vendor).stream(make_request(stream=True))
        chunks = await read(stream)
    assert stream.usage.prompt_tokens == 9
    assert msgspec.json.decode(chunks[1])["choices"][0]["delta"]["content"] == text


async def test_tool_calls_pass_through_in_pieces(open_model):
    reply = Reply(tool_calls=(ToolCall("weather", '{"city":"Brno"}'), ToolCall("time", "{}")))
    async with Vendor(reply) as vendor:
        chunks = await read(await open_model(vendor).stream(make_request(stream=True)))
    calls = [
        call
        for chunk in chunks
        for choice in msgspec.json.decode(chunk)["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    arguments = "".join(call["function"]["arguments"] for call in calls if call["index"] == 0)
    assert arguments == '{"city":"Brno"}'


async def test_a_finished_stream_gives_its_connection_back(vendor, open_model):
    model = open_model(vendor)
    for _ in range(10):
        await read(await model.stream(make_request(stream=True)))
    assert vendor.accepted_connections == 1


async def test_closing_a_stream_cancels_the_upstream(open_model):
    async with Vendor(Reply(text="x" * 1000, chunks=1000, delay_seconds=0.01)) as vendor:
        async with await open_model(vendor).stream(make_request(stream=True)) as stream:
            async for _ in stream:
                break
        await vendor.wait_until(lambda vendor: vendor.requests[0].is_disconnected, 1)


async def test_a_long_event_passes_through(vendor, open_model):
    chunks = await read(await open_model(vendor, "fault:long_line@2000000").stream(make_request(stream=True)))
    assert max(map(len, chunks)) > 2_000_000


async def test_an_event_without_measure_is_refused(vendor, open_model):
    stream = await open_model(vendor, "fault:long_line@9000000").stream(make_request(stream=True))
    with pytest.raises(InferenceError, match="longer than"):
        await read(stream)


async def test_an_answer_over_the_limit_is_refused(vendor, open_model):
    with pytest.raises(InferenceError, match="longer than 100"):
        await open_model(vendor, max_answer_bytes=100).answer(make_request())


async def test_dripping_bytes_make_whole_answers(vendor, open_model):
    model = open_model(vendor, "fault:drip@1")
    assert (await model.answer(make_request())).usage.prompt_tokens == 9
    assert len(await read(await model.stream(make_request(stream=True)))) == 8


async def test_azures_classic_urls_quote_the_deployment_and_carry_the_key_in_its_header(vendor, open_model):
    model = open_model(vendor, "my gpt/4", kind=ProviderKind.AZURE, api_version="2024-10-21")
    assert (await model.answer(make_request())).model == "my gpt/4"
    received = vendor.requests[-1]
    assert received.path == "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21"
    assert received.headers["api-key"] == KEY
    assert "authorization" not in received.headers


@pytest.mark.parametrize("api_version", [None, "v1"])
@pytest.mark.parametrize("suffix", ["", "/", "/openai/v1", "/openai/v1/"])
async def test_azures_v1_urls_name_the_model_in_the_body(vendor, open_model, api_version, suffix):
    url = vendor.root_url + suffix
    await open_model(vendor, "gpt", kind=ProviderKind.AZURE, api_version=api_version, base_url=url).answer(
        make_request()
    )
    assert vendor.requests[-1].path == "/openai/v1/chat/completions"
    assert sent(vendor)["model"] == "gpt"


async def test_azures_first_chunk_without_choices_is_passed_on(vendor, open_model):
    model = open_model(vendor, "gpt", kind=ProviderKind.AZURE, api_version="2024-10-21")
    stream = await model.stream(make_request(stream=True))
    chunks = await read(stream)
    assert b"prompt_filter_results" in chunks[0]
    assert stream.model == "gpt"
    assert stream.usage.prompt_tokens == 9

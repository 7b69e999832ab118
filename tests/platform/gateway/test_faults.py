"""Every way that a vendor fails, seen through a model: the cause, what the caller sees, and nothing left open."""

import asyncio
import contextlib
import itertools

import msgspec
import pytest
from tests.platform.gateway.conftest import KEY, PATIENT, QUICK, make_request, read

from mainstay.inference import Failure, InferenceError
from mainstay.platform.gateway import ProviderKind
from mainstay.testing.vendor import Fault, FaultKind, Reply, Vendor


async def use(model, *, stream, **fields):
    if stream:
        await read(await model.stream(make_request(stream=True, **fields)))
    else:
        await model.answer(make_request(**fields))


async def failure_of(model, *, stream=False, **fields):
    with pytest.raises(InferenceError) as caught:
        await use(model, stream=stream, **fields)
    assert KEY not in caught.value.message
    assert KEY.encode() not in (caught.value.body or b"")
    return caught.value


BOTH = [
    ("refuse", Failure.RESET, 502),
    ("silent", Failure.FIRST_BYTE_TIMEOUT, 504),
    ("reset@20", Failure.RESET, 502),
    ("close@20", Failure.TRUNCATED, 502),
    ("close@0", Failure.RESET, 502),
    ("html", Failure.MALFORMED, 502),
    ("empty", Failure.MALFORMED, 502),
    ("wrong_json", Failure.MALFORMED, 502),
    ("wrong_type", Failure.MALFORMED, 502),
    ("gzip", Failure.MALFORMED, 502),
    ("malformed@0", Failure.MALFORMED, 502),
    ("error_event@0", Failure.ERROR_IN_STREAM, 502),
    ("status@500", Failure.SERVER_ERROR, 502),
]
STREAMS = [
    ("malformed@3", Failure.MALFORMED, 502),
    ("error_event@3", Failure.ERROR_IN_STREAM, 502),
    ("stall@3", Failure.IDLE_TIMEOUT, 504),
    ("unfinished", Failure.TRUNCATED, 502),
    ("json", Failure.MALFORMED, 502),
]


@pytest.mark.parametrize(("fault", "failure", "status"), BOTH)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_fault_has_its_cause(vendor, open_model, fault, failure, status, stream):
    model = open_model(vendor, f"fault:{fault}", timeouts=QUICK if "silent" in fault else PATIENT)
    error = await failure_of(model, stream=stream)
    assert (error.failure, error.status) == (failure, status)
    assert "acme" in error.message
    await vendor.wait_until(lambda vendor: vendor.open_connections <= 1)


@pytest.mark.parametrize(("fault", "failure", "status"), STREAMS)
async def test_every_fault_within_a_stream_has_its_cause(vendor, open_model, fault, failure, status):
    model = open_model(vendor, f"fault:{fault}", timeouts=QUICK if "stall" in fault else PATIENT)
    error = await failure_of(model, stream=True)
    assert (error.failure, error.status) == (failure, status)


async def test_a_stalled_one_shot_answer_times_out(vendor, open_model):
    error = await failure_of(open_model(vendor, "fault:stall@0", timeouts=QUICK))
    assert error.failure is Failure.FIRST_BYTE_TIMEOUT


async def test_chunks_before_a_fault_arrive_before_the_error(vendor, open_model):
    stream = await open_model(vendor, "fault:malformed@3").stream(make_request(stream=True))
    assert len(await anext(aiter(stream))) == 3
    for _ in range(2):  # and it stays an error
        with pytest.raises(InferenceError):
            await anext(aiter(stream))


async def test_the_end_of_a_stream_without_done_counts_if_every_choice_has_finished(vendor, open_model):
    stream = await open_model(vendor, "fault:no_done").stream(make_request(stream=True))
    assert len(await read(stream)) == 8
    assert stream.usage.prompt_tokens == 9


async def test_one_of_two_choices_finished_is_not_the_end(open_model):
    def without_second_choice(received):
        received.choices = 1
        return Reply(fault=Fault(FaultKind.NO_DONE))

    async with Vendor(without_second_choice) as vendor:
        error = await failure_of(open_model(vendor), stream=True, n=2)
    assert error.failure is Failure.TRUNCATED


@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_answer_cut_at_any_byte_is_never_complete(open_model, kind, is_stream):
    """Only a cut after `[DONE]`, or after the whole body, may go unnoticed: what follows is framing."""
    reply = Reply(text="abc", chunks=2)
    whole_in_a_row = at = 0
    async with Vendor(reply.failing(f"{kind}@{at}") for at in itertools.count()) as vendor:
        model = open_model(vendor)
        while whole_in_a_row < 20:
            chunks, error = await attempt(model, is_stream=is_stream)
            at += 1
            whole_in_a_row = whole_in_a_row + 1 if error is None else 0
            assert error is None or error.failure in (Failure.RESET, Failure.TRUNCATED), f"cut at {at}"
            text = "".join(map(text_of, chunks))
            assert "abc".startswith(text), "nothing is doubled, lost or invented"
            assert error is not None or text == "abc"
    assert at > 400


def text_of(chunk):
    choices = msgspec.json.decode(chunk)["choices"]
    part = choices[0].get("delta", choices[0].get("message")) if choices else {}
    return part.get("content") or ""


async def attempt(model, *, is_stream):
    """Return the chunks, or the one answer, and the error."""
    chunks = []
    try:
        if not is_stream:
            return [(await model.answer(make_request())).body], None
        async with await model.stream(make_request(stream=True)) as stream:
            async for batch in stream:
                chunks += batch
    except InferenceError as error:
        return chunks, error
    return chunks, None


async def test_cancelling_a_call_reaches_the_vendor(vendor, open_model):
    task = asyncio.create_task(open_model(vendor, "fault:silent").answer(make_request()))
    await vendor.wait_until(lambda vendor: len(vendor.requests) == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await vendor.wait_until(lambda vendor: vendor.requests[0].is_disconnected, 1)


async def test_a_deadline_ends_a_call(vendor, open_model):
    request = make_request()
    request.deadline_seconds = asyncio.get_running_loop().time() + 0.1
    with pytest.raises(InferenceError) as caught:
        await open_model(vendor, "fault:silent").answer(request)
    assert (caught.value.failure, caught.value.status) == (Failure.TOTAL_TIMEOUT, 504)


async def test_a_vendor_that_is_down_is_refused(vendor, open_model):
    model = open_model(vendor)
    await vendor.aclose()
    error = await failure_of(model)
    assert (error.failure, error.status, error.code) == (Failure.CONNECT_REFUSED, 503, "upstream_unreachable")
    assert error.can_retry


async def test_a_wrong_key_is_never_the_callers_fault(vendor, open_model):
    error = await failure_of(open_model(vendor, api_key="sk-wrong"))
    assert (error.failure, error.status, error.target_status) == (Failure.CREDENTIALS_REFUSED, 502, 401)
    assert not error.can_retry


async def test_azures_content_filter_keeps_its_inner_error(open_model):
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    body = {
        "error": {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter", "innererror": inner}
    }
    fault = Fault(FaultKind.STATUS, 400, body=msgspec.json.encode(body))
    async with Vendor(Reply(fault=fault)) as vendor:
        error = await failure_of(open_model(vendor, kind=ProviderKind.AZURE, api_version="2024-10-21"))
    assert (error.status, error.code, error.param) == (400, "content_filter", "prompt")
    assert msgspec.json.decode(error.body)["innererror"] == inner


async def test_retry_after_is_passed_on(open_model):
    fault = Fault(FaultKind.STATUS, 429, headers=(("retry-after", "20"), ("retry-after-ms", "1500")))
    async with Vendor(Reply(fault=fault)) as vendor:
        error = await failure_of(open_model(vendor), stream=True)
    assert (error.status, error.code, error.retry_after_seconds) == (429, "rate_limit_exceeded", 1.5)

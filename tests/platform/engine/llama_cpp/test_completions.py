"""Text completions: what is sent for each kind of prompt, and the shapes that come back."""

import json
from typing import Any

from tests.platform.engine.llama_cpp.fake_engine import (
    Turn,
    collect,
    fake_engine,
    model_of,
    request,
    text_choice,
    usage,
)

from mainstay.inference import Operation


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"id": 1, "token": text, "bytes": list(text.encode()), "logprob": logprob}


async def script(turn: Turn) -> None:
    """Each choice says " x" and its number; later choices are more likely."""
    await turn.begin()
    for index in range(turn.body.get("n", 1)):
        said = [token(" x", -1.0 + index / 10), token(str(index), -1.0 + index / 10)]
        wants = turn.body.get("logprobs")
        for each in said:
            logprobs = {"content": [each | {"top_logprobs": [each]}]} if wants else None
            await turn.send({"choices": [text_choice(index, each["token"], logprobs=logprobs)]})
        await turn.send(
            {"choices": [text_choice(index, "", reason="length")], "usage": usage(completion=2), "timings": {}}
        )
    await turn.end()


async def ask(**body: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    async with fake_engine(script, slots=2) as engine, model_of(engine) as model:
        answer = await model.answer(request(body, Operation.COMPLETIONS))
        return json.loads(answer.body), [turn.body for turn in engine.turns]


async def stream(**body: Any) -> list[dict[str, Any]]:
    async with fake_engine(script, slots=2) as engine, model_of(engine) as model:
        return await collect(model, request({**body, "stream": True}, Operation.COMPLETIONS))


async def test_whole_answer_has_exactly_the_vendors_shape() -> None:
    answer, sent = await ask(prompt="Once")
    assert answer.pop("id").startswith("cmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer.pop("usage")["total_tokens"] == 11
    assert answer == {
        "object": "text_completion",
        "model": "coder",
        "system_fingerprint": "fp_0123456789",
        "choices": [{"text": " x0", "index": 0, "logprobs": None, "finish_reason": "length"}],
    }
    assert (sent[0]["prompt"], sent[0]["max_tokens"]) == ("Once", 16)


async def test_prompts_are_texts_or_cl100k_tokens() -> None:
    hello = [15339, 1917]
    for prompt, texts in (
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        (hello, ["hello world"]),
        ([hello, [0]], ["hello world", "!"]),
        (["a", hello], ["a", "hello world"]),
    ):
        answer, sent = await ask(prompt=prompt)
        assert [body["prompt"] for body in sent] == texts
        assert [each["index"] for each in answer["choices"]] == list(range(len(texts)))
        assert answer["usage"]["prompt_tokens"] == 9 * len(texts)


async def test_suffix_is_filled_in_by_the_models_own_tokens() -> None:
    _, sent = await ask(prompt="def f():", suffix="\nf()", stop="END")
    assert sent[0]["prompt"] == "<P>def f():<S>\nf()<M>"
    assert sent[0]["stop"] == ["END", "<pad>", "<eof>"]


async def test_echo_repeats_the_prompt_before_each_choice() -> None:
    answer, sent = await ask(prompt=["a", "b"], echo=True, n=2)
    assert [each["text"] for each in answer["choices"]] == ["a x0", "a x1", "b x0", "b x1"]
    assert "echo" not in sent[0]
    chunks = await stream(prompt="a", echo=True)
    assert "".join(each["choices"][0]["text"] for each in chunks) == "a x0"


async def test_echo_with_suffix_repeats_the_prompt_only() -> None:
    answer, _ = await ask(prompt="a", suffix="b", echo=True)
    assert answer["choices"][0]["text"] == "a x0"


async def test_logprobs_come_as_parallel_lists() -> None:
    answer, sent = await ask(prompt="a", logprobs=1)
    assert sent[0]["logprobs"] == 1
    expected = {
        "tokens": [" x", "0"],
        "token_logprobs": [-1.0, -1.0],
        "top_logprobs": [{" x": -1.0}, {"0": -1.0}],
        "text_offset": [0, 2],
    }
    assert answer["choices"][0]["logprobs"] == expected
    streamed = [each["choices"][0]["logprobs"] for each in await stream(prompt="a", logprobs=1)]
    assert [each["text_offset"] for each in streamed if each] == [[0], [2]]


async def test_zero_logprobs_give_the_chosen_tokens_alone() -> None:
    answer, sent = await ask(prompt="a", logprobs=0)
    assert sent[0]["logprobs"] == 1
    assert answer["choices"][0]["logprobs"]["tokens"] == [" x", "0"]
    assert answer["choices"][0]["logprobs"]["top_logprobs"] is None


async def test_best_of_returns_the_likeliest() -> None:
    answer, sent = await ask(prompt="a", best_of=2)
    assert [body.get("n", 1) for body in sent] == [2]
    assert [(each["index"], each["text"]) for each in answer["choices"]] == [(0, " x1")]
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 4


async def test_stream_ends_with_reason_and_usage() -> None:
    chunks = await stream(prompt="a", stream_options={"include_usage": True})
    assert {each["object"] for each in chunks} == {"text_completion"}
    assert [
        (each["choices"][0]["text"], each["choices"][0]["finish_reason"]) for each in chunks if each["choices"]
    ] == [(" x", None), ("0", None), ("", "length")]
    assert [each["usage"] for each in chunks[:-1]] == [None] * 3
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert all("usage" not in each for each in await stream(prompt="a"))


async def test_streamed_choices_of_several_prompts_are_numbered_through() -> None:
    chunks = await stream(prompt=["a", "b"], n=2)
    finished = [each["choices"][0]["index"] for each in chunks if each["choices"][0]["finish_reason"]]
    assert finished == [0, 1, 2, 3]

"""The official `AzureOpenAI` client on deployment paths, and `OpenAI` on Azure's v1 path."""

import openai
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI

HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module", params=["2024-10-21", "2025-08-28", "preview"])
def azure(url, api_key, request):
    with AzureOpenAI(
        azure_endpoint=url, api_key=api_key, api_version=request.param, max_retries=0, timeout=120
    ) as client:
        yield client


@pytest.mark.parametrize("model", ["chat", "upstream", "upstream-azure", "odd/name"])
def test_chat_on_the_deployment_path(azure, model):
    answer = azure.chat.completions.create(model=model, messages=HELLO, max_tokens=10)
    assert answer.choices[0].message.content


def test_a_stream_begins_with_azures_own_chunk(azure):
    chunks = list(azure.chat.completions.create(model="chat", messages=HELLO, max_tokens=10, stream=True))
    assert chunks[0].choices == []
    assert chunks[0].model_extra["prompt_filter_results"] == [{"prompt_index": 0, "content_filter_results": {}}]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_the_async_client_streams(url, api_key):
    async with AsyncAzureOpenAI(azure_endpoint=url, api_key=api_key, api_version="2024-10-21") as client:
        stream = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=10, stream=True)
        assert [chunk async for chunk in stream]


def test_completions_and_embeddings_on_the_deployment_path(azure):
    assert azure.completions.create(model="small", prompt="Once", max_tokens=3).choices[0].text is not None
    assert len(azure.embeddings.create(model="embeddings", input="x").data[0].embedding) == 384


def test_models_without_a_deployment(azure):
    models = {model.id: model for model in azure.models.list()}
    assert models["embeddings"].model_extra["capabilities"]["embeddings"] is True
    assert models["embeddings"].model_extra["capabilities"]["chat_completion"] is False


def test_the_key_may_come_as_bearer_token(url, api_key):
    with AzureOpenAI(azure_endpoint=url, azure_ad_token=api_key, api_version="2024-10-21") as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices


def test_the_v1_path_takes_the_plain_client(url, api_key):
    with OpenAI(base_url=f"{url}/openai/v1/", api_key=api_key) as client:
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices
        assert client.models.list().data


def test_azures_headers_are_there(azure):
    raw = azure.chat.completions.with_raw_response.create(
        model="upstream", messages=HELLO, extra_headers={"x-ms-client-request-id": "mine-1"}
    )
    assert raw.headers["x-ms-region"] == "test-site"
    assert raw.headers["apim-request-id"] == raw.headers["x-request-id"]
    assert raw.headers["x-ms-client-request-id"] == "mine-1"
    assert raw.headers["x-ms-deployment-name"] == "upstream"


def test_an_unknown_deployment_has_azures_code(azure):
    with pytest.raises(openai.NotFoundError) as raised:
        azure.chat.completions.create(model="nope", messages=HELLO)
    assert raised.value.code == "DeploymentNotFound"


def test_a_bad_key_has_azures_code(url):
    with (
        AzureOpenAI(azure_endpoint=url, api_key="bad", api_version="2024-10-21", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.chat.completions.create(model="chat", messages=HELLO)
    assert raised.value.code == "401"


def test_a_used_up_limit_has_azures_code_and_whole_seconds(url, server):
    key = server.create_key("--rpm", "1")
    with AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0) as client:
        client.chat.completions.create(model="upstream", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="upstream", messages=HELLO)
    assert raised.value.code == "429"
    assert raised.value.response.headers["x-ratelimit-reset-requests"].isdigit()


def test_a_missing_api_version_is_resource_not_found(url, api_key):
    with (
        OpenAI(base_url=f"{url}/openai/deployments/chat", api_key=api_key, max_retries=0) as client,
        pytest.raises(openai.NotFoundError) as raised,
    ):
        client.chat.completions.create(model="chat", messages=HELLO)
    assert raised.value.code == "404"

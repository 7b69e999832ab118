"""Any vendor with OpenAI's API: requests rewritten in one member, answers looked at as little as possible."""

from collections.abc import Mapping

import msgspec

from mainstay.inference import Answer, Operation, Request, Stream
from mainstay.kit.clock import Clock, SystemClock
from mainstay.kit.http import Origin, Pool, RequestHead, Response, TransportError
from mainstay.platform.gateway import failures
from mainstay.platform.gateway.dialects.openai_stream import OpenAIStream, expected_choices
from mainstay.platform.gateway.dialects.openai_usage import UsageObject
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.gateway.vendor_error import VendorError, is_error

PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETIONS: "/completions",
    Operation.EMBEDDINGS: "/embeddings",
}

MAX_ERROR_BYTES = 256 * 1024

ABSENT = msgspec.Raw(b"")


class _Whole(msgspec.Struct):
    """The parts of a one-shot answer that concern us."""

    model: str | None = None
    usage: UsageObject | None = None
    error: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


_INCLUDE_USAGE = msgspec.Raw(b'{"include_usage":true}')


class OpenAIModel:
    """One model at one provider."""

    def __init__(self, provider: Provider, model_name: str, pool: Pool, *, clock: Clock | None = None) -> None:
        """Prepare the request heads. Raises ConfigurationError for a header that cannot be sent."""
        self._provider = provider
        self._pool = pool
        self._clock = clock or SystemClock()
        self._model_name = msgspec.Raw(msgspec.json.encode(model_name))
        _, base_path = Origin.split(provider.base_url)
        headers = tuple((name.encode(), value.encode()) for name, value in self.headers(provider))
        self._heads: Mapping[Operation, RequestHead] = {
            operation: pool.head("POST", self.path(provider, base_path, model_name, operation), headers)
            for operation in PATHS
        }
        self._whole = msgspec.json.Decoder(_Whole)

    @staticmethod
    def path(provider: Provider, base_path: str, model_name: str, operation: Operation) -> str:  # noqa: ARG004
        """Return the request target; the provider and the model matter in other dialects."""
        return base_path + PATHS[operation]

    @staticmethod
    def models_path(provider: Provider, base_path: str) -> str:  # noqa: ARG004
        """Return where the provider lists its models."""
        return base_path + "/models"

    @staticmethod
    def headers(provider: Provider) -> list[tuple[str, str]]:
        """Return the headers of every request."""
        headers = [("content-type", "application/json"), *provider.headers]
        if provider.api_key is not None:
            headers.append(("authorization", f"Bearer {provider.api_key}"))
        return headers

    async def answer(self, request: Request) -> Answer:
        """Answer in one piece. Raises InferenceError."""
        provider = self._provider
        try:
            response = await self._call(request, self._rewritten(request))
            async with response:
                if b"json" not in response.headers.get(b"content-type", b"json").lower():
                    raise failures.unusable(provider, f"answered in {_content_type(response)} instead of JSON")
                body = await response.read(provider.max_answer_bytes)
        except TransportError as error:
            raise failures.from_transport(error, provider) from error
        whole = self._read(body, request.operation)
        return Answer(body=body, usage=whole.usage.read() if whole.usage else None, model=whole.model)

    async def stream(self, request: Request) -> Stream:
        """Return once the target has accepted the call. Raises InferenceError."""
        provider = self._provider
        try:
            response = await self._call(request, self._rewritten_for_stream(request))
            content_type = response.headers.get(b"content-type", b"text/event-stream").lower()
            if content_type.startswith(b"text/event-stream"):
                return OpenAIStream(
                    response,
                    provider,
                    wants_usage=request.wants_usage,
                    expected_choices=expected_choices(request),
                )
            async with response:
                await self._explain(response)
        except TransportError as error:
            raise failures.from_transport(error, provider) from error
        raise failures.unusable(provider, f"answered in {_content_type(response)} instead of a stream of events")

    async def _call(self, request: Request, body: bytes) -> Response:
        """Send, and return the response if its status is 200. Raises TransportError or InferenceError."""
        deadline = self._clock.monotonic() + self._provider.total_seconds
        if request.deadline_seconds is not None:
            deadline = min(deadline, request.deadline_seconds)
        response = await self._pool.exchange(self._heads[request.operation], body, deadline=deadline)
        if response.status == 200:
            return response
        async with response:
            said = VendorError.parse(await self._read_error(response))
            now = self._clock.wall()
            raise failures.from_status(response.status, response.headers, said, provider=self._provider, now=now)

    async def _read_error(self, response: Response) -> bytes:
        """The status is the answer: a body that is cut off or endless changes nothing about it."""
        try:
            return await response.read(MAX_ERROR_BYTES)
        except TransportError:
            return b""

    async def _explain(self, response: Response) -> None:
        """Raise what a JSON answer to a streamed call says, if it is an error object."""
        if b"json" in response.headers.get(b"content-type", b""):
            self._read(await response.read(self._provider.max_answer_bytes), Operation.CHAT)

    def _read(self, body: bytes, operation: Operation) -> _Whole:
        try:
            whole = self._whole.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            what = "answered with an empty body" if not body else f"answered in broken JSON ({error})"
            raise failures.unusable(self._provider, what) from error
        if is_error(whole.error):
            raise failures.from_error_object(whole.error, self._provider)
        member = whole.data if operation is Operation.EMBEDDINGS else whole.choices
        if bytes(memoryview(member)[:1]) != b"[":
            name = "data" if operation is Operation.EMBEDDINGS else "choices"
            raise failures.unusable(self._provider, f"answered with a JSON object that has no '{name}'")
        return whole

    def _rewritten(self, request: Request) -> bytes:
        return msgspec.json.encode({**request.fields, "model": self._model_name})

    def _rewritten_for_stream(self, request: Request) -> bytes:
        options = with_usage(request.fields.get("stream_options"))
        return msgspec.json.encode({**request.fields, "model": self._model_name, "stream_options": options})


def with_usage(stream_options: msgspec.Raw | None) -> msgspec.Raw:
    """Return the stream options with `include_usage` true; what is no object is left for the vendor to refuse."""
    if stream_options is None:
        return _INCLUDE_USAGE
    try:
        options = msgspec.json.decode(stream_options, type=dict[str, msgspec.Raw] | None)
    except (msgspec.MsgspecError, RecursionError):
        return stream_options
    return msgspec.Raw(msgspec.json.encode({**(options or {}), "include_usage": True}))


def _content_type(response: Response) -> str:
    content_type = response.headers.get(b"content-type", b"no content type")
    return content_type.decode("latin-1")[:100]

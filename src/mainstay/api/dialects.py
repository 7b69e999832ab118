"""How each vendor's clients expect errors and headers: OpenAI, Azure OpenAI classic and v1.

Shapes: OpenAI's published API reference and openai-python 3.54; Azure's data-plane reference (2024-10-21, v1) and
responses recorded from it.
"""

import math
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from mainstay.inference import InferenceError
from mainstay.kit.errors import MainstayError
from mainstay.platform.metering.limiter import LimitReachedError, Remaining

Header = tuple[bytes, bytes]

_ENCODE = msgspec.json.encode
_HARD_QUOTA = "insufficient_quota"
_is_word = re.compile(r"[A-Za-z0-9_.-]{1,128}").fullmatch


class Dialect:
    """OpenAI's own dialect; others differ by what they override."""

    name = "openai"
    content_type: Header = (b"content-type", b"application/json")
    """Of errors."""

    def __init__(self, region: str) -> None:
        self._region = region.encode("latin-1", "replace")

    def headers(self, request_id: str, request: Mapping[bytes, bytes], began: float) -> list[Header]:
        """Headers of every response. `began` is monotonic time."""
        return [
            (b"x-request-id", request_id.encode()),
            (b"openai-version", b"2020-10-01"),
            (b"openai-processing-ms", b"%d" % ((time.monotonic() - began) * 1000)),
            *self._echo(request),
        ]

    def limit_headers(self, remaining: Remaining) -> list[Header]:
        """What is left of the caller's limits; nothing where there is no limit."""
        headers: list[Header] = []
        for kind, left in ((b"requests", remaining.requests), (b"tokens", remaining.tokens)):
            if left is not None:
                headers += [
                    (b"x-ratelimit-limit-" + kind, b"%d" % left.limit),
                    (b"x-ratelimit-remaining-" + kind, b"%d" % max(left.remaining, 0)),
                    (b"x-ratelimit-reset-" + kind, self._reset(left.reset_seconds)),
                ]
        return headers

    def first_chunks(self, chunks: list[bytes]) -> list[bytes]:
        """The first batch of a chat stream, as this dialect's clients expect it.

        Azure's streams begin with a chunk that has annotations and no choice, which OpenAI's clients do not know.
        """
        return chunks[1:] if chunks and _is_prelude(chunks[0]) else chunks

    def error_body(self, error: MainstayError) -> bytes:
        """The JSON text of an error; in a stream it is the data of the last event."""
        return _ENCODE({"error": self._error(error)})

    def error_headers(self, error: MainstayError) -> list[Header]:
        """What tells the SDKs whether and when to try again."""
        headers: list[Header] = []
        if isinstance(error, LimitReachedError):
            headers += self.limit_headers(error.remaining)
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_seconds)))
            headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_seconds * 1000)))
        if error.code == _HARD_QUOTA or (error.status == 429 and not error.can_retry):
            headers.append((b"x-should-retry", b"false"))
        return headers

    def _error(self, error: MainstayError) -> dict[str, Any]:  # a JSON object, as the vendor defines it
        own = {"message": error.told, "type": error.type, "param": error.param, "code": error.code}
        if isinstance(error, InferenceError) and error.body is not None:
            # The vendor said more than the four members, `innererror` for one; what it adds is passed on.
            return {**msgspec.json.decode(error.body, type=dict[str, Any]), **own}
        return own

    def _echo(self, request: Mapping[bytes, bytes]) -> list[Header]:
        theirs = request.get(b"x-client-request-id")
        return [(b"x-client-request-id", theirs)] if theirs is not None else []

    def _reset(self, seconds: float) -> bytes:
        """Duration text as OpenAI writes it: `120ms`, `8s`, `6m0s`."""
        if seconds < 1:
            return b"%dms" % math.ceil(seconds * 1000) if seconds > 0 else b"0s"
        whole = math.ceil(seconds)
        return b"%dm%ds" % divmod(whole, 60) if whole >= 60 else b"%ds" % whole


class _Prelude(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


def _is_prelude(chunk: bytes) -> bool:
    return b'"prompt_filter_results"' in chunk and not msgspec.json.decode(chunk, type=_Prelude).choices


_AZURE_CODES = {401: "401", 403: "403", 408: "Timeout", 429: "429", 500: "InternalServerError", 502: "BadGateway"}
_AZURE_CODES |= {503: "ServiceUnavailable", 504: "GatewayTimeout"}
_AZURE_PRELUDE = _ENCODE(
    {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
    }
)


class AzureDialect(Dialect):
    """Azure OpenAI: other error codes, reset times in whole seconds, tracing headers, a first chunk of its own."""

    name = "azure"

    def headers(self, request_id: str, request: Mapping[bytes, bytes], began: float) -> list[Header]:
        """Headers of every response."""
        trace = request_id.encode()
        return [
            *super().headers(request_id, request, began),
            (b"apim-request-id", trace),
            (b"x-ms-request-id", trace),
            (b"x-ms-region", self._region),
        ]

    def first_chunks(self, chunks: list[bytes]) -> list[bytes]:
        """Begin with Azure's annotations: the vendor's own, or else empty ones, since nothing was judged here."""
        return chunks if chunks and _is_prelude(chunks[0]) else [_AZURE_PRELUDE, *chunks]

    def error_headers(self, error: MainstayError) -> list[Header]:
        """As OpenAI's, and the code that azure-ai-inference reads; a vendor's code may be any text at all."""
        headers, code = super().error_headers(error), self._error(error)["code"]
        if code is not None and _is_word(code):
            headers.append((b"x-ms-error-code", code.encode()))
        return headers

    def _error(self, error: MainstayError) -> dict[str, Any]:  # a JSON object, as the vendor defines it
        if error.status in (400, 413):
            return super()._error(error)
        if error.code == "model_not_found":
            return {"code": "DeploymentNotFound", "message": error.told}
        if error.status in _AZURE_CODES:
            return {"code": _AZURE_CODES[error.status], "message": error.told}
        return {"code": error.code or str(error.status), "message": error.told}

    def _echo(self, request: Mapping[bytes, bytes]) -> list[Header]:
        theirs = request.get(b"x-ms-client-request-id")
        return [*super()._echo(request), *([(b"x-ms-client-request-id", theirs)] if theirs is not None else [])]

    def _reset(self, seconds: float) -> bytes:
        return b"%d" % math.ceil(seconds)

"""Asking a provider for its models: whether it is there and takes our credentials, at no cost."""

import asyncio
from dataclasses import dataclass

import msgspec

from mainstay.inference import Failure, InferenceError
from mainstay.kit.errors import MainstayError
from mainstay.kit.http import Origin, Pool, TransportError
from mainstay.platform.gateway import failures
from mainstay.platform.gateway.dialects.choose import DIALECTS
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.gateway.vendor_error import VendorError

PROBE_SECONDS = 15.0
_MAX_BYTES = 8 * 1024 * 1024


class _Models(msgspec.Struct):
    data: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Probe:
    """How a provider answered. `models` is how many it lists; `error` is fit for administrators."""

    seconds: float
    status: int | None = None
    models: int | None = None
    failure: Failure | None = None
    error: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether calls can be expected to work."""
        return not self.error


async def probe(provider: Provider, pool: Pool) -> Probe:
    """Ask for the list of models; never raises MainstayError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    status: int | None = None
    try:
        dialect = DIALECTS[provider.kind]
        _, base_path = Origin.split(provider.base_url)
        headers = [(name.encode(), value.encode()) for name, value in dialect.headers(provider)]
        path = dialect.models_path(provider, base_path)
        response = await pool.send("GET", path, headers, deadline=began + PROBE_SECONDS)
        async with response:
            status = response.status
            body = await response.read(_MAX_BYTES)
        if status != 200:
            raise failures.from_status(status, {}, VendorError.parse(body), provider=provider, now=0.0)
        models = len(msgspec.json.decode(body, type=_Models).data)
    except TransportError as error:
        told: MainstayError = failures.from_transport(error, provider)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = failures.unusable(provider, "answered, but not with a list of models; check its base_url")
    except MainstayError as error:
        told = error
    else:
        return Probe(loop.time() - began, status, models)
    failure = told.failure if isinstance(told, InferenceError) else Failure.MISCONFIGURED
    return Probe(loop.time() - began, status, failure=failure, error=told.message)

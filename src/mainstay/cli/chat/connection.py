"""Where `mainstay chat` connects to, and with which key, unless it is told otherwise."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from mainstay.cli.running import local_address, local_key
from mainstay.client import Client
from mainstay.kit.errors import (
    InvalidRequestError,
    MainstayError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mainstay.kit.http import ConnectRefused

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PREFERRED_MODEL = "chat"


def default_base_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the address from the environment, or that of the server that runs here, or where one would."""
    configured = environment.get("MAINSTAY_BASE_URL") or local_address(environment)
    return configured or f"http://127.0.0.1:{environment.get('MAINSTAY_PORT') or 8080}"


def checked_base_url(base_url: str, *, said_by: str) -> str:
    """Return the address if it is one. Raises InvalidRequestError."""
    try:
        parts = urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        message = f"{said_by} is '{base_url[:100]}', which is no address; write it as http://127.0.0.1:8080."
        raise InvalidRequestError(message, param="base_url")
    return base_url


def default_api_key(base_url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the key from the environment, or the one that the server here keeps in memory for its owner.

    That one is offered to servers on this machine only.
    """
    if key := environment.get("MAINSTAY_API_KEY"):
        return key
    if urlsplit(base_url).hostname not in _LOOPBACK:
        return ""
    return local_key(environment) or ""


def explained(error: MainstayError, base_url: str) -> MainstayError:
    """Return the error in the words of someone at a terminal, with what to do next."""
    if isinstance(error, ConnectRefused):
        return UnavailableError(
            f"No Mainstay server answers at {base_url}. Start one with `make run` or `mainstay serve`, "
            "or name another with --base-url."
        )
    if isinstance(error, UnauthenticatedError):
        return UnauthenticatedError(
            f"{error.message} Give a key with --api-key or MAINSTAY_API_KEY; `mainstay keys create` makes one."
        )
    return error


async def chat_models(client: Client) -> list[str]:
    """Return the names of the models that can chat, in the server's order but for the one named `chat`, first."""
    cards = await client.models()
    names = [card.id for card in cards if card.capabilities is None or card.capabilities.chat_completion]
    return sorted(names, key=lambda name: name != _PREFERRED_MODEL)


async def first_model(client: Client) -> str:
    """Return the model to talk with when none is named: the first in the server's list that can chat."""
    return chosen(None, await chat_models(client), client.base_url)


def chosen(model: str | None, known_models: list[str], base_url: str) -> str:
    """Return the model that was named, or else the first. Raises NotFoundError if there is none."""
    if model or known_models:
        return model or known_models[0]
    raise NotFoundError(
        f"The server at {base_url} has no model that can chat for this key; "
        "see `mainstay deployments` and `mainstay models list`."
    )

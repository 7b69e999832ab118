"""Addresses that vendors have switched off: said so, instead of a bare 404."""

from mainstay.api.exchange import Exchange
from mainstay.kit.errors import MainstayError

RETIRED = {
    "assistants": "The Assistants API was retired by OpenAI and Azure on 2026-08-26; use chat completions.",
    "threads": "The Assistants API (threads, runs) was retired on 2026-08-26; use chat completions.",
    "videos": "The Sora video API was shut down on 2026-09-24; there is no successor.",
    "images/variations": "Image variations were retired with DALL-E 2 on 2026-05-12.",
}


async def refuse_retired(exchange: Exchange) -> None:
    """410 with the date and the way out."""
    for name, message in RETIRED.items():
        if f"/{name}" in exchange.path:
            raise MainstayError(message, status=410, type="invalid_request_error", code="api_retired")

"""Which dialect a provider speaks."""

from collections.abc import Mapping

from mainstay.kit.http import Pool
from mainstay.platform.gateway.dialects.azure import AzureModel
from mainstay.platform.gateway.dialects.openai import OpenAIModel
from mainstay.platform.gateway.provider import Provider, ProviderKind

DIALECTS: Mapping[ProviderKind, type[OpenAIModel]] = {
    ProviderKind.OPENAI: OpenAIModel,
    ProviderKind.AZURE: AzureModel,
}


def open_model(provider: Provider, model_name: str, pool: Pool) -> OpenAIModel:
    """Return a provider's model in its dialect. Raises ConfigurationError for a header that cannot be sent."""
    return DIALECTS[provider.kind](provider, model_name, pool)

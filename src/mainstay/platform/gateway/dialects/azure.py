"""Azure OpenAI: OpenAI's bodies at other URLs, with the key in another header."""

from urllib.parse import quote, urlencode

from mainstay.inference import Operation
from mainstay.platform.gateway.dialects.openai import PATHS, OpenAIModel
from mainstay.platform.gateway.provider import Provider


class AzureModel(OpenAIModel):
    """One Azure deployment: by its classic URL with an api-version, or by the v1 API."""

    @staticmethod
    def path(provider: Provider, base_path: str, model_name: str, operation: Operation) -> str:
        """Return the request target."""
        base_path = base_path.removesuffix("/v1").removesuffix("/openai")
        if provider.api_version in (None, "", "v1"):
            return f"{base_path}/openai/v1{PATHS[operation]}"
        query = urlencode({"api-version": provider.api_version})
        return f"{base_path}/openai/deployments/{quote(model_name, safe='')}{PATHS[operation]}?{query}"

    @staticmethod
    def models_path(provider: Provider, base_path: str) -> str:
        """Return where the resource lists the models that it can have."""
        base_path = base_path.removesuffix("/v1").removesuffix("/openai")
        if provider.api_version in (None, "", "v1"):
            return f"{base_path}/openai/v1/models"
        return f"{base_path}/openai/models?{urlencode({'api-version': provider.api_version})}"

    @staticmethod
    def headers(provider: Provider) -> list[tuple[str, str]]:
        """Return the headers of every request."""
        headers = [("content-type", "application/json"), *provider.headers]
        if provider.api_key is not None:
            headers.append(("api-key", provider.api_key))
        return headers

"""What is stored of providers and deployments, and what may be said of them."""

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainstay.kit.endpoints import API_VERSION, NAME
from mainstay.platform.gateway.provider import ProviderKind

Name = Annotated[str, Meta(pattern=NAME)]
ApiVersion = Annotated[str, Meta(pattern=API_VERSION)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Connections = Annotated[int, Meta(ge=1, le=1024)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Price = Annotated[float, Meta(ge=0, le=1_000_000)]
Headers = Annotated[dict[str, Annotated[str, Meta(max_length=4096)]], Meta(max_length=32)]

CONNECTIONS = 256

_MANY_LINES = frozenset({"description"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, the end of a line among them, and what turns the direction of text."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is decoded from a request: a member that is not declared is refused."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            text = getattr(self, name)
            if isinstance(text, str) and _CONTROL.search(text.replace("\n", "") if name in _MANY_LINES else text):
                raise ValueError(f"'{name}' holds a control character")


class ProviderTimeouts(_Strict, frozen=True, kw_only=True):
    """How long to wait for a provider, by what is waited for."""

    connect_seconds: Seconds = 10.0
    first_byte_seconds: Seconds = 120.0
    idle_seconds: Seconds = 60.0
    total_seconds: Seconds = 900.0


class ProviderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a provider beside its address: nothing of it is secret."""

    api_version: str | None = None
    timeouts: ProviderTimeouts = ProviderTimeouts()
    max_connections: int = CONNECTIONS
    has_api_key: bool = False
    api_key_hint: str | None = None
    header_names: tuple[str, ...] = ()


class StoredProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, without its credentials. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    kind: ProviderKind
    base_url: str
    options: ProviderOptions
    is_enabled: bool
    created_at_ms: int
    updated_at_ms: int
    version: int

    @property
    def has_credentials(self) -> bool:
        """Whether anything secret is sent to it."""
        return self.options.has_api_key or bool(self.options.header_names)


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sealed of a provider."""

    api_key: str | None = None
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return "Credentials(****)"


class NewProvider(_Strict, frozen=True, kw_only=True):
    """What a provider shall be."""

    name: Name
    kind: ProviderKind
    base_url: Text
    api_key: Text | None = None
    api_version: ApiVersion | None = None
    headers: Headers = {}
    timeouts: ProviderTimeouts = ProviderTimeouts()
    max_connections: Connections = CONNECTIONS
    is_enabled: bool = True

    def __repr__(self) -> str:
        return f"NewProvider({self.name!r})"


class ProviderChanges(_Strict, frozen=True, kw_only=True):
    """What of a provider shall be otherwise; UNSET stays as it is, `headers` and `timeouts` are replaced as a whole.

    Deployments know it by its name, which stays.
    """

    kind: ProviderKind | UnsetType = UNSET
    base_url: Text | UnsetType = UNSET
    api_key: Text | UnsetType | None = UNSET
    api_version: ApiVersion | UnsetType | None = UNSET
    headers: Headers | UnsetType = UNSET
    timeouts: ProviderTimeouts | UnsetType = UNSET
    max_connections: Connections | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        return "ProviderChanges(****)"


class TargetSpec(_Strict, frozen=True, kw_only=True):
    """One model at one provider: of the lowest priority answers the first."""

    provider: Name
    model: Text
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    priority: Annotated[int, Meta(ge=0, le=1000)] = 0


class PriceSpec(_Strict, frozen=True, kw_only=True):
    """What a million tokens cost; `currency` as in ISO 4217."""

    input_per_million: Price
    cached_input_per_million: Price | None = None
    output_per_million: Price = 0.0
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"


Targets = Annotated[tuple[TargetSpec, ...], Meta(min_length=1, max_length=64)]
Description = Annotated[str, Meta(max_length=1000)]


class StoredDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    description: str
    targets: tuple[TargetSpec, ...]
    prices: PriceSpec | None
    is_enabled: bool
    created_at_ms: int
    updated_at_ms: int
    version: int


class NewDeployment(_Strict, frozen=True, kw_only=True):
    """What a deployment shall be."""

    name: Name
    targets: Targets
    description: Description = ""
    prices: PriceSpec | None = None
    is_enabled: bool = True


class DeploymentChanges(_Strict, frozen=True, kw_only=True):
    """What of a deployment shall be otherwise; UNSET stays as it is. Callers know it by its name, which stays."""

    targets: Targets | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    prices: PriceSpec | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET


def wanted_of(changes: msgspec.Struct) -> dict[str, Any]:  # Any: values of the members
    """Return the members that are set."""
    return {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not UNSET}

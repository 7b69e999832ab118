"""The settings tree: every table and key of mainstay.toml, with its type, default and description.

The reference page docs/reference/settings.md is generated from this file.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mainstay.kit.endpoints import API_VERSION, NAME, NAME_IN_WORDS
from mainstay.kit.secret_text import Secret

LOCAL = "local"
"""The provider of models that run here; it is never declared."""

MIB = 1024 * 1024

Name = Annotated[str, Meta(pattern=NAME, extra={"expected": NAME_IN_WORDS})]
VariableName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", extra={"expected": "the name of an environment variable"})
]
ApiVersion = Annotated[
    str,
    Meta(
        pattern=API_VERSION,
        extra={"expected": 'a date such as "2024-10-21" or "2025-04-01-preview"'},
    ),
]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Price = Annotated[float, Meta(ge=0, le=1_000_000)]
PerMinute = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
Count = Annotated[int, Meta(ge=1, le=65_536)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of mainstay.toml."""


class Server(Table, frozen=True):
    """How the server listens and how it ends."""

    host: Annotated[Text, Meta(description="Address to listen on; 0.0.0.0 is every IPv4 address.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8080
    workers: Annotated[int, Meta(ge=1, le=256, description="Processes that answer requests.")] = 1
    header_timeout_seconds: Annotated[Seconds, Meta(description="Time for the head of a request to arrive.")] = 15.0
    drain_grace_seconds: Annotated[Seconds, Meta(description="Time for open streams to end after SIGTERM.")] = 30.0
    max_body_bytes: Annotated[Bytes, Meta(description="Largest request body; a larger one is refused with 413.")] = (
        64 * MIB
    )
    region: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            extra={"expected": "1 to 64 letters, digits, . _ or -"},
            description="Name of this site in the x-ms-region header.",
        ),
    ] = "local"
    public_url: Annotated[
        Text | None,
        Meta(
            description="Where people and identity providers reach this server, such as https://ai.example.com; "
            "with https, cookies are sent over https only. Without it, http://HOST:PORT."
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=256,
            description="Networks of proxies whose X-Forwarded-For says where a request came from; of others it is "
            "ignored.",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=256,
            description="Web pages of other origins that may call the API with a key, such as "
            "https://app.example.com; cookies are never accepted from them.",
        ),
    ] = ()


class Database(Table, frozen=True):
    """Where the state is kept."""

    url: Annotated[
        Secret | None,
        Meta(
            description="`sqlite:////absolute/path` or `postgresql://user:password@host/name`; "
            "without it, mainstay.db in MAINSTAY_HOME."
        ),
    ] = None


class Logging(Table, frozen=True):
    """What is logged, to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least important lines that are logged.")
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="Lines for people or for programs.")] = "text"
    log_prompts: Annotated[bool, Meta(description="Log the bodies of model calls. They may hold personal data.")] = (
        False
    )


class Models(Table, frozen=True):
    """Models that run on this machine."""

    folder: Annotated[
        Path | None,
        Meta(description="Where weights are kept, shared by installations; without it ~/.cache/mainstay/models."),
    ] = None
    default: Annotated[
        Text, Meta(description='Id of the chat model, or "auto": the best one that this machine answers with in time.')
    ] = "auto"
    memory_budget_bytes: Annotated[
        Bytes | None, Meta(description="Memory that all loaded models together may use.")
    ] = None
    memory_budget_fraction: Annotated[
        float, Meta(gt=0, le=1, description="The same as a part of the machine's memory, unless bytes are given.")
    ] = 0.6
    slots: Annotated[
        Count | None, Meta(description="Requests that a model answers at once; without it, as memory allows.")
    ] = None
    queue_length: Annotated[
        int, Meta(ge=0, le=65_536, description="Requests that may wait for a slot of a model; more get 429.")
    ] = 64
    queue_wait_seconds: Annotated[Seconds, Meta(description="Longest wait for a slot; after it, 429.")] = 30.0
    preload: Annotated[
        tuple[Text, ...], Meta(max_length=64, description="Ids of models to load at start, beside the default.")
    ] = ()
    threads: Annotated[
        Count | None, Meta(description="Threads for each model; without it, the cores of the machine.")
    ] = None


class ProviderTimeouts(Table, frozen=True):
    """How long to wait for a provider, by what is waited for."""

    connect_seconds: Annotated[Seconds, Meta(description="For a connection, TLS included.")] = 10.0
    first_byte_seconds: Annotated[Seconds, Meta(description="From the request to the first byte of the answer.")] = (
        120.0
    )
    idle_seconds: Annotated[Seconds, Meta(description="Between two pieces of an answer.")] = 60.0
    total_seconds: Annotated[Seconds, Meta(description="For the whole answer.")] = 900.0


class Provider(Table, frozen=True):
    """A vendor's account or any server that speaks the OpenAI or Azure OpenAI API."""

    name: Annotated[Name, Meta(description="What targets call it; `local` is taken.")]
    kind: Annotated[Literal["openai", "azure"], Meta(description="The API that it speaks.")]
    base_url: Annotated[
        Text, Meta(description="Such as https://api.openai.com/v1 or https://NAME.openai.azure.com; no credentials.")
    ]
    api_key: Annotated[
        Secret | None, Meta(description="The key itself; better kept outside this file by one of the next two.")
    ] = None
    api_key_env: Annotated[VariableName | None, Meta(description="Environment variable with the key.")] = None
    api_key_file: Annotated[
        Path | None, Meta(description="File with the key and nothing else; relative to this file.")
    ] = None
    api_version: Annotated[
        ApiVersion | None,
        Meta(description="Azure only: the dated version of its classic API; without it, the v1 API is used."),
    ] = None
    headers: Annotated[
        dict[str, Secret], Meta(max_length=32, description="Headers to add to each request, such as a gateway's key.")
    ] = {}
    proxy: Annotated[
        Secret | None,
        Meta(description="HTTP proxy to go through: http://host:port, with credentials if it needs them."),
    ] = None
    ca_file: Annotated[
        Path | None, Meta(description="Certificates to trust instead of the system's, in PEM; relative to this file.")
    ] = None
    timeouts: Annotated[ProviderTimeouts, Meta(description="How long to wait.")] = ProviderTimeouts()
    max_connections: Annotated[Count, Meta(description="Most connections of one worker to it.")] = 1024


class Target(Table, frozen=True):
    """One model at one provider."""

    provider: Annotated[Name, Meta(description="Name of a provider, or `local` for a model that runs here.")]
    model: Annotated[Text, Meta(description="What the provider calls it; on classic Azure, the deployment there.")]
    weight: Annotated[
        int, Meta(ge=1, le=1000, description="Share of the calls among targets of one priority, where several answer.")
    ] = 1
    priority: Annotated[int, Meta(ge=0, le=1000, description="The lowest answers; of equal ones, the first.")] = 0


class Prices(Table, frozen=True):
    """What a million tokens cost."""

    input_per_million: Annotated[Price, Meta(description="Tokens of the prompt.")]
    cached_input_per_million: Annotated[
        Price | None, Meta(description="Tokens of the prompt that were cached; without it, as other input.")
    ] = None
    output_per_million: Annotated[Price, Meta(description="Tokens of the answer.")] = 0.0
    currency: Annotated[
        str,
        Meta(
            pattern=r"^[A-Z]{3}$",
            extra={"expected": 'three capital letters such as "EUR"'},
            description="As in ISO 4217.",
        ),
    ] = "USD"


class Deployment(Table, frozen=True):
    """A name that callers use, and what answers to it."""

    name: Annotated[Name, Meta(description="What callers write as the model, or in an Azure URL.")]
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=64, description="What may answer.")]
    prices: Annotated[Prices | None, Meta(description="Prices for the cost in usage records.")] = None
    description: Annotated[str, Meta(max_length=1000, description="For the people who choose one.")] = ""

    @property
    def target(self) -> Target:
        """The target that answers: the first of the lowest priority."""
        return min(self.targets, key=lambda target: target.priority)


class Limit(Table, frozen=True):
    """How much each of something may use; a key's own limits take precedence."""

    per: Annotated[Literal["key"], Meta(description="What the limit is counted for.")] = "key"
    requests_per_minute: Annotated[PerMinute | None, Meta(description="Without it, unlimited.")] = None
    tokens_per_minute: Annotated[PerMinute | None, Meta(description="Without it, unlimited.")] = None


class SignIn(Table, frozen=True):
    """How people sign in, and for how long; an organisation's policies may be stricter."""

    session_idle_minutes: Annotated[
        int, Meta(ge=1, le=525_600, description="A session ends when it was not used for so long.")
    ] = 720
    session_max_hours: Annotated[
        int, Meta(ge=1, le=8_760, description="A session ends after this time, however much it is used.")
    ] = 168
    link_minutes: Annotated[int, Meta(ge=1, le=10_080, description="How long a sign-in link is good.")] = 60
    attempts_before_lockout: Annotated[
        int, Meta(ge=3, le=100, description="Wrong passwords after which an account takes none for a while.")
    ] = 10
    lockout_minutes: Annotated[int, Meta(ge=1, le=1_440, description="For how long it then takes none.")] = 15
    attempts_per_address: Annotated[
        int,
        Meta(ge=5, le=100_000, description="Wrong passwords an address may send within lockout_minutes; more get 429."),
    ] = 100


class Outbound(Table, frozen=True):
    """Where the server may connect to on an administrator's word: identity providers, webhooks, providers of the API.

    Providers in this file are the operator's word, and are not held to it.
    """

    allowed_networks: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=256,
            description="Private networks that may be connected to, such as 10.20.0.0/16; without it, public "
            "addresses only.",
        ),
    ] = ()
    name_servers: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=16,
            description="Addresses of DNS servers that are asked for proofs of domains; without it, the system's.",
        ),
    ] = ()


class Tree(Table, frozen=True):
    """Everything that mainstay.toml may say."""

    server: Server = Server()
    database: Database = Database()
    logging: Logging = Logging()
    models: Models = Models()
    providers: tuple[Provider, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    aliases: Annotated[
        dict[Name, Name],
        Meta(description='Other names for deployments, for code that is pinned to one: `"gpt-4o" = "chat"`.'),
    ] = {}
    limits: tuple[Limit, ...] = ()
    sign_in: SignIn = SignIn()
    outbound: Outbound = Outbound()

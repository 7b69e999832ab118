"""Checks what types cannot say: names that must be unique or known, addresses, keys that exclude each other."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from mainstay.kit.endpoints import header_fault
from mainstay.settings.addresses import check_addresses
from mainstay.settings.decoding import Decoder, Fault
from mainstay.settings.document import Document
from mainstay.settings.problems import quote, suggest
from mainstay.settings.toml_lines import KeyPath
from mainstay.settings.tree import LOCAL, Provider, Tree

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_LOCAL_IS_TAKEN = f'The name "{LOCAL}" means the models that run here; choose another.'
_KEY_SOURCES = ("api_key", "api_key_env", "api_key_file")


def find_faults(tree: Tree, decoder: Decoder, document: Document) -> Iterator[Fault]:
    """Yield everything that is wrong with a tree whose types are right."""
    yield from _check_host(tree)
    yield from check_addresses(tree, decoder)
    yield from _check_database(tree)
    yield from _check_providers(tree, decoder)
    yield from _check_broken_providers(decoder, document)
    yield from _check_deployments(tree, decoder, providers=document.names("providers"))
    yield from _check_limits(tree, decoder)
    names = document.names("deployments")
    if names:
        # Without any, the names are only known once the models of this machine are: see with_default_deployments.
        yield from check_aliases(tree.aliases, names)


def check_aliases(aliases: Mapping[str, str], deployments: set[str]) -> Iterator[Fault]:
    """Yield aliases that hide a deployment, lead nowhere, or lead in a circle."""
    for alias, name in aliases.items():
        path: KeyPath = ("aliases", alias)
        if alias in deployments:
            yield path, f"The alias {quote(alias)} has the name of a deployment, which it would hide; rename one."
        elif name not in deployments and name not in aliases:
            hint = suggest(name, deployments | aliases.keys() - {alias})
            yield path, f"The alias {quote(alias)} leads to {quote(name)}, which is no deployment.{hint}"
        elif resolve_alias(aliases, name) in aliases:
            yield path, f"The alias {quote(alias)} leads in a circle and never to a deployment."


def resolve_alias(aliases: Mapping[str, str], name: str) -> str:
    """Follow aliases to the name at their end; of a circle, return some alias in it."""
    seen: set[str] = set()
    while name in aliases and name not in seen:
        seen.add(name)
        name = aliases[name]
    return name


def _check_host(tree: Tree) -> Iterator[Fault]:
    host = tree.server.host
    if _HOST_NAME.fullmatch(host):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        yield ("server", "host"), f"server.host is {quote(host)}; write an address such as 127.0.0.1, or a host's name."


def _check_database(tree: Tree) -> Iterator[Fault]:
    if tree.database.url is None:
        return
    path: KeyPath = ("database", "url")
    parts = _split(tree.database.url.reveal())
    if parts is None or parts.scheme not in ("sqlite", "postgresql", "postgres"):
        yield path, "database.url must be sqlite:////absolute/path or postgresql://user:password@host/name."
    elif parts.scheme == "sqlite" and (parts.netloc or not unquote(parts.path[1:]).startswith("/")):
        yield path, "database.url names no absolute path; write sqlite:////absolute/path, with four slashes."


def _check_providers(tree: Tree, decoder: Decoder) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, provider in decoder.elements(("providers",), tree.providers):
        if provider.name == LOCAL:
            yield (*path, "name"), _LOCAL_IS_TAKEN
        if provider.name in seen:
            yield (*path, "name"), f"There is a provider {quote(provider.name)} already; rename one."
        seen.add(provider.name)
        yield from _check_provider(provider, path)


def _check_broken_providers(decoder: Decoder, document: Document) -> Iterator[Fault]:
    """Look at what can be judged of a provider that does not fit otherwise, so that nobody corrects it twice."""
    elements = document.content.get("providers")
    told = {path for path, _ in decoder.faults}
    for index, table in enumerate(elements if isinstance(elements, list) else ()):
        if not isinstance(table, dict) or decoder.is_kept(("providers",), index):
            continue
        path: KeyPath = ("providers", index)
        name, url = table.get("name"), table.get("base_url")
        if name == LOCAL:
            yield (*path, "name"), _LOCAL_IS_TAKEN
        if isinstance(url, str) and (*path, "base_url") not in told and (fault := _url_fault(url)):
            called = f"provider {quote(name)}" if isinstance(name, str) else "this provider"
            yield (*path, "base_url"), f"The base_url of {called} {fault}"


def _check_provider(provider: Provider, path: KeyPath) -> Iterator[Fault]:
    if fault := _url_fault(provider.base_url):
        yield (*path, "base_url"), f"The base_url of provider {quote(provider.name)} {fault}"
    if provider.proxy and (fault := _proxy_fault(provider.proxy.reveal())):
        yield (*path, "proxy"), f"The proxy of provider {quote(provider.name)} {fault}"
    given = [source for source in _KEY_SOURCES if getattr(provider, source) is not None]
    if len(given) > 1:
        yield (*path, given[1]), f"Provider {quote(provider.name)} has {' and '.join(given)}; keep one of them."
    if provider.kind == "openai" and provider.api_version is not None:
        yield (*path, "api_version"), 'Only kind "azure" has an api_version; remove it, or change the kind.'
    for name, value in provider.headers.items():
        if fault := header_fault(name, value.reveal()):
            yield (*path, "headers", name), fault


def _check_deployments(tree: Tree, decoder: Decoder, *, providers: set[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, deployment in decoder.elements(("deployments",), tree.deployments):
        if deployment.name in seen:
            yield (*path, "name"), f"There is a deployment {quote(deployment.name)} already; rename one."
        seen.add(deployment.name)
        for target_path, target in decoder.elements((*path, "targets"), deployment.targets):
            if target.provider != LOCAL and target.provider not in providers:
                hint = suggest(target.provider, providers | {LOCAL})
                message = f"Deployment {quote(deployment.name)} names the provider {quote(target.provider)}"
                yield (*target_path, "provider"), f"{message}, which is not declared.{hint}"


def _check_limits(tree: Tree, decoder: Decoder) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, limit in decoder.elements(("limits",), tree.limits):
        if limit.per in seen:
            yield path, f"There is a limit per {limit.per} already; make one of the two."
        seen.add(limit.per)
        if limit.requests_per_minute is None and limit.tokens_per_minute is None:
            yield path, "The limit limits nothing; give it requests_per_minute or tokens_per_minute."


def _url_fault(url: str) -> str:
    """Return what is wrong with the address of a provider, to follow its name; empty if nothing is."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        return f"is {quote(url.rpartition('@')[2])}; write it as https://host/path."
    if parts.username is not None or parts.password is not None:
        return "holds credentials, which end up in logs; use api_key_file, api_key_env or headers."
    if parts.query or parts.fragment:
        return "ends with a query or fragment; leave it out (api_version is a key of its own)."
    return ""


def _proxy_fault(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        return "must be http://host:port."
    return ""


def _split(url: str) -> SplitResult | None:
    """Split a URL; None if it is none, its port included."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - this is how the port is checked
    except ValueError:
        return None
    return parts


def absolute(path: Path, folder: Path) -> Path:
    """Return `path`, `~` expanded, as it is meant from `folder`. Raises OSError if there is no home to expand."""
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise OSError(0, "the home directory of that user is not known") from error

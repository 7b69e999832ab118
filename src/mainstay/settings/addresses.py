"""Checks what the settings say of the network around the server: its own address, proxies, origins, networks."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from mainstay.settings.decoding import Decoder, Fault
from mainstay.settings.problems import quote
from mainstay.settings.toml_lines import KeyPath
from mainstay.settings.tree import Tree

_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_addresses(tree: Tree, decoder: Decoder) -> Iterator[Fault]:
    """Yield addresses that are none, or that browsers and sockets would never say in this form."""
    server, outbound = tree.server, tree.outbound
    if server.public_url is not None and (fault := _origin_fault(server.public_url, "https://ai.example.com")):
        yield ("server", "public_url"), f"server.public_url {fault}"
    for path, origin in decoder.elements(("server", "cors_origins"), server.cors_origins):
        if fault := _origin_fault(origin, "https://app.example.com"):
            yield path, f"{quote(origin)} in server.cors_origins {fault}"
    yield from _check_networks(decoder, ("server", "trusted_proxies"), server.trusted_proxies)
    yield from _check_networks(decoder, ("outbound", "allowed_networks"), outbound.allowed_networks)
    for path, address in decoder.elements(("outbound", "name_servers"), outbound.name_servers):
        if not _is_address(address):
            yield path, f"{quote(address)} in outbound.name_servers is no address; write one such as 192.0.2.53."


def _check_networks(decoder: Decoder, key: KeyPath, networks: tuple[str, ...]) -> Iterator[Fault]:
    for path, network in decoder.elements(key, networks):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            where = ".".join(map(str, key))
            yield path, f"{quote(network)} in {where} is no network; write one such as 10.20.0.0/16 or 10.1.2.3."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _origin_fault(text: str, example: str) -> str:
    """Return what is wrong with an origin, scheme and host and perhaps a port; empty if nothing is.

    It is compared with what browsers send (RFC 6454, 6.2), so it must be written as they write it.
    """
    parts = _split(text)
    if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return f"must be an address such as {example}, not {quote(text.rpartition('@')[2])}."
    if text != f"{parts.scheme}://{parts.netloc}" or not text.isascii() or text != text.lower() or " " in text:
        return f"must be scheme, host and port alone, in small letters, such as {example}."
    if parts.port == _DEFAULT_PORTS[parts.scheme]:
        return f"names the port that {parts.scheme} has anyway; leave :{parts.port} out."
    return ""


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - this is how the port is checked
    except ValueError:
        return None
    return parts

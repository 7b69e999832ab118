"""URLs as origins and proxies."""

import pytest

from mainstay.kit.errors import ConfigurationError
from mainstay.kit.http import Origin, Proxy


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://api.openai.com", Origin("api.openai.com", 443, is_tls=True), "api.openai.com"),
        ("http://127.0.0.1:8000/", Origin("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://[::1]:8000", Origin("::1", 8000), "[::1]:8000"),
        ("https://bücher.example", Origin("xn--bcher-kva.example", 443, is_tls=True), "xn--bcher-kva.example"),
    ],
)
def test_a_url_is_read_as_an_origin(url, origin, authority):
    assert Origin.parse(url) == origin
    assert Origin.parse(url).authority == authority


def test_a_base_url_is_split_into_origin_and_path():
    assert Origin.split("https://host/openai/v1/") == (Origin("host", 443, is_tls=True), "/openai/v1")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host",
        "http://",
        "http://host:99999",
        "http://user:secret@host",
        "http://host?x=1",
        "http://[::1",
        "",
    ],
)
def test_what_is_no_base_url_is_refused_without_showing_credentials(url):
    with pytest.raises(ConfigurationError) as caught:
        Origin.split(url)
    assert "secret" not in caught.value.message


def test_an_origin_with_a_path_is_refused():
    with pytest.raises(ConfigurationError, match="path"):
        Origin.parse("http://host/v1")


def test_proxy_credentials_become_a_header_and_are_never_shown():
    proxy = Proxy.parse("http://user:s%40cret@proxy:3128")
    assert proxy.authorization == "Basic dXNlcjpzQGNyZXQ="
    assert "cret" not in repr(proxy)
    assert str(proxy) == "http://proxy:3128"

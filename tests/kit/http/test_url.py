"""URLs that people enter: read in one way, or refused."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.security.inside import URLS

from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.http import Origin, RequestHead, Url


@pytest.mark.parametrize(
    ("text", "host", "port", "is_tls", "target"),
    [
        ("https://api.example.com", "api.example.com", 443, True, "/"),
        ("http://api.example.com:8080/v1/x?y=1&z=%20", "api.example.com", 8080, False, "/v1/x?y=1&z=%20"),
        ("HTTPS://API.Example.COM./a", "api.example.com", 443, True, "/a"),
        ("https://h?x", "h", 443, True, "/?x"),
        ("https://h/a#b?c@d", "h", 443, True, "/a"),
        ("http://93.184.216.34/", "93.184.216.34", 80, False, "/"),
        ("http://[2606:2800:0220:0001::1]:81/", "2606:2800:220:1::1", 81, False, "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, True, "/"),
        ("https://_service.some-host.example/", "_service.some-host.example", 443, True, "/"),
    ],
)
def test_url_is_read_into_what_is_connected_to_and_what_is_asked(text, host, port, is_tls, target):
    url = Url.parse(text)
    assert url == Url(Origin(host=host, port=port, is_tls=is_tls), target)
    assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "must be http"),
        ("example.com", "must be http"),
        ("ftp://example.com/", "must be http"),
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://:80/", "names no host"),
        ("https://user:password@example.com/", "credentials"),
        ("https://example.com\\@evil/", "holds '\\\\\\\\'"),
        ("https://exämple.com/", "xn--"),
        ("https://example.com/ä", "quote it"),
        ("https://exa mple.com/", "holds ' '"),
        ("https://example.com/\n", "holds '\\\\n'"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "port 65536"),
        ("https://example.com:/", "names no host"),
        ("https://a..b/", "names no host"),
        ("https://-a/", "names no host"),
        (f"https://{'a' * 64}.example/", "names no host"),
        (f"https://{'a.' * 150}example/", "names no host"),
        ("https://1.2.3/", "four decimal"),
        ("https://0x7f.1/", "four decimal"),
        ("https://example.0x/", "four decimal"),
        ("https://[::g]/", "names no host"),
        ("https://[1::2::3]/", "IPv6"),
        ("https://example.com/" + "a" * 2048, "longer than"),
    ],
)
def test_what_could_be_read_otherwise_is_refused(text, what):
    with pytest.raises(InvalidRequestError, match=what) as caught:
        Url.parse(text)
    assert (caught.value.status, caught.value.code) == (400, "invalid_url")
    assert len(caught.value.message) < 300
    assert "password" not in caught.value.message


def test_message_never_shows_a_query():
    with pytest.raises(InvalidRequestError) as caught:
        Url.parse("ftp://h/?token=canary")
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("base", "location", "whole"),
    [
        ("https://h/a/b?c", "/d", "https://h/d"),
        ("https://h/a/b?c", "d", "https://h/a/d"),
        ("https://h/a/b", "../../../d", "https://h/d"),
        ("https://h/a", "//other/b", "https://other/b"),
        ("https://h/a", "http://other:81/b#c", "http://other:81/b"),
        ("https://h/a", "?x=1", "https://h/a?x=1"),
        ("https://h/a", "", "https://h/a"),
    ],
)
def test_redirect_leads_where_browsers_go(base, location, whole):
    assert str(Url.parse(base).join(location)) == whole


@pytest.mark.parametrize(
    "location", ["javascript:1", "file:///x", "//u@h/", "/\\evil", "http://0x7f.1/", "http://[::1/", "x" * 3000]
)
def test_redirect_to_what_is_no_url_is_refused(location):
    with pytest.raises(InvalidRequestError):
        Url.parse("https://h/a").join(location)


def test_nothing_but_an_invalid_request_comes_of_any_text():
    for text in URLS:
        try:
            url = Url.parse(text.replace("{port}", "80"))
        except InvalidRequestError:
            continue
        assert url.origin.host == url.origin.host.lower()


_PIECES = [
    "http",
    "https",
    ":",
    "//",
    "/",
    "\\",
    "@",
    "#",
    "?",
    "[",
    "]",
    "%",
    "127.0.0.1",
    "good.example",
    "::1",
    "0x7f",
]
_PIECES += [".", "-", "_", " ", "\t", "\n", "\0", "80", "08", "xn--", "é", "。", "..", "&", "a", "1"]
_TEXTS = some.lists(some.sampled_from(_PIECES), max_size=14).map("".join)


@given(some.one_of(_TEXTS, _TEXTS.map("http://".__add__), some.text(max_size=60)))
def test_every_reader_of_a_url_that_is_accepted_reads_the_same(text):
    try:
        url = Url.parse(text)
    except InvalidRequestError:
        return
    parts = urlsplit(text)
    assert (parts.hostname or "").removesuffix(".") in (
        url.origin.host,
        url.origin.host.strip("[]"),
    ) or ":" in url.origin.host
    assert (parts.port or (443 if parts.scheme == "https" else 80)) == url.origin.port
    assert parts.username is None
    assert Url.parse(str(url)) == url
    assert RequestHead.render("GET", url.target, (), origin=url.origin).prefix.startswith(b"GET /")

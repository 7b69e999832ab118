"""Request heads: what would break out of them is refused."""

import pytest

from mainstay.kit.http import Origin, Proxy, RequestHead, UnsafeHeader

ORIGIN = Origin.parse("http://host:81")


def test_a_head_is_rendered_with_host_and_length():
    head = RequestHead.render("POST", "/v1/x?y=1", [(b"a", b"b")], origin=ORIGIN)
    expected = (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: host:81\r\naccept-encoding: identity\r\na: b\r\ncontent-length: 5\r\n\r\n"
    )
    assert head.with_length(5) == expected


def test_a_proxied_head_has_the_absolute_form_and_the_proxys_credentials():
    head = RequestHead.render("GET", "/x", [], origin=ORIGIN, proxy=Proxy.parse("http://u:p@proxy")).with_length(0)
    assert head.startswith(b"GET http://host:81/x HTTP/1.1\r\n")
    assert b"\r\nproxy-authorization: Basic dTpw\r\n" in head


def test_a_host_of_the_callers_choice_replaces_ours():
    head = RequestHead.render("GET", "/", [(b"Host", b"other")], origin=ORIGIN).with_length(0)
    assert head.lower().count(b"host:") == 1


@pytest.mark.parametrize(
    "header",
    [
        (b"a", b"b\r\nevil: 1"),
        (b"a", b"b\nevil: 1"),
        (b"a", b"b\rc"),
        (b"a", b"b\0"),
        (b"a\r\nevil", b"1"),
        (b"a b", b"1"),
        (b"a:", b"1"),
        (b"", b"1"),
        (b"Content-Length", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"connection", b"upgrade"),
    ],
)
def test_a_header_that_would_change_the_request_is_refused(header):
    with pytest.raises(UnsafeHeader):
        RequestHead.render("POST", "/", [header], origin=ORIGIN)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\nevil: 1", "/ž", "http://other/"])
def test_a_path_that_would_change_the_request_is_refused(path):
    with pytest.raises(UnsafeHeader):
        RequestHead.render("POST", path, [], origin=ORIGIN)


@pytest.mark.parametrize("method", ["HEAD", "CONNECT", "post", "GET / HTTP/1.1\r\n"])
def test_an_unknown_method_is_refused(method):
    with pytest.raises(UnsafeHeader):
        RequestHead.render(method, "/", [], origin=ORIGIN)

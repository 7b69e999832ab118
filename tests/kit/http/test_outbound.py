"""Fetching what people enter: redirects, credentials, sizes, times, and answers that are none."""

import asyncio
import ipaddress
import ssl

import pytest
from tests.kit.http.servers import CERTIFICATES, OK, read_request, saying, serving
from tests.security.inside import NAMES, URLS

from mainstay.kit.errors import ConfigurationError, InvalidRequestError
from mainstay.kit.http import (
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    DnsFailure,
    ForbiddenAddressError,
    IdleTimeout,
    MalformedResponse,
    Origin,
    Outbound,
    Pool,
    Proxy,
    TlsFailure,
    TransportError,
    client_context,
)

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
CANARY = b"canary-of-the-outbound-client"


def allowing(*names, networks=LOOPBACK, **more):
    known = dict(names)

    async def resolve(host):
        if host not in known:
            raise OSError(-2, "Name or service not known")
        return known[host]

    return Outbound(networks, resolve=resolve, **more)


def redirect(location, status=302):
    return b"HTTP/1.1 %d Moved\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, location.encode())


class Recording:
    """Answers every request with the same, and keeps what was asked."""

    def __init__(self, answer=OK):
        self.requests = []
        self.answer = answer

    async def __call__(self, reader, writer):
        self.requests.append(await read_request(reader))
        writer.write(self.answer)
        await writer.drain()


async def test_answer_comes_whole_with_its_head():
    server = Recording(b"HTTP/1.1 201 Made\r\nX-Kind: a\r\ncontent-length: 2\r\n\r\nok")
    async with serving(server) as origin:
        fetched = await allowing().fetch("POST", f"{origin}/p?q=1", headers=[(b"x-a", b"b")], body=b"hello")
    assert (fetched.status, fetched.body, fetched.url) == (201, b"ok", f"{origin}/p?q=1")
    assert (fetched.header("X-Kind"), fetched.header("x-other")) == ("a", None)
    head, body = server.requests[0]
    assert head.startswith(b"POST /p?q=1 HTTP/1.1\r\n")
    assert b"x-a: b" in head
    assert body == b"hello"


async def test_name_is_looked_up_once_and_the_server_is_told_the_name():
    asked = []

    async def resolve(host):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    server = Recording()
    async with serving(server) as origin:
        await Outbound(LOOPBACK, resolve=resolve).fetch("GET", f"http://named.example:{origin.port}/")
    assert asked == ["named.example"]
    assert f"host: named.example:{origin.port}".encode() in server.requests[0][0]


async def test_second_address_is_tried_when_the_first_does_not_answer():
    async with serving(saying(OK)) as origin:
        fetched = await allowing(("two", ["127.0.0.3", "127.0.0.1"])).fetch("GET", f"http://two:{origin.port}/")
    assert fetched.body == b"ok"


async def test_address_of_ipv6_is_connected_to_and_named_in_brackets():
    server = Recording()
    try:
        listening = serving(server, host="::1")
        origin = await listening.__aenter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    fetched = await allowing(networks=[ipaddress.ip_network("::1")]).fetch("GET", f"http://[0:0::1]:{origin.port}/")
    await listening.__aexit__(None, None, None)
    assert fetched.url == f"http://[::1]:{origin.port}/"
    assert f"host: [::1]:{origin.port}\r\n".encode() in server.requests[0][0]


async def test_certificate_is_that_of_the_name_and_not_of_the_address():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "localhost.pem")
    trusting = client_context(CERTIFICATES / "authority.pem")
    names = (("localhost", ["127.0.0.1"]), ("other.example", ["127.0.0.1"]))
    async with serving(saying(OK), ssl=tls) as origin:
        outbound = allowing(*names, tls=trusting)
        assert (await outbound.fetch("GET", f"https://localhost:{origin.port}/")).body == b"ok"
        with pytest.raises(TlsFailure):
            await outbound.fetch("GET", f"https://other.example:{origin.port}/")
        with pytest.raises(TlsFailure):
            await allowing(*names).fetch("GET", f"https://localhost:{origin.port}/")


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(saying(OK)) as origin:
        assert (await allowing().fetch("GET", f"{origin}/")).body == b"ok"


def test_address_behind_a_proxy_cannot_be_checked_and_so_is_not_asked_for():
    with pytest.raises(ConfigurationError, match="behind a proxy"):
        Pool(Origin("h", 80), proxy=Proxy("p", 80), guard=Outbound().guard)


async def test_redirect_is_an_answer_unless_it_is_to_be_followed():
    async with serving(saying(OK)) as target, serving(saying(redirect(f"{target}/there"))) as origin:
        fetched = await allowing().fetch("GET", f"{origin}/")
        assert (fetched.status, fetched.header("location")) == (302, f"{target}/there")
    async with serving(saying(OK)) as target, serving(saying(redirect(f"{target}/there"))) as origin:
        fetched = await allowing().fetch("GET", f"{origin}/", follow_redirects=True)
        assert (fetched.status, fetched.url) == (200, f"{target}/there")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_credentials_do_not_follow_to_another_origin(status):
    server = Recording()
    sent = [
        (b"Authorization", CANARY),
        (b"cookie", CANARY),
        (b"api-key", CANARY),
        (b"x-any", CANARY),
        (b"accept", b"a/b"),
    ]
    async with serving(server) as target, serving(saying(redirect(f"{target}/", status))) as origin:
        await allowing().fetch("GET", f"{origin}/", headers=sent, follow_redirects=True)
    assert CANARY not in server.requests[0][0]
    assert b"accept: a/b" in server.requests[0][0]


async def test_credentials_follow_within_their_origin():
    class Twice(Recording):
        async def __call__(self, reader, writer):
            self.answer = redirect("/there") if not self.requests else OK
            await super().__call__(reader, writer)

    server = Twice()
    async with serving(server) as origin:
        await allowing().fetch("GET", f"{origin}/a", headers=[(b"authorization", CANARY)], follow_redirects=True)
    assert [CANARY in head for head, _ in server.requests] == [True, True]
    assert server.requests[1][0].startswith(b"GET /there ")


@pytest.mark.parametrize("status", [307, 308])
async def test_body_does_not_follow_to_another_origin(status):
    server = Recording()
    async with serving(server) as target, serving(saying(redirect(f"{target}/", status))) as origin:
        with pytest.raises(MalformedResponse, match="use that address"):
            await allowing().fetch("POST", f"{origin}/", body=CANARY, follow_redirects=True)
    assert server.requests == []


async def test_post_becomes_get_where_browsers_make_it_so():
    server = Recording()
    async with serving(server) as target, serving(saying(redirect(f"{target}/", 303))) as origin:
        sent = [(b"content-type", b"application/json")]
        await allowing().fetch("POST", f"{origin}/", headers=sent, body=CANARY, follow_redirects=True)
    head, body = server.requests[0]
    assert head.startswith(b"GET / ")
    assert (b"content-type" in head, body) == (False, b"")


async def test_five_redirects_are_followed_and_no_more():
    server = Recording()

    async def handler(reader, writer):
        count = len(server.requests)
        server.answer = redirect(f"/{count}") if count < hops else OK
        await server(reader, writer)

    hops = 5
    async with serving(handler) as origin:
        assert (await allowing().fetch("GET", f"{origin}/", follow_redirects=True)).url == f"{origin}/4"
        hops, server.requests = 100, []
        with pytest.raises(MalformedResponse, match="more than 5 times"):
            await allowing().fetch("GET", f"{origin}/?canary", follow_redirects=True)
        assert len(server.requests) == 6


async def test_no_redirect_leads_inside():
    """The public web is 127.0.0.2 here; everything else on this machine is the inside."""
    inside = Recording()
    public = Recording()
    async with serving(inside) as origin, serving(public, host="127.0.0.2") as entry:
        for url in URLS:
            if any(code in url for code in ("\r", "\n", "\0", "127.0.0.2")) or not url.isascii():
                continue
            public.answer = redirect(url.replace("{port}", str(origin.port)))
            outbound = allowing(*NAMES.items(), networks=[ipaddress.ip_network("127.0.0.2")])
            with pytest.raises((TransportError, InvalidRequestError)):
                await outbound.fetch("GET", str(entry), follow_redirects=True)
    assert len(public.requests) > 100
    assert inside.requests == []


async def test_redirect_from_https_to_http_is_not_followed():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "localhost.pem")
    outbound = allowing(("localhost", ["127.0.0.1"]), tls=client_context(CERTIFICATES / "authority.pem"))
    async with serving(saying(redirect("http://localhost/")), ssl=tls) as origin:
        with pytest.raises(MalformedResponse, match="from https to http"):
            await outbound.fetch("GET", f"https://localhost:{origin.port}/", follow_redirects=True)


@pytest.mark.parametrize("head", [b"content-length: 1001\r\n", b"connection: close\r\n"])
async def test_answer_is_no_longer_than_is_held(head):
    async with serving(saying(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * 1001)) as origin:
        with pytest.raises(MalformedResponse, match="longer than 1000 bytes"):
            await allowing().fetch("GET", f"{origin}/", max_bytes=1000)


async def test_compressed_answer_is_refused_unread():
    async with serving(saying(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok")) as origin:
        with pytest.raises(MalformedResponse, match="compressed"):
            await allowing().fetch("GET", f"{origin}/")


async def test_time_is_for_everything_together():
    async def silent(reader, writer):
        await reader.read()

    async def drips(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    for handler in (silent, drips):
        async with serving(handler) as origin:
            with pytest.raises((DeadlineExceeded, IdleTimeout)):
                await allowing().fetch("GET", f"{origin}/", timeout_seconds=0.1)


async def test_name_server_is_part_of_the_time():
    async def resolve(host):
        await asyncio.get_running_loop().create_future()

    with pytest.raises(ConnectTimeout):
        await Outbound(resolve=resolve).fetch("GET", "http://slow.example/", timeout_seconds=0.05)


async def test_every_failure_has_its_own_error():
    for url, error in (
        ("http://127.0.0.1:1/", ConnectRefused),
        ("http://nobody.example/", DnsFailure),
        ("http://10.0.0.1/", ForbiddenAddressError),
        ("http://10.1/", InvalidRequestError),
    ):
        with pytest.raises(error):
            await allowing().fetch("GET", url)


async def test_header_that_could_end_its_line_is_not_sent():
    server = Recording()
    async with serving(server) as origin:
        with pytest.raises(ConfigurationError):
            await allowing().fetch("GET", f"{origin}/", headers=[(b"x", b"a\r\nhost: evil")])
    assert server.requests == []


async def test_nothing_stays_open(monkeypatch):
    closed = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(OK)
        assert await reader.read() == b""
        closed.set()

    async with serving(handler) as origin:
        await allowing().fetch("GET", f"{origin}/")
        async with asyncio.timeout(5):
            await closed.wait()

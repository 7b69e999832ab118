"""TLS that is verified, and the way through a proxy."""

import ssl

import pytest
from tests.kit.http.servers import CERTIFICATES, ConnectProxy, saying, serving

from mainstay.kit.errors import ConfigurationError
from mainstay.kit.http import ConnectionReset, ConnectRefused, Origin, Pool, Proxy, Timeouts, TlsFailure, client_context
from mainstay.testing.vendor import Vendor

PATH = "/v1/chat/completions"


@pytest.fixture
def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "localhost.pem")
    return context


@pytest.fixture
def trusting():
    return client_context(CERTIFICATES / "authority.pem")


@pytest.fixture
async def vendor(server_tls):
    async with Vendor(tls=server_tls) as vendor:
        yield vendor


async def call(pool):
    try:
        response = await pool.send("POST", PATH, [], b'{"model":"m"}')
        return await response.read(1_000_000)
    finally:
        await pool.aclose()


async def test_a_certificate_of_the_operators_authority_is_accepted(vendor, trusting):
    pool = Pool(Origin("localhost", vendor.port, is_tls=True), tls=trusting)
    assert b"scripted vendor" in await call(pool)


async def test_what_tls_keeps_of_the_handshake_is_freed_at_the_first_answer(vendor, trusting):
    writes, connections = [], []

    class Recording(ssl.SSLObject):
        def write(self, data):
            writes.append(len(data))
            connections.append(self)
            return super().write(data)

    trusting.sslobject_class = Recording
    pool = Pool(Origin("localhost", vendor.port, is_tls=True), tls=trusting)
    for _ in range(2):
        response = await pool.send("POST", PATH, [], b'{"model":"m"}')
        assert b"scripted vendor" in await response.read(1_000_000)
    await pool.aclose()
    assert [bool(length) for length in writes] == [True, False, True]
    assert len(set(connections)) == 1


async def test_an_unknown_authority_is_refused(vendor):
    pool = Pool(Origin("localhost", vendor.port, is_tls=True))
    with pytest.raises(TlsFailure, match="certificate"):
        await call(pool)
    assert pool.open_connections == 0


async def test_a_certificate_for_another_host_is_refused(vendor, trusting):
    with pytest.raises(TlsFailure, match="127"):
        await call(Pool(Origin("127.0.0.1", vendor.port, is_tls=True), tls=trusting))


async def test_a_server_without_tls_is_a_tls_failure(trusting):
    async def plain(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(10_000)

    async with serving(plain) as origin:
        with pytest.raises(TlsFailure):
            await call(Pool(Origin("localhost", origin.port, is_tls=True), tls=trusting))


async def test_a_server_that_hangs_up_in_the_handshake_is_told_apart(trusting):
    async def leave(reader, writer):
        await reader.read(10)

    async with serving(leave) as origin:
        with pytest.raises((ConnectionReset, TlsFailure)):
            await call(Pool(Origin("localhost", origin.port, is_tls=True), tls=trusting))


def test_a_ca_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")
    with pytest.raises(ConfigurationError, match="CA file"):
        client_context(path)


async def test_https_goes_through_a_tunnel(vendor, trusting):
    proxy = ConnectProxy()
    async with serving(proxy) as at:
        way = Proxy.parse(f"http://user:pass@127.0.0.1:{at.port}")
        pool = Pool(Origin("localhost", vendor.port, is_tls=True), tls=trusting, proxy=way)
        assert b"scripted vendor" in await call(pool)
    assert proxy.requests[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % vendor.port)
    assert b"proxy-authorization: Basic dXNlcjpwYXNz\r\n" in proxy.requests[0]
    assert "proxy-authorization" not in vendor.requests[0].headers


async def test_http_goes_to_the_proxy_in_absolute_form():
    proxy = ConnectProxy()
    async with serving(proxy) as at:
        way = Proxy.parse(f"http://127.0.0.1:{at.port}")
        assert await call(Pool(Origin("vendor.example", 80), proxy=way)) == b"ok"
    assert proxy.requests[0].startswith(b"POST http://vendor.example/v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "message"),
    [(b"407 Auth", "other credentials"), (b"403 No", r"refused the way.*403"), (b"x", "HTTP/1.1")],
)
async def test_a_proxy_that_refuses_is_connect_refused_and_its_password_is_not_told(trusting, status, message):
    async with serving(ConnectProxy(status=status)) as at:
        way = Proxy.parse(f"http://user:pass@127.0.0.1:{at.port}")
        with pytest.raises(ConnectRefused, match=message) as caught:
            await call(Pool(Origin("localhost", 1, is_tls=True), tls=trusting, proxy=way))
    assert "pass" not in caught.value.message


async def test_a_proxy_that_hangs_up_is_a_reset(trusting):
    async def leave(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    async with serving(leave) as at:
        way = Proxy.parse(f"http://127.0.0.1:{at.port}")
        with pytest.raises(ConnectionReset):
            await call(Pool(Origin("localhost", 1, is_tls=True), tls=trusting, proxy=way))


async def test_a_proxy_that_talks_for_ever_is_refused(trusting):
    async with serving(saying(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000, close=False)) as at:
        way = Proxy.parse(f"http://127.0.0.1:{at.port}")
        timeouts = Timeouts(connect_seconds=2)
        with pytest.raises(ConnectRefused, match="too long"):
            await call(Pool(Origin("localhost", 1, is_tls=True), timeouts=timeouts, tls=trusting, proxy=way))

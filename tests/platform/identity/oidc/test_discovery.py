"""What identity providers publish: read strictly, kept for a while, asked for seldom."""

import asyncio
import json

import pytest
from joserfc.errors import SecurityWarning
from tests.platform.identity.oidc.house import LOOPBACK
from tests.platform.identity.oidc.mock_provider import Signer

from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.kit.http import ForbiddenAddressError, Outbound
from mainstay.platform.identity.oidc.check import check
from mainstay.platform.identity.oidc.discovery import Discovery, checked_issuer
from mainstay.platform.identity.oidc.remembered import KEPT_SECONDS, Remembered
from mainstay.platform.identity.oidc.signatures import read_keys
from mainstay.testing.clock import StandingClock


@pytest.fixture
def discovery(clock):
    return Discovery(Outbound([LOOPBACK]), clock)


WRONG = {
    "another issuer": {"issuer": "https://evil.example"},
    "the issuer with a slash": {"issuer": "{issuer}/"},
    "no issuer": {"issuer": None},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint that is no text": {"token_endpoint": ["http://127.0.0.1/"]},
    "an endpoint of another kind": {"authorization_endpoint": "javascript:alert(1)"},
    "an endpoint with credentials": {"jwks_uri": "http://user:password@127.0.0.1/keys"},
    "an endpoint with a fragment": {"authorization_endpoint": "http://127.0.0.1/#x"},
    "a relative endpoint": {"userinfo_endpoint": "/userinfo"},
    "no sign-in by code": {"response_types_supported": ["token", "id_token"]},
    "response types that are no list": {"response_types_supported": "code"},
}


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_discovery_document_is_refused(discovery, mock, fault):
    mock.metadata |= {
        name: value.replace("{issuer}", mock.issuer) if isinstance(value, str) else value
        for name, value in WRONG[fault].items()
    }
    with pytest.raises(MainstayError) as refused:
        await discovery.metadata(mock.issuer)
    assert refused.value.status == 502


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"issuer": "a", "issuer": "b"}'),
        (200, b"\xff\xfe"),
        (200, b"[" * 5000),
        (200, b" " * 300_000),
        (404, {}),
        (500, {}),
        (302, {}),
    ],
    ids=str,
)
async def test_what_is_no_document_is_refused(discovery, mock, answer):
    mock.answers["/.well-known/openid-configuration"] = lambda: answer
    with pytest.raises(MainstayError):
        await discovery.metadata(mock.issuer)
    assert mock.requests == ["GET /.well-known/openid-configuration"]


async def test_an_endpoint_without_https_of_an_issuer_with_it_is_refused(discovery, mock):
    issuer = "https://login.example.com"
    mock.metadata["issuer"] = issuer

    async def fetch(url):
        return mock.metadata

    discovery._fetch = fetch
    with pytest.raises(MainstayError, match="without https"):
        await discovery.fetch_metadata(issuer)


async def test_a_provider_on_a_private_address_is_not_asked(clock, mock):
    with pytest.raises(ForbiddenAddressError):
        await Discovery(Outbound(), clock).metadata(mock.issuer)
    assert mock.requests == []


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example.com",
        "https://login.example.com/?tenant=1",
        "https://login.example.com/#x",
        "https://user:password@login.example.com",
        "ftp://login.example.com",
        "login.example.com",
        "",
        "https://" + "x" * 3000,
        "https://login.example.com\\@127.0.0.1/",
        "https://login.example.com/\r\nx",
    ],
)
def test_what_cannot_be_an_issuer_is_refused(issuer):
    with pytest.raises(InvalidRequestError):
        checked_issuer(issuer)


@pytest.mark.parametrize("issuer", ["https://login.example.com/tenant/v2.0", "http://localhost:8080", "http://[::1]:1"])
def test_an_issuer_is_kept_as_it_is_written(issuer):
    assert checked_issuer(issuer) == issuer


def test_keys_that_may_not_sign_are_left_out():
    good = [Signer("r").public(), Signer("e", "EC", "P-256").public(), Signer("o", "OKP", "Ed25519").public()]
    with pytest.warns(SecurityWarning):
        small = Signer("small", "RSA", 1024).public()
    bad = [
        small,
        Signer("k", "EC", "secp256k1").public(),
        good[0] | {"use": "enc"},
        good[0] | {"alg": "RS1"},
        good[0] | {"alg": ["RS256"]},
        good[0] | {"kid": 1},
        good[0] | {"n": "!"},
        good[0] | {"n": None},
        good[1] | {"x": good[1]["y"]},
        good[1] | {"crv": ["P-256"]},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA"},
        {},
        "key",
        None,
    ]
    found = read_keys({"keys": [*bad, *good]})
    assert [key.kid for key in found] == ["r", "e", "o"]
    assert [sorted(key.algorithms)[0] for key in found] == ["PS256", "ES256", "Ed25519"]


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [{}] * 101}])
def test_what_is_no_set_of_keys_is_refused(document):
    with pytest.raises(ValueError, match="keys"):
        read_keys(document)


def test_a_private_key_that_was_published_is_not_kept():
    signer = Signer("r")
    (key,) = read_keys({"keys": [signer.public() | signer.key.as_dict(private=True)]})
    assert "d" not in key.key.as_dict()


async def test_documents_are_fetched_once_by_all_and_again_after_an_hour(discovery, clock, mock):
    await asyncio.gather(*(discovery.metadata(mock.issuer) for _ in range(20)))
    assert len(mock.requests) == 1
    clock.now += 3601
    await asyncio.gather(*(discovery.metadata(mock.issuer) for _ in range(20)))
    assert len(mock.requests) == 2


async def test_a_copy_is_used_for_a_day_and_the_provider_not_pestered():
    clock, asked, fails = StandingClock(), [], []

    async def fetch(url):
        asked.append(url)
        if fails:
            raise MainstayError("down")
        return len(asked)

    remembered = Remembered(fetch, clock)
    assert await remembered.get("a") == 1
    fails.append(True)
    clock.now += 3600
    for _ in range(10):
        assert await remembered.get("a") == 1
        assert await remembered.renew("a") == 1
    assert len(asked) == 2
    clock.now += 30
    assert await remembered.get("a") == 1
    assert len(asked) == 3
    clock.now += KEPT_SECONDS
    with pytest.raises(MainstayError, match="down"):
        await remembered.get("a")
    fails.clear()
    with pytest.raises(MainstayError, match="down"):
        await remembered.get("a")
    clock.now += 30
    assert await remembered.get("a") == 5


async def test_a_test_of_a_provider_says_what_is_wrong(house, mock):
    provider = await house.add_provider(mock.issuer)
    found = {one.name: one for one in await check(house.discovery, provider)}
    assert all(one.is_ok for one in found.values())
    assert "1 keys, for PS256" in found["keys"].message
    mock.keys.clear()
    (wrong,) = [one for one in await check(house.discovery, provider) if not one.is_ok]
    assert wrong.name == "keys"
    mock.metadata["issuer"] = "https://evil.example"
    (wrong,) = await check(house.discovery, provider)
    assert "evil.example" in wrong.message
    assert json.dumps(wrong.message)

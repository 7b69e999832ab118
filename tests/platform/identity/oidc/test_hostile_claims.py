"""Whatever JSON a token or a provider holds: it is accepted or refused, and nothing else happens."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.platform.identity.oidc.mock_provider import encoded

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.oidc.claims import (
    audiences_of,
    require_access_token,
    require_id_token,
    require_issuer,
    require_time,
    subject_of,
    words_of,
)
from mainstay.platform.identity.oidc.entra import application_of
from mainstay.platform.identity.oidc.person import person_of
from mainstay.platform.identity.oidc.settings import ProviderSettings
from mainstay.platform.identity.oidc.signatures import ALGORITHMS, Unverified, read_keys, take_apart

NAMES = [
    *("iss", "sub", "aud", "exp", "nbf", "iat", "azp", "appid", "client_id", "nonce", "oid", "idtyp", "scp", "scope"),
    *("email", "email_verified", "xms_edov", "name", "groups", "roles", "hasgroups", "_claim_names", "cnf"),
]
TEXT = st.text(max_size=20) | st.sampled_from(["a", "b@c.d"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
CLAIMS = st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=12)
HEADER = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "b64"]), ANYTHING, max_size=6)
JWK = st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "use", "alg", "kid", "k"]), ANYTHING)
KINDS = st.sampled_from(["RSA", "EC", "OKP", "oct"])


@settings(max_examples=300, deadline=None)
@given(CLAIMS)
def test_claims_are_read_or_refused(claims):
    token = Unverified("", "RS256", None, "jwt", claims)
    provider = ProviderSettings(group_claim="groups")
    for read in (
        lambda: require_time(claims, 1_800_000_000.0),
        lambda: require_issuer(claims, {"a"}),
        lambda: require_id_token(token, client_id="a", nonce="a"),
        lambda: require_access_token(token),
        lambda: (subject_of(claims), audiences_of(claims), words_of(claims, "scp", "roles"), application_of(claims)),
        lambda: person_of(claims, provider),
    ):
        try:
            read()
        except MainstayError as error:
            assert error.status < 500
            assert "\n" not in error.message


@settings(max_examples=300, deadline=None)
@given(HEADER, ANYTHING)
def test_tokens_are_taken_apart_or_refused(header, payload):
    token = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(payload).encode())}.{encoded(b'x')}"
    try:
        taken = take_apart(token.encode())
    except MainstayError as error:
        assert error.status == 401
    else:
        assert isinstance(taken.claims, dict)
        assert taken.algorithm in ALGORITHMS


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_are_refused(token):
    with pytest.raises(MainstayError):
        take_apart(token)


@settings(max_examples=300, deadline=None)
@given(st.lists(JWK | ANYTHING, max_size=4), KINDS)
def test_keys_are_read_or_left_out(keys, kind):
    keys = [key | {"kty": kind} if isinstance(key, dict) else key for key in keys]
    assert read_keys({"keys": keys}) == ()

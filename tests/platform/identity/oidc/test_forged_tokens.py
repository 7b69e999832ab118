"""Tokens that somebody made up, changed, or got for something else: none is accepted, none reaches the database."""

import base64
import hashlib
import hmac
import json

import pytest
from tests.platform.identity.oidc.house import HERE, build_house
from tests.platform.identity.oidc.mock_provider import CLIENT, SUBJECT, Signer, providing

from mainstay.kit.errors import MainstayError, UnauthenticatedError
from mainstay.testing.clock import StandingClock

AUDIENCE = "api://mainstay"


def _part(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _pem(key) -> bytes:
    return key.as_pem(private=False)


class Forger:
    """Knows all that is public, a good token, and keys of its own."""

    def __init__(self, mock, stranger: Signer, other: dict[str, Signer]) -> None:
        self.mock = mock
        self.stranger = stranger
        self.other = other
        self.header = {"alg": "RS256", "kid": "first", "typ": "at+jwt"}
        self.claims = mock.standard_claims(aud=AUDIENCE, scope="chat", client_id=CLIENT)
        self.good = mock.signer.sign(self.claims, typ="at+jwt")

    def changed(self, **claims) -> str:
        """A token that the provider has signed, with other claims."""
        wanted = {name: value for name, value in (self.claims | claims).items() if value is not None}
        return self.mock.signer.sign(wanted, typ="at+jwt")

    def headed(self, **header) -> str:
        """A token that the provider has signed, with another header."""
        return self.mock.signer.sign(self.claims, **({"typ": "at+jwt"} | header))

    def text(self, payload: str) -> str:
        return self.mock.signer.sign_text(payload, self.header)

    def own(self, **header) -> str:
        """A token that the forger has signed."""
        return self.stranger.sign(self.claims, **({"typ": "at+jwt"} | header))

    def hmac(self, secret: bytes, algorithm: str = "HS256", **header) -> str:
        head = _part(self.header | {"alg": algorithm} | header)
        signed = f"{head}.{_part(self.claims)}"
        digest = hmac.digest(secret, signed.encode(), "sha" + algorithm[2:])
        return f"{signed}.{_part(digest)}"

    def spliced(self, *, header=None, claims=None, signature=None) -> str:
        """The good token with a part exchanged."""
        parts = self.good.split(".")
        for place, part in enumerate((header, claims, signature)):
            if part is not None:
                parts[place] = part
        return ".".join(parts)


def _x5c(forger: Forger) -> list[str]:
    return [base64.b64encode(forger.stranger.key.as_der(private=False)).decode()]


FORGED = {
    # algorithms
    "none": lambda f: f"{_part(f.header | {'alg': 'none'})}.{_part(f.claims)}.",
    "none with a signature": lambda f: f.spliced(header=_part(f.header | {"alg": "none"})),
    "None, NONE, nOnE": lambda f: f.spliced(header=_part(f.header | {"alg": "nOnE"})),
    "no algorithm": lambda f: f.spliced(header=_part({"kid": "first"})),
    "algorithm as a list": lambda f: f.spliced(header=_part(f.header | {"alg": ["RS256"]})),
    "HS256 with the public key in PEM": lambda f: f.hmac(_pem(f.mock.signer.key)),
    "HS256 with the public key in DER": lambda f: f.hmac(f.mock.signer.key.as_der(private=False)),
    "HS512 with the modulus": lambda f: f.hmac(f.mock.signer.public()["n"].encode(), "HS512"),
    "HS256 with nothing": lambda f: f.hmac(b""),
    "HS256 with the client secret": lambda f: f.hmac(b"a secret: with % and \xc3\xbc"),
    "RS256 said to be PS256": lambda f: f.spliced(header=_part(f.header | {"alg": "PS256"})),
    "RS256 said to be ES256": lambda f: f.spliced(header=_part(f.header | {"alg": "ES256"})),
    "ES256 with a signature of zeros": lambda f: f.spliced(
        header=_part(f.header | {"alg": "ES256", "kid": "curve"}), signature=_part(bytes(64))
    ),
    "ES256 with r = s = 1": lambda f: f.spliced(
        header=_part(f.header | {"alg": "ES256", "kid": "curve"}), signature=_part((bytes(31) + b"\x01") * 2)
    ),
    "an encrypted token": lambda f: ".".join([_part({"alg": "RSA-OAEP", "enc": "A128GCM"}), "a", "b", "c", "d"]),
    # keys
    "a key of one's own under the provider's id": lambda f: f.own(),
    "a key of one's own in jwk": lambda f: f.own(jwk=f.stranger.public()),
    "a key of one's own in jwk, without an id": lambda f: f.own(jwk=f.stranger.public(), kid=None),
    "a key of one's own at jku": lambda f: f.own(jku=f"{f.mock.issuer}/evil-keys"),
    "a key of one's own at x5u": lambda f: f.own(x5u=f"{f.mock.issuer}/evil-certificate"),
    "a key of one's own in x5c": lambda f: f.own(x5c=_x5c(f)),
    "a key id that is a path": lambda f: f.hmac(b"", kid="../../../../dev/null"),
    "a key id that is SQL": lambda f: f.own(kid="x' UNION SELECT 'secret' --"),
    "a key id that is a command": lambda f: f.own(kid="| touch /tmp/owned"),
    "a key id that is a number": lambda f: f.own(kid=1),
    "a key id that is huge": lambda f: f.own(kid="k" * 5000),
    "an unknown key id": lambda f: f.own(kid="second"),
    "no key id where there are several keys": lambda f: f.headed(kid=None),
    "crit": lambda f: f.headed(crit=["exp"]),
    "an unencoded payload": lambda f: f.spliced(header=_part(f.header | {"b64": False, "crit": ["b64"]})),
    # signatures
    "no signature": lambda f: f.good.rpartition(".")[0] + ".",
    "two parts": lambda f: f.good.rpartition(".")[0],
    "the signature of another token": lambda f: f.spliced(signature=f.changed(sub="x").rpartition(".")[2]),
    "another payload": lambda f: f.spliced(claims=_part(f.claims | {"sub": "boss"})),
    "a cut signature": lambda f: f.good[:-4],
    "a signature with a changed last letter": lambda f: f.good[:-1] + ("B" if f.good[-1] != "B" else "A"),
    "a signature with padding": lambda f: f.good + "==",
    "a payload with white space in it": lambda f: f.spliced(claims=f.good.split(".")[1] + "\n"),
    # time
    "expired": lambda f: f.changed(exp=f.mock.now() - 61),
    "no expiry": lambda f: f.changed(exp=None),
    "expiry as text": lambda f: f.changed(exp="9999999999"),
    "expiry at infinity": lambda f: f.text(json.dumps(f.claims | {"exp": float("inf")})),
    "expiry as a huge number": lambda f: f.text(json.dumps(f.claims).replace(str(f.claims["exp"]), "1e400")),
    "expiry as true": lambda f: f.changed(exp=True),
    "not good yet": lambda f: f.changed(nbf=f.mock.now() + 61),
    "issued in the future": lambda f: f.changed(iat=f.mock.now() + 3600),
    # issuer and audience
    "another issuer": lambda f: f.changed(iss="https://evil.example"),
    "the issuer with a slash": lambda f: f.changed(iss=f.mock.issuer + "/"),
    "the issuer in capitals": lambda f: f.changed(iss=f.mock.issuer.upper()),
    "the issuer as a list": lambda f: f.changed(iss=[f.mock.issuer]),
    "no issuer": lambda f: f.changed(iss=None),
    "another audience": lambda f: f.changed(aud="https://graph.microsoft.com"),
    "an audience that begins the same": lambda f: f.changed(aud=AUDIENCE + ".evil"),
    "an audience in one text": lambda f: f.changed(aud=f"other {AUDIENCE}"),
    "an audience as an object": lambda f: f.changed(aud={AUDIENCE: True}),
    "no audience": lambda f: f.changed(aud=None),
    # kinds of tokens
    "an ID token": lambda f: f.mock.signer.sign(f.claims | {"nonce": "n", "aud": [CLIENT, AUDIENCE]}),
    "an ID token for the API's own client": lambda f: f.mock.signer.sign(
        {name: value for name, value in f.claims.items() if name != "scope"}
    ),
    "a logout token": lambda f: f.headed(typ="logout+jwt"),
    "a proof of possession": lambda f: f.headed(typ="dpop+jwt"),
    "a token that is bound to a key": lambda f: f.changed(cnf={"jkt": "x"}),
    # the text itself
    "a claim twice": lambda f: f.text(json.dumps(f.claims)[:-1] + ', "sub": "boss"}'),
    "a claim twice, deep inside": lambda f: f.text(json.dumps(f.claims)[:-1] + ', "x": {"a": 1, "a": 2}}'),
    "NaN": lambda f: f.text(json.dumps(f.claims)[:-1] + ', "x": NaN}'),
    "a list": lambda f: f.text(json.dumps([f.claims])),
    "nested without end": lambda f: f.text(json.dumps(f.claims)[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}"),
    "no subject": lambda f: f.changed(sub=None),
    "an empty subject": lambda f: f.changed(sub=""),
    "a subject with NUL": lambda f: f.changed(sub="a\x00b"),
    "a huge token": lambda f: f.changed(x="y" * 20_000),
    "bytes that are no text": lambda f: f.spliced(claims=_part(b"\xff\xfe")),
}


class Watched:
    """A database that knows one user, and remembers being asked about any."""

    def __init__(self, database) -> None:
        self._database = database
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._database, name)

    async def fetch(self, sql, values=None):
        self.asked += "identities" in sql
        return await self._database.fetch(sql, values or {})

    def transaction(self):
        self.asked += 1
        return self._database.transaction()


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # one will do: what is refused asks none


@pytest.fixture
async def wired(database, signer):
    clock = StandingClock()
    async with providing(signer, clock.wall) as mock:
        curve = Signer("curve", "EC", "P-256")
        mock.keys.append(curve.public())
        mock.keys.append(Signer("third").public())
        house = await build_house(database, clock)
        provider = await house.add_provider(mock.issuer, api_tokens=_tokens())
        user_id = await house.add_user()
        async with database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO identities VALUES (:provider, :subject, :organisation, :user, 0, 0)",
                {"provider": provider.id, "subject": SUBJECT, "organisation": HERE, "user": user_id},
            )
        watched = Watched(database)
        house.tokens._database = watched
        yield house, mock, watched, user_id


def _tokens():
    from mainstay.platform.identity.oidc.settings import ApiTokens

    return ApiTokens(audiences=(AUDIENCE,))


async def test_none_of_the_forged_tokens_is_accepted_while_the_good_one_is(wired, stranger):
    house, mock, watched, user_id = wired
    forger = Forger(mock, stranger, {})
    assert len(FORGED) >= 40
    accepted, excuses = [], []
    for name, forge in FORGED.items():
        try:
            await house.tokens.verify(forge(forger).encode("utf-8"))
        except UnauthenticatedError as error:
            assert error.status == 401
            assert "Traceback" not in error.message
        except MainstayError as error:
            excuses.append((name, error.message))
        else:
            accepted.append(name)
    assert accepted == []
    assert excuses == []
    assert watched.asked == 0
    assert len(house.tokens) == 0
    assert not any("evil" in request for request in mock.requests)
    caller = await house.tokens.verify(forger.good.encode())
    assert caller.principal_id == user_id
    assert watched.asked == 1


async def test_many_unknown_key_ids_fetch_the_keys_once(wired, stranger):
    house, mock, _, _ = wired
    forger = Forger(mock, stranger, {})
    await house.tokens.verify(forger.good.encode())
    before = mock.requests.count("GET /keys")
    house.clock.now += 31
    for number in range(20):
        with pytest.raises(UnauthenticatedError):
            await house.tokens.verify(forger.own(kid=f"k{number}").encode())
    assert mock.requests.count("GET /keys") == before + 1


async def test_tokens_that_share_every_prefix_are_different_callers(wired):
    house, mock, _, _ = wired
    tokens = [
        mock.signer.sign(
            mock.standard_claims(aud=AUDIENCE, scope="chat", exp=mock.now() + 300 + number), typ="at+jwt"
        ).encode()
        for number in range(3)
    ]
    await house.tokens.verify(tokens[0])
    for token in tokens[1:]:
        assert house.tokens.find(token) is None
    for cut in range(1, len(tokens[0]), 7):
        assert house.tokens.find(tokens[0][:cut]) is None
        assert house.tokens.find(tokens[0] + b"A" * cut) is None
    assert hashlib.sha256(tokens[0]).digest() in house.tokens._known

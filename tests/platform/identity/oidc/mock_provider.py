"""An identity provider that does everything right, until a test tells it to do something wrong."""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwk, jws
from tests.kit.http.servers import read_request, serving

CLIENT = "mainstay"
SECRET = "a secret: with % and ü"
SUBJECT = "subject-1"

Answer = tuple[int, Any]


def encoded(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """A private key and what is published of it."""

    def __init__(self, kid: str = "first", kind: str = "RSA", size: Any = 2048) -> None:
        self.kid = kid
        self.algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[kind]
        self.key = jwk.generate_key(kind, size)  # type: ignore[arg-type]

    def public(self) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig"}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} | header
        return self.sign_text(json.dumps(claims), {name: value for name, value in head.items() if value is not None})

    def sign_text(self, payload: str, header: dict[str, Any]) -> str:
        """Sign any text under any header, which a library would refuse to."""
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(payload.encode())}"
        signature = jws.JWSRegistry.algorithms[header["alg"]].sign(signed.encode(), self.key)
        return f"{signed}.{encoded(signature)}"


class MockProvider:
    """Its parts are attributes that tests replace."""

    def __init__(self, issuer: str, signer: Signer, now: Callable[[], float]) -> None:
        self.issuer = issuer
        self.signer = signer
        self.now = now
        self.keys = [signer.public()]
        self.person: dict[str, Any] = {"email": "ann@example.com", "email_verified": True, "name": "Ann"}
        self.metadata: dict[str, Any] = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize?tenant=1",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.codes: dict[str, dict[str, str]] = {}
        self._numbers = count()
        self.requests: list[str] = []
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.id_token: Callable[[dict[str, Any]], str] = self.signer.sign
        self.userinfo: dict[str, Any] = {"sub": SUBJECT}

    def authorize(self, url: str) -> dict[str, str]:
        """Sign the person in who was sent to `url`; return what the browser is sent back with."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        asked = dict(parse_qsl(parts.query))
        assert asked["tenant"] == "1"
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        code = f"code-{next(self._numbers)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def standard_claims(self, **more: Any) -> dict[str, Any]:
        now = int(self.now())
        return {"iss": self.issuer, "sub": SUBJECT, "iat": now, "exp": now + 300} | more

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.requests.append(f"{method} {target}")
            status, value = self._answer(target, head.decode("latin-1"), body)
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            more = f"location: {self.issuer}/elsewhere\r\n" if 300 <= status < 400 else ""
            writer.write(
                f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len(text)}\r\n\r\n"
                "".encode()
                + text
            )
            await writer.drain()

    def _answer(self, target: str, head: str, body: bytes) -> Answer:
        if target in self.answers:
            return self.answers[target]()
        if target == "/.well-known/openid-configuration":
            return 200, self.metadata
        if target == "/keys":
            return 200, {"keys": self.keys}
        if target == "/userinfo":
            assert "authorization: bearer access-1" in head.lower()
            return 200, self.userinfo
        assert target == "/token", target
        return self._redeem(head, dict(parse_qsl(body.decode())))

    def _redeem(self, head: str, form: dict[str, str]) -> Answer:
        given = base64.b64encode(b"mainstay:a+secret%3A+with+%25+and+%C3%BC").decode()
        if f"authorization: basic {given}".lower() not in head.lower():
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        if asked is None:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        assert asked["code_challenge_method"] == "S256"
        if challenge.rstrip(b"=").decode() != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        claims = self.standard_claims(aud=CLIENT, nonce=asked["nonce"], **self.person)
        id_token = self.id_token(self.claims(claims))
        return 200, {"id_token": id_token, "access_token": "access-1", "token_type": "Bearer", "expires_in": 300}


@contextlib.asynccontextmanager
async def providing(signer: Signer, now: Callable[[], float]) -> AsyncIterator[MockProvider]:
    """Run a provider on a free port."""
    found: list[MockProvider] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await found[0].handle(reader, writer)

    async with serving(handle) as origin:
        found.append(MockProvider(f"http://{origin.host}:{origin.port}", signer, now))
        yield found[0]

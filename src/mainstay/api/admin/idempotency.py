"""POST with an `Idempotency-Key`: what was carried out is answered again, not carried out again.

The key is claimed in the transaction of the act itself (`identity/acts.py`), so a crash leaves both or neither. The
response is kept, sealed, for a day; if it was lost in a crash, the repeated request is told what was made.
"""

import hmac

from mainstay.api.admin.requests import idempotency_key, request_digest
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Handler
from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Value
from mainstay.kit.errors import ConflictError
from mainstay.kit.sealing import Sealer

KEPT_SECONDS = 86_400
_PURPOSE = "idempotency_keys.response"
_WHERE = "organisation_id = :organisation_id AND caller_id = :caller_id AND key = :key"


class Idempotency:
    """Remembers what was carried out."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    def of(self, handler: Handler) -> Handler:
        """Return the handler, made to carry a request with the same key out once."""

        async def handle(exchange: Exchange) -> None:
            given = exchange.headers.get(b"idempotency-key")
            if given is None:
                await handler(exchange)
                return
            caller = exchange.caller
            claim: dict[str, Value] = {
                "organisation_id": caller.organisation_id,
                "caller_id": caller.principal_id or caller.key_id,
                "key": idempotency_key(given),
            }
            await exchange.keep_body()
            if await self._answer_again(exchange, claim):
                return
            exchange.keeps_response = True
            await handler(exchange)
            await self._keep(exchange, claim)

        return handle

    async def _answer_again(self, exchange: Exchange, claim: dict[str, Value]) -> bool:
        rows = await self._database.fetch(
            f"SELECT request_digest, target_id, status, response FROM idempotency_keys WHERE {_WHERE} "  # noqa: S608 - constants only
            "AND created_at_ms > :since",
            claim | {"since": self._now_ms() - KEPT_SECONDS * 1000},
        )
        if not rows:
            await self._forget_old()
            return False
        digest, target_id, status, response = rows[0]
        if not hmac.compare_digest(bytes(digest), request_digest(exchange)):
            raise ConflictError("This Idempotency-Key was used for another request; use a new one.", status=422)
        if response is None:
            raise ConflictError(
                f"This request was carried out and made '{target_id}', but its answer was lost; look at that instead."
            )
        organisation_id = exchange.caller.organisation_id
        body = await self._sealer.open(organisation_id, bytes(response), purpose=_PURPOSE)
        await exchange.respond(int(status), body, [(b"idempotent-replayed", b"true")])
        return True

    async def _keep(self, exchange: Exchange, claim: dict[str, Value]) -> None:
        organisation_id = exchange.caller.organisation_id
        sealed = await self._sealer.seal(organisation_id, exchange.response, purpose=_PURPOSE)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                f"UPDATE idempotency_keys SET status = :status, response = :response WHERE {_WHERE}",  # noqa: S608 - constants only
                claim | {"status": exchange.status, "response": sealed},
            )

    async def _forget_old(self) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM idempotency_keys WHERE created_at_ms <= :until",
                {"until": self._now_ms() - KEPT_SECONDS * 1000},
            )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

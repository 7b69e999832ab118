"""One call, top to bottom: resolve, reserve, answer, settle.

The three operations share this path; what differs between them is in `requests` (what a body must hold) and in
the targets. Nothing here waits on a database: the caller, the deployment and the limits are in memory, and the
account of the call leaves through the journal.
"""

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mainstay.inference import Answer, InferenceError, Operation, Request, Stream
from mainstay.platform.gateway.router import Deployment, Router, unknown_deployment
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.allotments import Allotments
from mainstay.platform.metering.limiter import Limiter, Remaining
from mainstay.serving.account import Account, Accounts
from mainstay.serving.requests import estimate_tokens, read_request

_PROMPTS = logging.getLogger("mainstay.prompts")


@dataclass(slots=True)
class Incoming:
    """A call as it came in: who asks what.

    `deployment` is the name from the URL, where the dialect puts it there.
    """

    operation: Operation
    caller: Caller
    body: bytes
    request_id: str
    deployment: str | None = None


@dataclass(slots=True)
class Call:
    """A call that is understood: which deployment is to answer what. `name` is what the caller calls it."""

    caller: Caller
    deployment: Deployment
    request: Request
    name: str


@dataclass(slots=True)
class ServedAnswer:
    """A whole answer, already written down in the account."""

    answer: Answer
    remaining: Remaining


class ServedStream:
    """An open answer. Own it: leaving `async with` closes the target and settles the call, however it ended.

    The account is closed before `batches` ends, so that the last byte is never sent for a call that is not
    written down.
    """

    __slots__ = ("_account", "_stream")

    def __init__(self, stream: Stream, account: Account) -> None:
        self._stream = stream
        self._account = account

    @property
    def remaining(self) -> Remaining:
        """What is left of the caller's limits."""
        return self._account.remaining()

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """Yield each non-empty list of raw chunks. Raises InferenceError when the target cuts the answer."""
        account = self._account
        try:
            async for batch in self._stream:
                account.count_chunks(len(batch))
                yield batch
        except InferenceError as error:
            account.fail(error)
            raise
        account.finish(self._stream.usage, self._stream.model)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._account.abandon(error)  # of no effect on a call that has ended
        await self._stream.aclose()


class Calls:
    """Serves model calls."""

    def __init__(
        self, router: Router, limiter: Limiter, accounts: Accounts, *, allotments: Allotments, authority: Authority
    ) -> None:
        self.log_prompts = False
        """Whether request bodies are logged, of organisations that let them; they may hold personal data."""
        self._router = router
        self._limiter = limiter
        self._accounts = accounts
        self._allotments = allotments
        self._authority = authority

    def read(self, incoming: Incoming) -> Call:
        """Read the body and resolve the deployment. Raises InvalidRequestError and NotFoundError."""
        name, request = read_request(
            incoming.operation, incoming.body, request_id=incoming.request_id, deployment=incoming.deployment
        )
        if self.log_prompts and self._authority.may_log_prompts(incoming.caller):
            body = incoming.body.decode("utf-8", "replace")
            _PROMPTS.info("prompt", extra={"request_id": incoming.request_id, "deployment": name, "body": body})
        if not self._authority.may_use(incoming.caller, name):
            # The same answer as for a name that does not exist: nobody can probe for what he may not use.
            raise unknown_deployment(name)
        return Call(incoming.caller, self._router.resolve(name, incoming.caller.organisation_id), request, name)

    async def answer(self, call: Call) -> ServedAnswer:
        """Answer in one piece."""
        account = self._open(call)
        try:
            answer = await call.deployment.answer(call.request)
        except BaseException as error:
            account.abandon(error)
            raise
        account.count_answer(len(answer.body))
        account.finish(answer.usage, answer.model)
        return ServedAnswer(answer, account.remaining())

    async def stream(self, call: Call) -> ServedStream:
        """Return once the target has accepted the call."""
        account = self._open(call)
        try:
            stream = await call.deployment.stream(call.request)
        except BaseException as error:
            account.abandon(error)
            raise
        return ServedStream(stream, account)

    def _open(self, call: Call) -> Account:
        prompt, completion = estimate_tokens(call.request)
        allotment = self._allotments.of(call.caller)
        price = call.deployment.price
        if price is None or not allotment.scopes:
            reservation = self._limiter.reserve(allotment.scopes, tokens=prompt + completion)
        else:
            cost_nano = price.cost_nano(prompt_tokens=prompt, cached_tokens=0, completion_tokens=completion)
            reservation = self._limiter.reserve(
                allotment.scopes, tokens=prompt + completion, cost_nano=cost_nano, currency=price.currency
            )
        return self._accounts.open(
            call.caller, call.deployment, call.request, reservation=reservation, group_ids=allotment.group_ids
        )

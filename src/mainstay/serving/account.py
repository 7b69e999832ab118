"""The account of a call: written down when it starts and when it ends, exactly once each.

Start goes to the journal before the target is asked, end before the caller's last byte. What the target did not
tell (a cut answer has no usage) is estimated and marked so.
"""

from mainstay.inference import InferenceError, Operation, Request, Usage
from mainstay.kit.clock import Clock
from mainstay.kit.errors import MainstayError
from mainstay.platform.gateway.router import Deployment
from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.journal import CallEnd, CallStart, Journal, Outcome
from mainstay.platform.metering.limiter import Remaining, Reservation
from mainstay.platform.metering.prices import Price
from mainstay.serving.measures import Measures

_BYTES_PER_TOKEN = 4
CLIENT_CLOSED_REQUEST = 499
"""Status of a call whose caller went away before the end (nginx's number; it is never sent)."""


class Accounts:
    """Opens accounts."""

    def __init__(self, journal: Journal, measures: Measures, clock: Clock) -> None:
        self._journal = journal
        self._measures = measures
        self._clock = clock

    def open(
        self,
        caller: Caller,
        deployment: Deployment,
        request: Request,
        *,
        reservation: Reservation,
        group_ids: tuple[str, ...] = (),
    ) -> "Account":
        """Write the start down. Raises UnavailableError, with nothing reserved, when it cannot be written.

        `group_ids` are the groups that the call counts for.
        """
        target = deployment.target
        start = CallStart(
            call_id="call_" + request.request_id.removeprefix("req_"),
            request_id=request.request_id,
            organisation_id=caller.organisation_id,
            project_id=caller.project_id,
            key_id=caller.key_id,
            operation=request.operation,
            deployment=deployment.name,
            provider=target.provider,
            model=target.model_name,
            is_stream=request.is_stream,
            started_at=self._clock.wall(),
            principal_id=caller.principal_id,
            group_ids=group_ids,
        )
        try:
            self._journal.start(start)
        except MainstayError:
            reservation.release()
            raise
        self._measures.started(start)
        return Account(self, start, reservation, price=deployment.price, prompt_bytes=len(request.body))

    def monotonic(self) -> float:
        """The clock that durations are measured with."""
        return self._clock.monotonic()

    def close(self, account: "Account", end: CallEnd) -> None:
        """Write the end down."""
        self._journal.end(end)
        self._measures.ended(account.start, end)

    def wall(self) -> float:
        """The clock that times are written down with."""
        return self._clock.wall()


class Account:
    """One call between its start and its end. Only the first of `finish`, `fail` and `abandon` counts."""

    __slots__ = (
        "_accounts",
        "_answer_bytes",
        "_began",
        "_chunks",
        "_first_token",
        "_is_open",
        "_last_token",
        "_price",
        "_prompt_bytes",
        "_reservation",
        "start",
    )

    def __init__(
        self,
        accounts: Accounts,
        start: CallStart,
        reservation: Reservation,
        *,
        price: Price | None,
        prompt_bytes: int,
    ) -> None:
        self.start = start
        self._accounts = accounts
        self._reservation = reservation
        self._price = price
        self._prompt_bytes = prompt_bytes
        self._began = accounts.monotonic()
        self._first_token: float | None = None
        self._last_token: float | None = None
        self._chunks = 0
        self._answer_bytes = 0
        self._is_open = True

    def remaining(self) -> Remaining:
        """What is left of the caller's limits."""
        return self._reservation.remaining()

    def count_chunks(self, count: int) -> None:
        """Note that `count` chunks of the answer have arrived just now."""
        now = self._accounts.monotonic()
        if self._first_token is None:
            self._first_token = now
        self._last_token = now
        self._chunks += count

    def count_answer(self, size_bytes: int) -> None:
        """Note the size of an answer that came in one piece."""
        self._answer_bytes = size_bytes

    def finish(self, usage: Usage | None, model: str | None) -> None:
        """The target has answered in full."""
        self._close(200, Outcome.OK, usage=usage, model=model)

    def fail(self, error: MainstayError) -> None:
        """The target, or we, could not answer."""
        failure = error.failure.value if isinstance(error, InferenceError) else error.code
        self._close(error.status, Outcome.ERROR, failure=failure)

    def abandon(self, error: BaseException | None) -> None:
        """The call ended for another reason: an error of whatever kind, or, without one, the caller has gone away."""
        if isinstance(error, MainstayError):
            self.fail(error)
        elif isinstance(error, Exception):
            self._close(500, Outcome.ERROR, failure=type(error).__name__)
        else:
            self._close(CLIENT_CLOSED_REQUEST, Outcome.CANCELLED)

    def _close(
        self,
        status: int,
        outcome: Outcome,
        *,
        usage: Usage | None = None,
        model: str | None = None,
        failure: str | None = None,
    ) -> None:
        if not self._is_open:
            return
        self._is_open = False
        is_estimated = usage is None
        counted = usage or self._estimated_usage(outcome)
        cost_nano = self._cost_nano(counted)
        self._reservation.settle(counted.prompt_tokens + counted.completion_tokens, cost_nano or 0)
        end = CallEnd(
            call_id=self.start.call_id,
            ended_at=self._accounts.wall(),
            status=status,
            outcome=outcome,
            failure=failure,
            duration_ms=self._since_start(self._accounts.monotonic()) or 0.0,
            first_token_ms=self._since_start(self._first_token),
            last_token_ms=self._since_start(self._last_token),
            prompt_tokens=counted.prompt_tokens,
            completion_tokens=counted.completion_tokens,
            cached_tokens=counted.cached_tokens,
            reasoning_tokens=counted.reasoning_tokens,
            tokens_are_estimated=is_estimated,
            cost_nano=cost_nano,
            currency="" if self._price is None else self._price.currency,
            model=model or self.start.model,
        )
        self._accounts.close(self, end)

    def _estimated_usage(self, outcome: Outcome) -> Usage:
        if outcome is Outcome.ERROR and not self._chunks:
            return Usage()
        prompt = self._prompt_bytes // _BYTES_PER_TOKEN + 1
        answer = self._chunks or self._answer_bytes // _BYTES_PER_TOKEN
        completion = 0 if self.start.operation == Operation.EMBEDDINGS else answer
        return Usage(prompt_tokens=prompt, completion_tokens=completion)

    def _cost_nano(self, usage: Usage) -> int | None:
        if self._price is None:
            return None
        return self._price.cost_nano(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else round((moment - self._began) * 1000, 3)

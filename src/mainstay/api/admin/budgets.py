"""`/admin/v1/budgets`: tokens and money per day or month, and how much of them is used."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.limits import SCOPE_FILTERS, scope_asked
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.pages import Page
from mainstay.platform.identity.actions import Action
from mainstay.platform.metering.allotments import Allotments
from mainstay.platform.metering.budget_store import AMOUNT_MAX, BudgetAction, Budgets, BudgetUse, Terms
from mainstay.platform.metering.periods import Period, next_first_day, seconds_of
from mainstay.platform.metering.prices import NANO
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType

_PATH = "/admin/v1/budgets"
_ONE = _PATH + "/{budget}"
_OWN = _PATH + "/own"
_OF_PROJECT = "/admin/v1/projects/{project}/budgets"
_PAGE = ("limit", "after", "order")


class BudgetBody(Body, frozen=True, kw_only=True):
    """A budget of tokens, of money, or both, for all that a scope does together in each period (UTC)."""

    scope: ScopeRef
    period: Period
    tokens: int | None = None
    cost: float | None = None
    currency: str | None = None
    action: BudgetAction = "block"
    warn_at_percent: int = 80


class BudgetPatch(Patch, frozen=True, kw_only=True):
    """What of a budget shall be otherwise; null takes a limit away."""

    tokens: int | UnsetType | None = UNSET
    cost: float | UnsetType | None = UNSET
    currency: str | UnsetType | None = UNSET
    action: BudgetAction | UnsetType = UNSET
    warn_at_percent: int | UnsetType = UNSET


class BudgetObject(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and what is used of it in the present period; calls of the last second or two may be missing."""

    id: str
    object: Literal["budget"] = "budget"
    scope: ScopeRef
    period: Period
    tokens: int | None
    cost: float | None
    currency: str | None
    action: BudgetAction
    warn_at_percent: int
    used_tokens: int
    used_cost: float | None
    """In the budget's currency; null if it has none."""
    remaining_tokens: int | None
    remaining_cost: float | None
    other_currencies: list[str]
    """In which the scope has spent too in this period: a budget of money does not count them."""
    period_started_at: int
    resets_at: int
    created_at: int
    version: int


class BudgetRoutes:
    """Administration of budgets."""

    def __init__(self, budgets: Budgets, allotments: Allotments, idempotency: Idempotency) -> None:
        self._budgets = budgets
        self._allotments = allotments
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        for path, action, handler, summary, project, names in (
            (_PATH, Action.READ_LIMITS, self._list, "The budgets, of one scope or all.", "", (*_PAGE, *SCOPE_FILTERS)),
            (_OWN, Action.SELF, self._list_own, "The budgets that your own calls count against.", "", ()),
            (_OF_PROJECT, Action.READ_LIMITS, self._list_of_project, "The budgets of a project.", "project", _PAGE),
        ):
            yield Route(
                method="GET",
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                response=ListOf[BudgetObject],
                project=project,
                query=names,
            )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_LIMITS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Give a scope a budget for each day or month.",
            request=BudgetBody,
            response=BudgetObject,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_LIMITS, self._show, "One budget and what is used of it.", None, BudgetObject),
            ("PATCH", Action.WRITE_LIMITS, self._update, "Change a budget.", BudgetPatch, BudgetObject),
            ("DELETE", Action.WRITE_LIMITS, self._delete, "Take a budget away.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=_ONE,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, *SCOPE_FILTERS)
        scope_type, scope_id = scope_asked(asked)
        found = await self._budgets.list(
            exchange.caller.organisation_id, page, scope_type=scope_type, scope_id=scope_id
        )
        await show_page(exchange, found, _shown)

    async def _list_own(self, exchange: Exchange) -> None:
        query(exchange)
        caller = exchange.caller
        ids = [budget.id for scope in self._allotments.of(caller).scopes for budget in scope.budgets]
        found = await self._budgets.of_ids(caller.organisation_id, ids)
        await show_page(exchange, Page(list(found), has_more=False), _shown)

    async def _list_of_project(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        found = await self._budgets.list(
            exchange.caller.organisation_id,
            page,
            scope_type=ScopeType.PROJECT,
            scope_id=exchange.parameters["project"],
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, BudgetBody)
        terms = Terms(
            tokens=body.tokens,
            cost_nano=_nano(body.cost),
            currency=body.currency,
            action=body.action,
            warn_at_percent=body.warn_at_percent,
        )
        budget = await self._budgets.create(
            act_of(exchange), exchange.caller.organisation_id, body.scope, period=body.period, terms=terms
        )
        await show(exchange, _shown(await self._budgets.use_of(budget)), version=budget.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        found = await self._budgets.get(exchange.caller.organisation_id, exchange.parameters["budget"])
        await show(exchange, _shown(found), version=found.budget.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, BudgetPatch)
        changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
        if "cost" in changes:
            changes["cost_nano"] = _nano(changes.pop("cost"))
            if changes["cost_nano"] is None:
                changes.setdefault("currency", None)
        budget = await self._budgets.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["budget"],
            changes=changes,
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(await self._budgets.use_of(budget)), version=budget.version)

    async def _delete(self, exchange: Exchange) -> None:
        budget = await self._budgets.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["budget"],
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=budget.id, object="budget"))


def _nano(cost: float | None) -> int | None:
    if cost is None:
        return None
    if not 0 <= cost <= AMOUNT_MAX / NANO:
        raise InvalidRequestError(f"'cost' must be between 0 and {AMOUNT_MAX // NANO}.", param="cost")
    return round(cost * NANO)


def _shown(use: BudgetUse) -> BudgetObject:
    budget, spent, terms = use.budget, use.spent, use.budget.terms
    cost = terms.cost_nano
    return BudgetObject(
        id=budget.id,
        scope=budget.scope,
        period=budget.period,
        tokens=terms.tokens,
        cost=None if cost is None else cost / NANO,
        currency=terms.currency,
        action=terms.action,
        warn_at_percent=terms.warn_at_percent,
        used_tokens=spent.tokens,
        used_cost=None if cost is None else spent.cost_nano / NANO,
        remaining_tokens=None if terms.tokens is None else max(0, terms.tokens - spent.tokens),
        remaining_cost=None if cost is None else max(0, cost - spent.cost_nano) / NANO,
        other_currencies=list(use.other_currencies),
        period_started_at=seconds_of(spent.first_day),
        resets_at=seconds_of(next_first_day(budget.period, spent.first_day)),
        created_at=seconds(budget.created_at_ms),
        version=budget.version,
    )

"""`/admin/v1/policies`: what is set where, what is known, and what is in force for whom, step by step."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.policies import POLICIES, PolicyScope, Step, Subject, policy_of
from mainstay.platform.identity.policy_store import NewPolicy, PolicyChanges, PolicyFilter, PolicyStore, StoredPolicy

_PATH = "/admin/v1/policies"
_ONE = _PATH + "/{policy}"


class PolicyBody(Body, frozen=True, kw_only=True):
    """A policy that shall be set somewhere; `value` is of the type that the policy has."""

    scope_type: PolicyScope
    scope_id: str
    key: str
    value: Any  # checked against the policy's definition
    is_locked: bool = False


class PolicyPatch(Patch, frozen=True, kw_only=True):
    """What of a policy shall be otherwise."""

    value: Any = UNSET  # checked against the policy's definition
    is_locked: bool | UnsetType = UNSET


class PolicyObject(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that is set somewhere."""

    id: str
    object: Literal["policy"] = "policy"
    scope_type: PolicyScope
    scope_id: str
    key: str
    value: Any  # JSON of the type that the policy's definition names
    is_locked: bool
    created_at: int
    updated_at: int
    version: int


class KnownPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that can be set; its id is its key."""

    id: str
    object: Literal["policy.known"] = "policy.known"
    description: str
    takes: str
    default: Any  # JSON of the type that `takes` tells


class EffectivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The value that is in force for someone, and how it came about, broadest place first."""

    object: Literal["policy.effective"] = "policy.effective"
    key: str
    value: Any  # JSON of the type that the policy's definition names
    steps: tuple[Step, ...]


class EffectivePolicies(msgspec.Struct, frozen=True, kw_only=True):
    """All policies, as they are in force for someone."""

    object: Literal["list"] = "list"
    data: tuple[EffectivePolicy, ...]


class PolicyRoutes:
    """Administration of policies."""

    def __init__(self, policies: PolicyStore, authority: Authority, idempotency: Idempotency) -> None:
        self._policies = policies
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_POLICIES,
            dialect=dialect,
            handler=self._list,
            summary="The policies that are set.",
            response=ListOf[PolicyObject],
            query=("limit", "after", "order", "scope_type", "scope_id", "key"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_POLICIES,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Set a policy for the organisation, a group, a project or a user.",
            request=PolicyBody,
            response=PolicyObject,
            status=201,
        )
        yield Route(
            method="GET",
            path=_PATH + "/known",
            action=Action.READ_POLICIES,
            dialect=dialect,
            handler=self._show_known,
            summary="The policies that can be set, what they mean and their defaults.",
            response=ListOf[KnownPolicy],
        )
        yield Route(
            method="GET",
            path=_PATH + "/effective",
            action=Action.READ_POLICIES,
            dialect=dialect,
            handler=self._show_effective,
            summary="What is in force for a principal, in a project, and why.",
            response=EffectivePolicies,
            query=("principal", "project", "key"),
        )
        yield from self._single(dialect)

    def _single(self, dialect: Dialect) -> Iterator[Route]:
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_POLICIES, self._show, "One policy.", None, PolicyObject),
            ("PATCH", Action.WRITE_POLICIES, self._update, "Change value or lock.", PolicyPatch, PolicyObject),
            ("DELETE", Action.WRITE_POLICIES, self._delete, "Set it no longer there.", None, Deleted),
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
        page, asked = page_request(exchange, "scope_type", "scope_id", "key")
        found = await self._policies.list(exchange.caller.organisation_id, page, PolicyFilter(**asked))
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, PolicyBody)
        policy = await self._policies.create(
            act_of(exchange),
            exchange.caller.organisation_id,
            NewPolicy(
                scope_type=body.scope_type,
                scope_id=body.scope_id,
                key=body.key,
                value=body.value,
                is_locked=body.is_locked,
            ),
        )
        await show(exchange, _shown(policy), version=policy.version, status=201)

    async def _show_known(self, exchange: Exchange) -> None:
        query(exchange)
        known = [
            KnownPolicy(id=one.key, description=one.description, takes=one.takes, default=one.default)
            for one in POLICIES.values()
        ]
        await show(exchange, ListOf(data=known, first_id=known[0].id, last_id=known[-1].id))

    async def _show_effective(self, exchange: Exchange) -> None:
        asked = query(exchange, "principal", "project", "key")
        subject = self._subject(exchange.caller.organisation_id, asked)
        chosen = [policy_of(asked["key"])] if "key" in asked else POLICIES.values()
        data = []
        for policy in chosen:
            effective = self._authority.policies.explain(policy, subject)
            data.append(EffectivePolicy(key=policy.key, value=effective.value, steps=effective.steps))
        await show(exchange, EffectivePolicies(data=tuple(data)))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        policy = await self._policies.get(exchange.caller.organisation_id, exchange.parameters["policy"])
        await show(exchange, _shown(policy), version=policy.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, PolicyPatch)
        policy = await self._policies.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["policy"],
            PolicyChanges(value=body.value, is_locked=body.is_locked),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(policy), version=policy.version)

    async def _delete(self, exchange: Exchange) -> None:
        policy_id = exchange.parameters["policy"]
        await self._policies.delete(
            act_of(exchange), exchange.caller.organisation_id, policy_id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=policy_id, object="policy"))

    def _subject(self, organisation_id: str, asked: dict[str, str]) -> Subject:
        """Return whom the policies are asked for. Raises NotFoundError for who is not in the organisation."""
        directory = self._authority.directory
        principal_id, project_id = asked.get("principal"), asked.get("project")
        if principal_id is not None:
            principal = directory.principal(principal_id)
            if principal is None or principal.organisation_id != organisation_id:
                raise NotFoundError(f"There is no user, group or service account '{principal_id[:80]}'.")
            if principal.type == "group":
                raise InvalidRequestError("Policies are in force for users and service accounts.", param="principal")
        if project_id is not None and directory.project_is_open(organisation_id, project_id) is None:
            raise NotFoundError(f"There is no project '{project_id[:80]}'.")
        return Subject(organisation_id=organisation_id, principal_id=principal_id, project_id=project_id)


def _shown(policy: StoredPolicy) -> PolicyObject:
    return PolicyObject(
        id=policy.id,
        scope_type=policy.scope_type,
        scope_id=policy.scope_id,
        key=policy.key,
        value=policy.value,
        is_locked=policy.is_locked,
        created_at=seconds(policy.created_at_ms),
        updated_at=seconds(policy.updated_at_ms),
        version=policy.version,
    )

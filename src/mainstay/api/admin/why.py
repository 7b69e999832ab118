"""`GET /admin/v1/why`: may someone do something, and why."""

from collections.abc import Callable, Collection, Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.requests import query
from mainstay.api.admin.responses import show
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Resource
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.explain import Explainer, Question, Reason
from mainstay.platform.identity.grant_levels import LEVELS
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.policies import Step
from mainstay.platform.identity.subjects import Subjects

DeploymentNames = Callable[[str], Collection[str]]
_KNOWN = ("principal", "key", "action", "resource", "deployment", "project")


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and everything that was looked at for it."""

    object: Literal["explanation"] = "explanation"
    is_allowed: bool
    answer: str
    reasons: tuple[Reason, ...]
    policy: tuple[Step, ...]
    """How the policy on deployments came about, where the question is about one."""
    names: dict[str, str]
    """What the principals are called that the reasons name."""


class WhyRoutes:
    """Explains permissions."""

    def __init__(self, explainer: Explainer, subjects: Subjects, deployments: DeploymentNames) -> None:
        """`deployments` returns the names that an organisation has, its own and the installation's."""
        self._explainer = explainer
        self._subjects = subjects
        self._deployments = deployments

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the route."""
        yield Route(
            method="GET",
            path="/admin/v1/why",
            action=Action.EXPLAIN_ACCESS,
            dialect=dialect,
            handler=self._show,
            summary="May a principal or a key do an action, to a resource (type:id) or with a deployment, and why?",
            response=Why,
            query=_KNOWN,
        )

    async def _show(self, exchange: Exchange) -> None:
        asked = query(exchange, *_KNOWN)
        caller = await self._caller(exchange.caller.organisation_id, asked)
        resource, deployment = _resource(asked.get("resource")), _deployment(asked)
        if deployment is not None and deployment not in self._deployments(caller.organisation_id):
            raise NotFoundError(f"There is no deployment '{deployment[:100]}' here, for anyone.", param="deployment")
        question = Question(
            caller=caller,
            action=_action(asked),
            # Who calls a deployment acts in his project, as a call does.
            resource=None if deployment is not None else resource,
            deployment=deployment,
        )
        explanation = self._explainer.explain(question)
        ids = {id_ for reason in explanation.reasons for id_ in (*reason.path, reason.principal_id) if id_}
        ids |= {step.scope_id for step in explanation.policy if step.scope_id is not None}
        why = Why(
            is_allowed=explanation.is_allowed,
            answer=explanation.answer,
            reasons=explanation.reasons,
            policy=explanation.policy,
            names=await self._subjects.names(caller.organisation_id, ids),
        )
        await show(exchange, why)

    async def _caller(self, organisation_id: str, asked: dict[str, str]) -> Caller:
        if ("principal" in asked) == ("key" in asked):
            raise InvalidRequestError(
                "Say who: 'principal', the id of a user or service account, or 'key', the id of a key.",
                param="principal",
            )
        if "key" in asked:
            return await self._subjects.key(organisation_id, asked["key"])
        return await self._subjects.principal(organisation_id, asked["principal"], asked.get("project"))


def _action(asked: dict[str, str]) -> Action:
    text = asked.get("action") or (Action.CALL_MODEL if _deployment(asked) else "")
    try:
        return Action(text)
    except ValueError:
        raise InvalidRequestError(
            f"There is no action '{text[:100]}'; there are {', '.join(Action)}.", param="action"
        ) from None


def _resource(text: str | None) -> Resource | None:
    if text is None:
        return None
    type_, colon, id_ = text.partition(":")
    if not colon or not id_ or type_ not in LEVELS:
        raise InvalidRequestError(
            f"'resource' is written type:id, such as project:proj_default; types are {', '.join(LEVELS)}.",
            param="resource",
        )
    id_ = clean_id(id_)
    return Resource(type=type_, id=id_, project_id=id_ if type_ == "project" else None)


def _deployment(asked: dict[str, str]) -> str | None:
    """Return the deployment that is asked about, if one is: by its own parameter, or as a resource that is called."""
    named = asked.get("deployment")
    resource = asked.get("resource", "")
    if named is None and resource.startswith("deployment:") and asked.get("action") in (None, Action.CALL_MODEL):
        return resource.removeprefix("deployment:")
    return named

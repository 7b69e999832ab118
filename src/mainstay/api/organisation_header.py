"""`x-mainstay-organisation`: the operator acts in any organisation, everyone else in his own."""

from dataclasses import replace

from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.default_projects import DefaultProjects

HEADER = b"x-mainstay-organisation"
_CALLERS_MAX = 1000


class OrganisationHeader:
    """Puts callers into the organisation that they name."""

    def __init__(self, projects: DefaultProjects) -> None:
        self._projects = projects
        # Kept, since what a caller may do is remembered for the object.
        self._entered: dict[tuple[Caller, str], Caller] = {}

    def enter(self, caller: Caller, value: bytes) -> Caller:
        """Return the caller in that organisation. Raises NotFoundError or PermissionDeniedError."""
        organisation_id = value.decode("latin-1").strip()
        if organisation_id == caller.organisation_id:
            return caller
        if Scope.OPERATOR not in caller.scopes:
            raise PermissionDeniedError(
                f"This credential belongs to the organisation '{caller.organisation_id}' and acts in no other."
            )
        if not self._projects.has(organisation_id):
            raise NotFoundError(f"There is no organisation '{organisation_id[:100]}'.")
        if len(self._entered) >= _CALLERS_MAX:
            self._entered.clear()
        project_id = self._projects.of(organisation_id) or ""
        entered = replace(caller, organisation_id=organisation_id, project_id=project_id)
        return self._entered.setdefault((caller, f"{organisation_id}/{project_id}"), entered)

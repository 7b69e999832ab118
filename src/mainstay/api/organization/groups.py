"""All route groups of `/v1/organization`."""

from collections.abc import Iterator

from mainstay.api.organization.admin_keys import AdminKeyRoutes
from mainstay.api.organization.audit_logs import AuditLogRoutes
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.project_keys import ProjectKeyRoutes
from mainstay.api.organization.project_users import ProjectUserRoutes
from mainstay.api.organization.projects import OrganizationProjectRoutes
from mainstay.api.organization.service_accounts import ProjectServiceAccountRoutes
from mainstay.api.organization.users import OrganizationUserRoutes
from mainstay.api.routes import RouteGroup


def organization_routes(parts: Parts) -> Iterator[RouteGroup]:
    """Yield the routes of every area."""
    yield OrganizationProjectRoutes(parts)
    yield ProjectKeyRoutes(parts)
    yield ProjectServiceAccountRoutes(parts)
    yield ProjectUserRoutes(parts)
    yield OrganizationUserRoutes(parts)
    yield AdminKeyRoutes(parts)
    yield AuditLogRoutes(parts)

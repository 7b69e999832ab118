"""What the routes of `/v1/organization` need."""

from dataclasses import dataclass

from mainstay.api.admin.giving import Giving
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.key_writing import KeyWriting
from mainstay.kit.database import Database
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.held_roles import HeldRoles
from mainstay.platform.identity.projects import Projects
from mainstay.platform.identity.role_exchange import RoleExchange
from mainstay.platform.identity.service_accounts import ServiceAccounts
from mainstay.platform.identity.users import Users
from mainstay.platform.identity.visibility import Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Stores, and who may do what with them."""

    database: Database
    projects: Projects
    users: Users
    accounts: ServiceAccounts
    exchange: RoleExchange
    held_roles: HeldRoles
    writing: KeyWriting
    giving: Giving
    visibility: Visibility
    authority: Authority
    idempotency: Idempotency

"""Service accounts: in one project, with a role and keys that end with them."""

import pytest
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.projects import NewProject, ProjectChanges, Projects
from mainstay.platform.identity.service_accounts import (
    NewServiceAccount,
    ServiceAccount,
    ServiceAccountChanges,
    ServiceAccounts,
)
from mainstay.testing.clock import StandingClock

HERE = "org_default"


@pytest.fixture
def accounts(database: Database, acts: Acts, clock: StandingClock) -> ServiceAccounts:
    return ServiceAccounts(database, acts, clock)


@pytest.fixture
def keys(database: Database, acts: Acts, clock: StandingClock) -> Keys:
    return Keys(database, b"p" * 32, acts, clock)


async def _made(
    accounts: ServiceAccounts, project_id: str = "proj_default", organisation_id: str = HERE
) -> ServiceAccount:
    wanted = NewServiceAccount(project_id=project_id, name="bot", role_id="role_member")
    return await accounts.create(SYSTEM, organisation_id, wanted)


async def test_account_is_found_with_its_role_and_changes_are_written_down(
    accounts: ServiceAccounts, database: Database
) -> None:
    account = await _made(accounts)
    assert await accounts.get(HERE, account.id) == account
    assert await accounts.get_many(HERE, [account.id, "sa_gone"]) == {account.id: account}
    bound = await database.fetch("SELECT principal_id, role_id, scope_type, scope_id FROM role_bindings")
    assert bound == [(account.id, "role_member", "project", "proj_default")]
    changes = ServiceAccountChanges(name="robot", status=PrincipalStatus.DEACTIVATED)
    changed = await accounts.update(SYSTEM, HERE, account.id, changes, expected_version=1)
    assert (changed.name, changed.status, changed.version) == ("robot", PrincipalStatus.DEACTIVATED, 2)
    assert await accounts.update(SYSTEM, HERE, account.id, changes) == changed
    assert await actions(database) == ["service_account.created", "service_account.deactivated"]
    assert {("principal", account.id), ("bindings", account.id)} <= await told(database)
    with pytest.raises(VersionMismatchError):
        await accounts.delete(SYSTEM, HERE, account.id, expected_version=1)


async def test_account_and_its_first_key_are_one_act(accounts: ServiceAccounts, keys: Keys, database: Database) -> None:
    wanted = NewServiceAccount(project_id="proj_default", name="bot")
    account, key, secret = await accounts.create_with_key(SYSTEM, HERE, wanted, keys=keys, expires_at_ms=None)
    assert (key.principal_id, key.project_id) == (account.id, "proj_default")
    events = await audited(database)
    assert [event["action"] for event in events] == ["service_account.created"]
    assert secret not in str(events)


async def test_keys_end_with_their_account(accounts: ServiceAccounts, keys: Keys) -> None:
    account = await _made(accounts)
    key, _ = await keys.create(SYSTEM, NewKey("x", principal_id=account.id))
    await accounts.delete(SYSTEM, HERE, account.id)
    assert (await keys.get(HERE, key.id)).revoked_at_ms is not None
    with pytest.raises(NotFoundError):
        await accounts.get(HERE, account.id)


async def test_key_of_an_account_is_made_in_its_project_only(
    accounts: ServiceAccounts, keys: Keys, database: Database, acts: Acts, clock: StandingClock
) -> None:
    account = await _made(accounts)
    other = await Projects(database, acts, clock).create(SYSTEM, HERE, NewProject(name="other"))
    with pytest.raises(ConflictError, match="proj_default"):
        await keys.create(SYSTEM, NewKey("x", principal_id=account.id), Tenant(HERE, other.id))
    with pytest.raises(NotFoundError):
        await accounts.get(HERE, account.id, project_id=other.id)
    assert (await accounts.list(HERE, PageRequest(), project_id=other.id)).items == []


async def test_accounts_of_another_tenant_do_not_exist(accounts: ServiceAccounts, other_tenant: Tenant) -> None:
    theirs = await _made(accounts, other_tenant.project_id, other_tenant.organisation_id)
    for act in (
        accounts.get(HERE, theirs.id),
        accounts.update(SYSTEM, HERE, theirs.id, ServiceAccountChanges(name="x")),
        accounts.delete(SYSTEM, HERE, theirs.id),
        _made(accounts, other_tenant.project_id),
    ):
        with pytest.raises(NotFoundError):
            await act
    assert (await accounts.list(HERE, PageRequest())).items == []
    assert (await accounts.list(other_tenant.organisation_id, PageRequest())).items == [theirs]


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        (NewServiceAccount(project_id="proj_gone", name="x"), NotFoundError),
        (NewServiceAccount(project_id="proj_\x00", name="x"), NotFoundError),
        (NewServiceAccount(project_id="proj_default", name=""), InvalidRequestError),
        (NewServiceAccount(project_id="proj_default", name="x", description="\x07"), InvalidRequestError),
        (NewServiceAccount(project_id="proj_default", name="x", role_id="role_gone"), NotFoundError),
    ],
)
async def test_wish_that_makes_no_sense_leaves_nothing(
    accounts: ServiceAccounts, database: Database, wanted: NewServiceAccount, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await accounts.create(SYSTEM, HERE, wanted)
    assert await database.fetch("SELECT COUNT(*) FROM principals") == [(0,)]
    assert await audited(database) == []


async def test_archived_project_gets_no_account(
    accounts: ServiceAccounts, database: Database, acts: Acts, clock: StandingClock
) -> None:
    projects = Projects(database, acts, clock)
    project = await projects.create(SYSTEM, HERE, NewProject(name="old"))
    await projects.update(SYSTEM, HERE, project.id, ProjectChanges(is_archived=True))
    with pytest.raises(ConflictError, match="archived"):
        await _made(accounts, project.id)

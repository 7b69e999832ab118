"""Projects and organisations as rows: names once, tenants apart, one project always open."""

import asyncio

import pytest
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM, Act, Actor, ActorType
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisation_store import (
    NewOrganisation,
    OrganisationChanges,
    Organisations,
    OrganisationStatus,
)
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.projects import NewProject, Project, ProjectChanges, Projects
from mainstay.platform.identity.users import NewUser, Users
from mainstay.testing.clock import StandingClock

HERE = "org_default"


@pytest.fixture
def projects(database: Database, acts: Acts, clock: StandingClock) -> Projects:
    return Projects(database, acts, clock)


@pytest.fixture
def organisations(database: Database, acts: Acts, clock: StandingClock) -> Organisations:
    return Organisations(database, acts, Users(database, acts, clock), clock)


async def _made(projects: Projects, name: str = "chat", organisation_id: str = HERE) -> Project:
    return await projects.create(SYSTEM, organisation_id, NewProject(name=name))


async def test_project_is_found_changed_archived_and_restored(projects: Projects, database: Database) -> None:
    project = await projects.create(SYSTEM, HERE, NewProject(name="chat", description="for\npeople"))
    assert await projects.get(HERE, project.id) == project
    changed = await projects.update(SYSTEM, HERE, project.id, ProjectChanges(name="talk"), expected_version=1)
    assert (changed.name, changed.version) == ("talk", 2)
    archived = await projects.update(SYSTEM, HERE, project.id, ProjectChanges(is_archived=True))
    assert not archived.is_open
    assert await projects.update(SYSTEM, HERE, project.id, ProjectChanges(is_archived=True)) == archived
    listed = (await projects.list(HERE, PageRequest())).items
    assert project.id not in [one.id for one in listed]
    assert archived in (await projects.list(HERE, PageRequest(), with_archived=True)).items
    assert (await projects.update(SYSTEM, HERE, project.id, ProjectChanges(is_archived=False))).is_open
    assert await actions(database) == ["project.created", "project.updated", "project.archived", "project.restored"]
    assert ("project", project.id) in await told(database)


async def test_last_open_project_is_not_archived_even_from_two_sides(projects: Projects) -> None:
    with pytest.raises(ConflictError, match="only project"):
        await projects.update(SYSTEM, HERE, "proj_default", ProjectChanges(is_archived=True))
    other = await _made(projects)
    archivings = (
        projects.update(SYSTEM, HERE, one, ProjectChanges(is_archived=True)) for one in (other.id, "proj_default")
    )
    done = await asyncio.gather(*archivings, return_exceptions=True)
    assert sum(isinstance(each, ConflictError) for each in done) == 1


async def test_no_key_is_made_in_an_archived_project(
    projects: Projects, database: Database, acts: Acts, clock: StandingClock
) -> None:
    project = await _made(projects)
    await projects.update(SYSTEM, HERE, project.id, ProjectChanges(is_archived=True))
    with pytest.raises(ConflictError, match="archived"):
        await Keys(database, b"p" * 32, acts, clock).create(SYSTEM, NewKey("x"), Tenant(HERE, project.id))


async def test_name_is_taken_once_in_each_organisation(projects: Projects, other_tenant: Tenant) -> None:
    done = await asyncio.gather(*(_made(projects) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Project) for one in done) == 1
    await _made(projects, organisation_id=other_tenant.organisation_id)
    other = await _made(projects, "other")
    with pytest.raises(ConflictError, match="already"):
        await projects.update(SYSTEM, HERE, other.id, ProjectChanges(name="chat"))


async def test_projects_of_another_tenant_do_not_exist(projects: Projects, other_tenant: Tenant) -> None:
    for act in (
        projects.get(HERE, other_tenant.project_id),
        projects.update(SYSTEM, HERE, other_tenant.project_id, ProjectChanges(name="x")),
    ):
        with pytest.raises(NotFoundError):
            await act
    assert [one.id for one in (await projects.list(HERE, PageRequest())).items] == ["proj_default"]


@pytest.mark.parametrize("wanted", [NewProject(name=""), NewProject(name="x", description="\x00")])
async def test_project_that_makes_no_sense_is_refused(projects: Projects, wanted: NewProject) -> None:
    with pytest.raises(InvalidRequestError):
        await projects.create(SYSTEM, HERE, wanted)


async def test_stale_version_of_a_project_is_refused(projects: Projects) -> None:
    project = await _made(projects)
    with pytest.raises(VersionMismatchError):
        await projects.update(SYSTEM, HERE, project.id, ProjectChanges(name="x"), expected_version=7)


async def test_new_organisation_has_a_project_and_an_owner_and_stands_in_both_logs(
    organisations: Organisations, database: Database
) -> None:
    operator = Act(actor=Actor(type=ActorType.OPERATOR, id="operator"), idempotency_key="k", request_digest=b"d")
    wanted = NewOrganisation(name="Acme", owner=NewUser(email="boss@acme.example", name="Boss"))
    made = await organisations.create(operator, HERE, wanted)
    assert await organisations.get(made.organisation.id) == made.organisation
    assert made.project.organisation_id == made.organisation.id
    assert made.owner is not None
    bound = await database.fetch("SELECT organisation_id, principal_id, role_id, scope_id FROM role_bindings")
    assert bound == [(made.organisation.id, made.owner.id, "role_owner", made.organisation.id)]
    assert await actions(database) == await actions(database, made.organisation.id) == ["organisation.created"]
    assert await database.fetch("SELECT organisation_id, target_id FROM idempotency_keys") == [
        (HERE, made.organisation.id)
    ]


async def test_organisation_with_an_owner_that_makes_no_sense_is_not_made(
    organisations: Organisations, database: Database
) -> None:
    with pytest.raises(InvalidRequestError):
        await organisations.create(SYSTEM, HERE, NewOrganisation(name="Acme", owner=NewUser(email="no", name="x")))
    assert await database.fetch("SELECT COUNT(*) FROM organisations") == [(1,)]
    assert await audited(database) == []


async def test_organisation_is_suspended_and_comes_back(organisations: Organisations, database: Database) -> None:
    made = (await organisations.create(SYSTEM, HERE, NewOrganisation(name="Acme"))).organisation
    suspended = await organisations.update(
        SYSTEM, made.id, OrganisationChanges(status=OrganisationStatus.SUSPENDED), expected_version=1
    )
    assert suspended.status is OrganisationStatus.SUSPENDED
    await organisations.update(SYSTEM, made.id, OrganisationChanges(status=OrganisationStatus.ACTIVE))
    expected = ["organisation.created", "organisation.suspended", "organisation.reactivated"]
    assert await actions(database, made.id) == expected
    with pytest.raises(ConflictError, match="own organisation"):
        await organisations.update(SYSTEM, HERE, OrganisationChanges(status=OrganisationStatus.SUSPENDED))
    with pytest.raises(ConflictError, match="already"):
        await organisations.create(SYSTEM, HERE, NewOrganisation(name="Acme"))
    with pytest.raises(NotFoundError):
        await organisations.get("org_gone")
    assert {one.id for one in (await organisations.list(PageRequest())).items} == {HERE, made.id}

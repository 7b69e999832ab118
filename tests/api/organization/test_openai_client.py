"""OpenAI's own client administers projects, people and keys, and reads the audit log."""

import openai as sdk
import pytest
from openai import AsyncOpenAI
from tests.api.admin.office import HERE, OPERATOR, PROJECT, Office
from tests.api.organization.conftest import client_of

from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.policies import PolicyScope
from mainstay.platform.identity.policy_store import NewPolicy


async def test_project_is_made_renamed_listed_and_archived(openai: AsyncOpenAI) -> None:
    projects = openai.admin.organization.projects
    made = await projects.create(name="lab")
    assert (made.object, made.name, made.status, made.archived_at) == ("organization.project", "lab", "active", None)
    assert (await projects.update(made.id, name="labs")).name == "labs"
    assert (await projects.retrieve(made.id)).name == "labs"
    archived = await projects.archive(made.id)
    assert archived.status == "archived"
    assert archived.archived_at is not None
    assert [one.id async for one in projects.list()] == [PROJECT]
    assert {one.id async for one in projects.list(include_archived=True, limit=1)} == {PROJECT, made.id}


async def test_service_account_comes_with_a_key_that_works(office: Office, openai: AsyncOpenAI) -> None:
    accounts = openai.admin.organization.projects.service_accounts
    made = await accounts.create(PROJECT, name="bot")
    assert (made.object, made.role) == ("organization.project.service_account", "member")
    assert made.api_key is not None
    await office.refresh()
    caller = office.keyring.find(made.api_key.value.encode())
    assert caller.principal_id == made.id
    assert office.authority.may_use(caller, "any")
    (listed,) = [one async for one in accounts.list(PROJECT)]
    assert (listed.id, listed.role) == (made.id, "member")
    assert (await accounts.update(made.id, project_id=PROJECT, name="robot")).name == "robot"
    more = await accounts.api_keys.create(made.id, project_id=PROJECT, name="second")
    assert more.value != made.api_key.value
    gone = await accounts.delete(made.id, project_id=PROJECT)
    assert (gone.deleted, gone.object) == (True, "organization.project.service_account.deleted")
    await office.refresh()
    with pytest.raises(Exception, match="revoked"):
        office.keyring.find(made.api_key.value.encode())


async def test_service_account_alone_may_do_nothing(openai: AsyncOpenAI) -> None:
    made = await openai.admin.organization.projects.service_accounts.create(
        PROJECT, name="bot", create_service_account_only=True
    )
    assert (made.role, made.api_key) == ("none", None)


async def test_policy_of_lifetimes_holds_for_keys_that_come_with_an_account(
    office: Office, openai: AsyncOpenAI
) -> None:
    policy = NewPolicy(
        scope_type=PolicyScope.ORGANISATION, scope_id=HERE, key="keys.max_lifetime_days", value=1, is_locked=True
    )
    await office.policies.create(SYSTEM, HERE, policy)
    await office.refresh()
    accounts = openai.admin.organization.projects.service_accounts
    with pytest.raises(sdk.BadRequestError, match=r"keys\.max_lifetime_days"):
        await accounts.create(PROJECT, name="bot", expires_in_seconds=2 * 86_400)
    longest = int(office.clock.now) + 86_400
    for seconds in (None, 86_400):
        made = await accounts.create(PROJECT, name="bot", expires_in_seconds=seconds)
        assert made.api_key is not None
        assert made.api_key.expires_at == longest
    root = "/v1/organization"
    for path in (f"{root}/projects/{PROJECT}/service_accounts/{made.id}/api_keys", f"{root}/admin_api_keys"):
        answer = await office.ask(OPERATOR, "POST", path, json={"name": "of no length"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["expires_at"] == longest


async def test_keys_of_a_project_are_shown_with_their_owners_and_revoked(office: Office, openai: AsyncOpenAI) -> None:
    mia = await office.person("mia", "role_member")
    own, _ = await office.keys.create(SYSTEM, NewKey("mine", principal_id=mia.id))
    nobodys, _ = await office.keys.create(SYSTEM, NewKey("nobody's"))
    account = await openai.admin.organization.projects.service_accounts.create(PROJECT, name="bot")
    keys = openai.admin.organization.projects.api_keys
    found = {key.id: key async for key in keys.list(PROJECT)}
    assert len(found) == 3
    assert found[own.id].owner.type == "user"
    assert found[own.id].owner.user is not None
    assert found[own.id].owner.user.email == "mia@example.com"
    assert (found[nobodys.id].owner.type, found[nobodys.id].redacted_value) == (None, nobodys.hint)
    assert account.api_key is not None
    of_account = found[account.api_key.id].owner.service_account
    assert of_account is not None
    assert (of_account.id, of_account.role) == (account.id, "member")
    changed = await keys.update(nobodys.id, project_id=PROJECT, expires_in_seconds=60)
    assert changed.expires_at == int(office.clock.now) + 60
    with pytest.raises(sdk.PermissionDeniedError):
        await keys.update(own.id, project_id=PROJECT, expires_in_seconds=60)
    assert (await keys.delete(nobodys.id, project_id=PROJECT)).deleted
    with pytest.raises(sdk.NotFoundError):
        await keys.delete(nobodys.id, project_id=PROJECT)
    assert nobodys.id not in [key.id async for key in keys.list(PROJECT)]
    with pytest.raises(sdk.NotFoundError):
        await keys.retrieve(nobodys.id, project_id="proj_gone")


async def test_key_of_someone_who_was_deactivated_has_no_access(office: Office, openai: AsyncOpenAI) -> None:
    mia = await office.person("mia", "role_member")
    own, _ = await office.keys.create(SYSTEM, NewKey("mine", principal_id=mia.id))
    keys = openai.admin.organization.projects.api_keys
    assert (await keys.retrieve(own.id, project_id=PROJECT)).owner_project_access == "active"
    await office.ask("the-operator", "PATCH", f"/admin/v1/users/{mia.id}", json={"status": "deactivated"})
    assert (await keys.retrieve(own.id, project_id=PROJECT)).owner_project_access == "inactive"


async def test_users_are_made_owners_and_readers(office: Office, openai: AsyncOpenAI) -> None:
    olga, mia = await office.person("olga", "role_owner"), await office.person("mia", "role_member")
    users = openai.admin.organization.users
    assert {(one.id, one.role) async for one in users.list()} == {(olga.id, "owner"), (mia.id, "reader")}
    found = [one.id async for one in users.list(emails=["MIA@example.com", "nobody@example.com"])]
    assert found == [mia.id]
    assert (await users.update(mia.id, role="owner")).role == "owner"
    assert (await users.update(olga.id, role="reader")).role == "reader"
    await office.refresh()
    with pytest.raises(sdk.ConflictError, match="owner"):
        await users.update(mia.id, role="reader")
    with pytest.raises(sdk.BadRequestError, match="owner or reader"):
        await users.update(mia.id, role="king")
    gone = await users.delete(olga.id)
    assert (gone.deleted, gone.object) == (True, "organization.user.deleted")


async def test_only_owners_make_owners(office: Office) -> None:
    adam, mia = await office.person("adam", "role_admin"), await office.person("mia", "role_member")
    async with client_of(office, "adam") as client:
        for user in (adam, mia):
            with pytest.raises(sdk.PermissionDeniedError):
                await client.admin.organization.users.update(user.id, role="owner")


async def test_users_of_a_project_are_added_changed_and_taken_out(office: Office, openai: AsyncOpenAI) -> None:
    mia, max_ = await office.person("mia"), await office.person("max")
    users = openai.admin.organization.projects.users
    added = await users.create(PROJECT, user_id=mia.id, role="member")
    assert (added.object, added.email, added.role) == ("organization.project.user", "mia@example.com", "member")
    assert (await users.create(PROJECT, email="max@example.com", role="owner")).id == max_.id
    with pytest.raises(sdk.ConflictError):
        await users.create(PROJECT, user_id=mia.id, role="owner")
    assert {(one.id, one.role) async for one in users.list(PROJECT)} == {(mia.id, "member"), (max_.id, "owner")}
    assert (await users.update(mia.id, project_id=PROJECT, role="owner")).role == "owner"
    assert (await users.retrieve(mia.id, project_id=PROJECT)).role == "owner"
    assert (await users.delete(mia.id, project_id=PROJECT)).deleted
    assert [one.id async for one in users.list(PROJECT)] == [max_.id]
    with pytest.raises(sdk.NotFoundError):
        await users.retrieve(mia.id, project_id=PROJECT)
    with pytest.raises(sdk.NotFoundError):
        await users.create(PROJECT, email="nobody@example.com", role="member")


async def test_admin_keys_administer_and_are_revoked(office: Office, openai: AsyncOpenAI) -> None:
    olga = await office.person("olga", "role_owner")
    async with client_of(office, "olga") as client:
        made = await client.admin.organization.admin_api_keys.create(name="ci", expires_in_seconds=3600)
    assert (made.object, made.owner.id, made.owner.type) == ("organization.admin_api_key", olga.id, "user")
    assert made.expires_at == int(office.clock.now) + 3600
    async with client_of(office, made.value) as client:
        assert [one.id async for one in client.admin.organization.projects.list()] == [PROJECT]
    other, _ = await office.keys.create(SYSTEM, NewKey("calls only"))
    keys = openai.admin.organization.admin_api_keys
    assert [key.id async for key in keys.list()] == [made.id]
    with pytest.raises(sdk.NotFoundError):
        await keys.retrieve(other.id)
    with pytest.raises(sdk.NotFoundError):
        await keys.delete(other.id)
    assert (await keys.delete(made.id)).deleted
    async with client_of(office, made.value) as client:
        with pytest.raises(sdk.AuthenticationError):
            await client.admin.organization.projects.list()


async def test_audit_log_tells_who_did_what(office: Office, openai: AsyncOpenAI) -> None:
    olga = await office.person("olga", "role_owner")
    async with client_of(office, "olga") as client:
        project = await client.admin.organization.projects.create(name="lab")
        key = await client.admin.organization.admin_api_keys.create(name="ci")
    async with client_of(office, key.value) as client:
        account = await client.admin.organization.projects.service_accounts.create(project.id, name="bot")
    logs = openai.admin.organization.audit_logs
    events = [event async for event in logs.list(limit=2)]
    assert [event.type for event in events] == [
        "service_account.created",
        "api_key.created",
        "project.created",
        "user.added",
    ]
    newest, made_key, made_project, _ = events
    assert newest.actor is not None
    assert newest.actor.api_key is not None
    assert (newest.actor.type, newest.actor.api_key.id) == ("api_key", key.id)
    assert newest.project is not None
    assert (newest.project.id, newest.project.name) == (project.id, "lab")
    assert newest.service_account_created is not None
    assert newest.service_account_created.id == account.id
    assert made_key.api_key_created is not None
    assert made_key.api_key_created.id == key.id
    session = made_project.actor.session if made_project.actor is not None else None
    assert session is not None
    assert session.user is not None
    assert (session.user.id, session.user.email, session.ip_address) == (olga.id, "olga@example.com", "192.0.2.1")
    assert key.value not in str(events)


async def test_audit_log_is_searched_from_either_end(office: Office, openai: AsyncOpenAI) -> None:
    olga = await office.person("olga", "role_owner")
    start = int(office.clock.now)
    async with client_of(office, "olga") as client:
        made = []
        for name in ("one", "two", "three"):
            office.clock.now += 10
            made.append((await client.admin.organization.projects.create(name=name)).id)
    logs = openai.admin.organization.audit_logs

    async def found(**wanted: object) -> list[str]:
        events = (await logs.list(**wanted)).data  # type: ignore[arg-type]
        return [event.project.id for event in events if event.project is not None]

    newest_first = made[::-1]
    assert await found(event_types=["project.created"]) == newest_first
    assert await found(actor_emails=["olga@example.com"]) == newest_first
    assert await found(actor_ids=[olga.id]) == newest_first
    assert await found(actor_ids=["sess_olga"]) == newest_first
    assert await found(actor_emails=["nobody@example.com"]) == []
    assert await found(project_ids=[made[1]]) == [made[1]]
    assert await found(resource_ids=[made[0], made[2]]) == [made[2], made[0]]
    assert await found(effective_at={"gt": start + 10, "lte": start + 20}) == [made[1]]
    assert await found(effective_at={"gte": start + 10, "lt": start + 20}) == [made[0]]
    assert await found(event_types=["project.deleted"]) == []
    page = (await logs.list(event_types=["project.created"], limit=1)).data
    older = (await logs.list(event_types=["project.created"], limit=1, after=page[0].id)).data
    assert [event.project.id for event in older if event.project] == [made[1]]
    newer = (await logs.list(event_types=["project.created"], limit=1, before=older[0].id)).data
    assert newer == page
    for wrong in ({"after": "x"}, {"before": "audit_log-x"}, {"limit": 0}):
        with pytest.raises(sdk.BadRequestError):
            await logs.list(**wrong)


async def test_name_that_looks_like_a_project_finds_nothing(office: Office, openai: AsyncOpenAI) -> None:
    await openai.admin.organization.projects.create(name='","project_id":"proj_x"')
    logs = openai.admin.organization.audit_logs
    assert (await logs.list(project_ids=["proj_x", "%", "_"])).data == []


async def test_another_organisation_sees_and_changes_nothing(office: Office, openai: AsyncOpenAI) -> None:
    await office.other_organisation()
    mia = await office.person("mia", "role_owner")
    account = await openai.admin.organization.projects.service_accounts.create(PROJECT, name="bot")
    assert account.api_key is not None
    ids = {
        "project": PROJECT,
        "user": mia.id,
        "key": account.api_key.id,
        "admin_key": account.api_key.id,
        "service_account": account.id,
    }
    for route in office.routes:
        if not route.path.startswith("/v1/organization") or "{" not in route.path:
            continue
        bodies = ({"name": "x"}, {"role": "owner"}, {"role": "owner", "user_id": mia.id}, {"expires_in_seconds": 9}, {})
        path = route.path.format(**ids)
        for body in bodies if route.request else (None,):
            response = await office.ask("eve", route.method, path, json=body)
            assert response.status_code in (400, 404), (route.method, path, body, response.text)
    async with client_of(office, "eve") as client:
        listed = [one.id async for one in client.admin.organization.users.list()]
        assert mia.id not in listed
        assert account.id not in str((await client.admin.organization.audit_logs.list()).data)
    assert (await office.keys.get(HERE, account.api_key.id)).revoked_at_ms is None
    assert [one.name for one in (await office.users.get_many(HERE, [mia.id])).values()] == ["mia"]

"""Open requests end when their caller may not have them any more, and only then."""

import asyncio

import pytest
from tests.api.site import LOCAL_KEY, OWN_PAGE, Answer, Site, open_site
from tests.api.test_authentication import Tokens
from tests.platform.identity.signing_in import LIFETIMES, ORGANISATION

from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.key_wishes import KeyChanges, NewKey


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database)


async def begin(site: Site, **request) -> tuple["asyncio.Task[Answer]", Answer]:
    site.is_streaming.clear()
    task, answer = site.streaming(**request)
    waiting = asyncio.ensure_future(site.is_streaming.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    assert answer.status == 200, answer.body
    return task, answer


async def look(site: Site) -> None:
    await site.refresh()
    await site.live_calls.check()


async def end(task: "asyncio.Task[Answer]") -> None:
    task.cancel()
    await asyncio.wait({task})


async def ended(task: "asyncio.Task[Answer]", answer: Answer) -> str:
    async with asyncio.timeout(20):
        await task
    assert answer.is_complete
    return answer.text


async def test_a_revoked_keys_stream_ends_with_an_error_event(site: Site):
    key, secret = await site.keys.create(SYSTEM, NewKey("streams"))
    await site.refresh()
    task, answer = await begin(site, headers={"api-key": secret})
    other, other_answer = await begin(site, headers=await site.key())
    await look(site)
    assert not task.done()
    await site.keys.revoke(SYSTEM, ORGANISATION, key.id)
    await look(site)
    text = await ended(task, answer)
    assert text.startswith("data: {}\n\ndata: ")
    assert '"code":"invalid_api_key"' in text.split("\n\n")[1]
    assert "[DONE]" not in text
    assert not other.done()
    assert other_answer.text == "data: {}\n\n"
    await end(other)
    assert len(site.live_calls) == 0


async def test_an_expired_keys_stream_ends(site: Site):
    headers = await site.key(expires_at_ms=int((site.door.clock.now + 60) * 1000))
    task, answer = await begin(site, headers=headers)
    site.door.clock.now += 61
    await site.live_calls.check()
    await ended(task, answer)


async def test_a_deactivated_users_streams_end_whatever_carried_them(site: Site):
    who = await site.user()
    cookie, key = await site.session(who), await site.key(principal_id=who)
    first = await begin(site, cookie=cookie, headers=OWN_PAGE)
    second = await begin(site, headers=key)
    await site.door.set_status(who, "deactivated")
    await site.directory.reload()
    await site.live_calls.check()
    for task, answer in (first, second):
        assert "deactivated" in await ended(task, answer)


async def test_a_stream_ends_with_its_session(site: Site):
    who = await site.user()
    kept, lost = await site.session(who), await site.session(who)
    stays, _ = await begin(site, cookie=kept, headers=OWN_PAGE)
    task, answer = await begin(site, cookie=lost, headers=OWN_PAGE)
    await site.ask("POST", "/auth/sign-out", cookie=lost, headers=OWN_PAGE)
    await look(site)
    await ended(task, answer)
    assert not stays.done()
    await end(stays)


async def test_a_stream_keeps_its_session_from_being_idle(site: Site):
    cookie = await site.session(await site.user())
    task, _ = await begin(site, cookie=cookie, headers=OWN_PAGE)
    for _ in range(3):
        site.door.clock.now += LIFETIMES.idle_seconds - 1
        await site.live_calls.check()
        assert not task.done()
    await end(task)


async def test_a_stream_ends_when_the_role_that_allowed_it_is_taken(site: Site):
    who = await site.user()
    task, answer = await begin(site, headers=await site.key(principal_id=who))
    async with site.door.database.transaction() as transaction:
        await transaction.execute("DELETE FROM role_bindings WHERE principal_id = :id", {"id": who})
    await site.directory.reload()
    await site.live_calls.check()
    assert '"permission_denied"' in await ended(task, answer)


async def test_a_stream_ends_when_its_deployment_is_allowed_no_more_and_others_do_not(site: Site):
    headers = await site.key()
    task, answer = await begin(site, headers=headers, json_body={"model": "gpt-4o"})
    other, _ = await begin(site, headers=headers, json_body={"model": "chat"})
    await look(site)
    assert not task.done()
    async with site.door.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO policies (id, organisation_id, scope_type, scope_id, key, value, is_locked, created_at_ms, "
            "updated_at_ms, version) VALUES ('policy_1', :id, 'organisation', :id, 'deployments.allowed', "
            "'[\"chat\"]', FALSE, 1, 1, 1)",
            {"id": ORGANISATION},
        )
    await site.directory.reload()
    await look(site)
    assert '"permission_denied"' in await ended(task, answer)
    assert not other.done()
    await end(other)


@pytest.mark.parametrize(
    "changes", [KeyChanges(deployments=["chat"]), KeyChanges(networks=["10.0.0.0/8"])], ids=["deployments", "networks"]
)
async def test_a_stream_ends_when_its_key_is_limited_to_others(site: Site, changes: KeyChanges):
    key, secret = await site.keys.create(SYSTEM, NewKey("streams"))
    await site.refresh()
    task, answer = await begin(site, headers={"api-key": secret}, json_body={"model": "gpt-4o"})
    await site.keys.update(SYSTEM, ORGANISATION, key.id, changes)
    await look(site)
    assert '"type":"permission_error"' in await ended(task, answer)


async def test_a_suspended_organisations_streams_end_and_the_operators_does_not(site: Site):
    task, answer = await begin(site, headers=await site.key())
    own, _ = await begin(site, headers={"api-key": LOCAL_KEY})
    async with site.door.database.transaction() as transaction:
        await transaction.execute("UPDATE organisations SET status = 'suspended' WHERE id = :id", {"id": ORGANISATION})
    await site.directory.reload()
    await site.live_calls.check()
    await ended(task, answer)
    assert not own.done()
    await end(own)


async def test_whoever_ends_his_own_session_is_told_so(site: Site):
    cookie = await site.session(await site.user())
    (row,) = await site.door.database.fetch("SELECT id FROM sessions WHERE revoked_at_ms IS NULL")

    async def see_everything() -> None:
        await look(site)
        await asyncio.sleep(0)

    site.before_success = see_everything
    answer = await site.ask("DELETE", f"/auth/sessions/{row[0]}", cookie=cookie, headers=OWN_PAGE)
    assert (answer.status, answer.json["deleted"]) == (200, True)
    assert (await site.ask("GET", "/v1/models", cookie=cookie)).status == 401


async def test_a_tokens_stream_ends_when_its_provider_is_switched_off(database: Database):
    tokens = Tokens("user_ann_org_default")
    site = await open_site(database, tokens=lambda door: tokens)
    await site.user()
    task, answer = await begin(site, headers={"authorization": "Bearer eyJ.good.token"})
    await look(site)
    assert not task.done()
    tokens.is_taken = False
    await look(site)
    await ended(task, answer)


async def test_a_caller_who_goes_away_is_told_nothing(site: Site):
    task, answer = await begin(site, headers=await site.key())
    await end(task)
    assert answer.text == "data: {}\n\n"
    assert len(site.live_calls) == 0


async def test_a_notice_is_enough_and_a_flood_of_them_is_one_look(site: Site):
    key, secret = await site.keys.create(SYSTEM, NewKey("streams"))
    site.keyring.on_change.append(site.live_calls.notice)
    await site.refresh()
    running = asyncio.get_running_loop().create_task(site.live_calls.run())
    task, answer = await begin(site, headers={"api-key": secret})
    await site.keys.revoke(SYSTEM, ORGANISATION, key.id)
    for _ in range(1000):
        site.live_calls.notice()
    await site.keyring.refresh()
    await ended(task, answer)
    await end(running)


async def test_thousands_of_streams_are_looked_at_and_only_the_callers_own_end(site: Site):
    key, secret = await site.keys.create(SYSTEM, NewKey("streams"))
    headers = await site.key()
    lost = [await begin(site, headers={"api-key": secret}) for _ in range(300)]
    kept = [await begin(site, headers=headers) for _ in range(300)]
    await site.keys.revoke(SYSTEM, ORGANISATION, key.id)
    await look(site)
    for task, answer in lost:
        await ended(task, answer)
    assert not any(task.done() for task, _ in kept)
    for task, _ in kept:
        await end(task)

"""Keys as rows: tenants apart, secrets nowhere, hostile words harmless."""

import asyncio
import re

import pytest

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.identity.keys import Keys, NewKey
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant

OTHER = Tenant("org_other", "proj_other")


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database, b"p" * 32, SystemClock())


@pytest.fixture
async def other_tenant(database: Database) -> Tenant:
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO organisations (id, name, created_at_ms) VALUES ('org_other', 'Other', 0)"
        )
        await transaction.execute(
            "INSERT INTO projects (organisation_id, id, name, created_at_ms) VALUES ('org_other', 'proj_other', 'Other', 0)"
        )
    return OTHER


async def test_new_key_has_the_promised_shape_and_is_found_again(keys: Keys) -> None:
    wanted = NewKey("ci", deployments=["b", "a", "a"], requests_per_minute=5, tokens_per_minute=7)
    key, secret = await keys.create(wanted)
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", secret)
    assert key.hint == f"{secret[:5]}…{secret[-4:]}"
    assert key.deployments == ("a", "b")
    assert await keys.get(key.id) == key
    assert await keys.list() == [key]


async def test_secret_is_nowhere_in_the_database(keys: Keys, database: Database) -> None:
    _, secret = await keys.create(NewKey("ci"))
    row = (await database.fetch("SELECT * FROM api_keys"))[0]
    assert not [value for value in row if secret[5:-4] in str(value) or secret[5:-4].encode() in _bytes(value)]


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


async def test_keys_of_another_tenant_do_not_exist(keys: Keys, other_tenant: Tenant) -> None:
    mine, _ = await keys.create(NewKey("mine"))
    theirs, _ = await keys.create(NewKey("theirs"), other_tenant)
    assert await keys.list() == [mine]
    assert await keys.list(other_tenant) == [theirs]
    for act in (keys.get, keys.revoke):
        with pytest.raises(NotFoundError):
            await act(theirs.id, DEFAULT_TENANT)
    # Half of the name is not enough.
    with pytest.raises(NotFoundError):
        await keys.get(theirs.id, Tenant("org_default", "proj_other"))
    assert (await keys.get(theirs.id, other_tenant)).revoked_at_ms is None


async def test_key_for_a_project_that_does_not_exist_is_refused(keys: Keys) -> None:
    with pytest.raises(NotFoundError, match="proj_gone"):
        await keys.create(NewKey("x"), Tenant("org_default", "proj_gone"))


async def test_ten_revocations_at_once_keep_the_first_time(keys: Keys) -> None:
    key, _ = await keys.create(NewKey("x"))
    revoked = await asyncio.gather(*(keys.revoke(key.id) for _ in range(10)))
    assert len({each.revoked_at_ms for each in revoked}) == 1
    assert revoked[0].revoked_at_ms is not None


async def test_pages_follow_one_another_without_gap_or_repeat(keys: Keys) -> None:
    made = [(await keys.create(NewKey(f"key {number}")))[0] for number in range(7)]
    listed = []
    while page := await keys.list(after=listed[-1] if listed else None, limit=3):
        listed += page
    assert sorted(key.id for key in listed) == sorted(key.id for key in made)


@pytest.mark.parametrize("name", ["'; DROP TABLE api_keys; --", '"', "%", "\\", ":id", "$1", "名前", "🔑" * 100])
async def test_hostile_names_are_only_names(keys: Keys, name: str) -> None:
    key, _ = await keys.create(NewKey(name, deployments=[name]))
    found = await keys.get(key.id)
    assert found.name == name
    assert found.deployments == (name,)


@pytest.mark.parametrize("key_id", ["' OR 1=1 --", "key_\x00", "%", "", "k" * 100_000])
async def test_hostile_ids_are_not_found(keys: Keys, key_id: str) -> None:
    await keys.create(NewKey("x"))
    with pytest.raises(NotFoundError):
        await keys.revoke(key_id)
    assert (await keys.list())[0].revoked_at_ms is None


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (NewKey(""), "name"),
        (NewKey("x" * 201), "name"),
        (NewKey("line\nbreak"), "name"),
        (NewKey("nul\x00"), "name"),
        (NewKey("x", scopes=["root"]), "scopes"),
        (NewKey("x", scopes=[]), "scopes"),
        (NewKey("x", deployments=[]), "deployments"),
        (NewKey("x", deployments=["a\x00"]), "deployments"),
        (NewKey("x", deployments=["a"] * 1001), "deployments"),
        (NewKey("x", requests_per_minute=0), "requests_per_minute"),
        (NewKey("x", tokens_per_minute=-1), "tokens_per_minute"),
        (NewKey("x", tokens_per_minute=2**63), "tokens_per_minute"),
        (NewKey("x", expires_at_ms=1), "expires_at"),
    ],
)
async def test_wish_that_makes_no_sense_is_refused_by_name(keys: Keys, wanted: NewKey, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await keys.create(wanted)
    assert caught.value.param == param
    assert await keys.list() == []

"""Keys as rows: tenants apart, secrets nowhere, hostile words harmless."""

import asyncio
import re

import pytest

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import KeyFilter, Keys
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant

ORGANISATION = "org_default"


@pytest.fixture
def keys(database: Database, acts: Acts) -> Keys:
    return Keys(database, b"p" * 32, acts, SystemClock())


async def _listed(keys: Keys, tenant: Tenant = DEFAULT_TENANT) -> list[Key]:
    wanted = KeyFilter(project_id=tenant.project_id)
    return (await keys.list(tenant.organisation_id, PageRequest(limit=100), wanted)).items


async def test_new_key_has_the_promised_shape_and_is_found_again(keys: Keys) -> None:
    wanted = NewKey("ci", deployments=["b", "a", "a"], requests_per_minute=5, tokens_per_minute=7)
    key, secret = await keys.create(SYSTEM, wanted)
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", secret)
    assert key.hint == f"{secret[:5]}…{secret[-4:]}"
    assert key.deployments == ("a", "b")
    assert await keys.get(ORGANISATION, key.id) == key
    assert await _listed(keys) == [key]


async def test_secret_is_nowhere_in_the_database(keys: Keys, database: Database) -> None:
    _, secret = await keys.create(SYSTEM, NewKey("ci"))
    row = (await database.fetch("SELECT * FROM api_keys"))[0]
    assert not [value for value in row if secret[5:-4] in str(value) or secret[5:-4].encode() in _bytes(value)]


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


async def test_keys_of_another_tenant_do_not_exist(keys: Keys, other_tenant: Tenant) -> None:
    mine, _ = await keys.create(SYSTEM, NewKey("mine"))
    theirs, _ = await keys.create(SYSTEM, NewKey("theirs"), other_tenant)
    assert await _listed(keys) == [mine]
    assert await _listed(keys, other_tenant) == [theirs]
    for act in (keys.get(ORGANISATION, theirs.id), keys.revoke(SYSTEM, ORGANISATION, theirs.id)):
        with pytest.raises(NotFoundError):
            await act
    # Half of the name is not enough.
    with pytest.raises(NotFoundError):
        await keys.get("org_other", theirs.id, project_id="proj_default")
    assert (await keys.get("org_other", theirs.id, project_id="proj_other")).revoked_at_ms is None


async def test_key_for_a_project_that_does_not_exist_is_refused(keys: Keys) -> None:
    with pytest.raises(NotFoundError, match="proj_gone"):
        await keys.create(SYSTEM, NewKey("x"), Tenant("org_default", "proj_gone"))


async def test_ten_revocations_at_once_keep_the_first_time(keys: Keys) -> None:
    key, _ = await keys.create(SYSTEM, NewKey("x"))
    revoked = await asyncio.gather(*(keys.revoke(SYSTEM, ORGANISATION, key.id) for _ in range(10)))
    assert len({each.revoked_at_ms for each in revoked}) == 1
    assert revoked[0].revoked_at_ms is not None


async def test_pages_follow_one_another_without_gap_or_repeat(keys: Keys) -> None:
    made = [(await keys.create(SYSTEM, NewKey(f"key {number}")))[0] for number in range(7)]
    page = await keys.list(ORGANISATION, PageRequest(limit=3))
    listed = page.items
    while page.has_more:
        page = await keys.list(ORGANISATION, PageRequest(limit=3, after=listed[-1].id))
        listed += page.items
    assert sorted(key.id for key in listed) == sorted(key.id for key in made)


@pytest.mark.parametrize("name", ["'; DROP TABLE api_keys; --", '"', "%", "\\", ":id", "$1", "名前", "🔑" * 100])
async def test_hostile_names_are_only_names(keys: Keys, name: str) -> None:
    key, _ = await keys.create(SYSTEM, NewKey(name, deployments=[name]))
    found = await keys.get(ORGANISATION, key.id)
    assert found.name == name
    assert found.deployments == (name,)


@pytest.mark.parametrize("key_id", ["' OR 1=1 --", "key_\x00", "%", "", "k" * 100_000])
async def test_hostile_ids_are_not_found(keys: Keys, key_id: str) -> None:
    await keys.create(SYSTEM, NewKey("x"))
    with pytest.raises(NotFoundError):
        await keys.revoke(SYSTEM, ORGANISATION, key_id)
    assert (await _listed(keys))[0].revoked_at_ms is None


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
        (NewKey("x", scopes=["operator"]), "scopes"),
        (NewKey("x", scopes=["scim", "admin"]), "scopes"),
        (NewKey("x", scopes=["scim"], principal_id="user_1"), "scopes"),
        (NewKey("\u202eevil"), "name"),
        (NewKey("x", networks=[]), "networks"),
        (NewKey("x", networks=["10.0.0.1/8"]), "networks"),
        (NewKey("x", networks=["10.0.0.0/33"]), "networks"),
        (NewKey("x", networks=["fe80::1%eth0"]), "networks"),
        (NewKey("x", networks=["localhost"]), "networks"),
        (NewKey("x", networks=["0x7f000001"]), "networks"),
        (NewKey("x", networks=[f"10.0.0.{number}" for number in range(101)]), "networks"),
    ],
)
async def test_wish_that_makes_no_sense_is_refused_by_name(keys: Keys, wanted: NewKey, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await keys.create(SYSTEM, wanted)
    assert caught.value.param == param
    assert await _listed(keys) == []

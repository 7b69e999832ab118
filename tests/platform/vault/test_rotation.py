"""New root keys and new data keys: everything is sealed with them, and nothing is lost on the way."""

import asyncio
from pathlib import Path

import pytest

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database, Transaction
from mainstay.kit.errors import MainstayError
from mainstay.kit.sealing import SealedColumn
from mainstay.platform.vault.root_keys import MissingRootKeyError, RootKeys
from mainstay.platform.vault.rotation import Rotation
from mainstay.platform.vault.vault import Vault, sealed_by

WEBHOOKS = SealedColumn("audit_webhooks", "secret", ("id",), "audit_webhooks.secret/{id}")
ANSWERS = SealedColumn(
    "idempotency_keys", "response", ("organisation_id", "caller_id", "key"), "idempotency_keys.response"
)
_WEBHOOK = (
    "INSERT INTO audit_webhooks (id, organisation_id, name, url, secret, is_enabled, delivered_through, failures, "
    "created_at_ms, version) VALUES (:id, :organisation_id, 'x', 'https://x', :secret, TRUE, 0, 0, 0, 1)"
)
_ANSWER = (
    "INSERT INTO idempotency_keys (organisation_id, caller_id, key, request_digest, response, created_at_ms) "
    "VALUES (:organisation_id, 'user_1', :id, :secret, :secret, 0)"
)
ORGANISATIONS = ("org_a", "org_b", "org_c")


class Secrets:
    """Some hundred secrets of three organisations, in two tables."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.root_keys = RootKeys(folder)
        self.vault = Vault(database, self.root_keys, SystemClock())
        self.rotation = Rotation(database, self.root_keys, SystemClock())
        self.recorded: list[tuple[str, dict[str, str]]] = []

    async def record(self, transaction: Transaction, organisation_id: str, details: dict[str, str]) -> None:
        self.recorded.append((organisation_id, details))

    async def add(self, number: int) -> None:
        organisation_id, id_ = ORGANISATIONS[number % 3], f"hook_{number:04}"
        plain = f"secret {number}".encode()
        for statement, purpose in ((_WEBHOOK, f"audit_webhooks.secret/{id_}"), (_ANSWER, "idempotency_keys.response")):
            sealed = await self.vault.seal(organisation_id, plain, purpose=purpose)
            async with self.database.transaction() as transaction:
                await transaction.execute(statement, {"id": id_, "organisation_id": organisation_id, "secret": sealed})

    async def opened(self) -> list[bytes]:
        """Every secret, as another process opens it."""
        vault = Vault(self.database, self.root_keys, SystemClock())
        hooks = await self.database.fetch("SELECT organisation_id, id, secret FROM audit_webhooks ORDER BY id")
        answers = await self.database.fetch("SELECT organisation_id, response FROM idempotency_keys ORDER BY key")
        places = [(row[0], bytes(row[2]), f"audit_webhooks.secret/{row[1]}") for row in hooks]
        places += [(row[0], bytes(row[1]), "idempotency_keys.response") for row in answers]
        return [await vault.open(id_, sealed, purpose=purpose) for id_, sealed, purpose in places]

    async def data_keys_used(self) -> set[str]:
        rows = await self.database.fetch(
            "SELECT secret FROM audit_webhooks UNION SELECT response FROM idempotency_keys"
        )
        return {sealed_by(bytes(row[0])) for row in rows}


@pytest.fixture
async def secrets(database: Database, tmp_path: Path) -> Secrets:
    secrets = Secrets(database, tmp_path / "root")
    for number in range(30):
        await secrets.add(number)
    return secrets


async def test_new_root_key_seals_every_data_key(secrets: Secrets) -> None:
    before = await secrets.opened()
    (old,) = secrets.root_keys.ids()
    newest, count = await secrets.rotation.rotate_root_key(secrets.record)
    assert count == 3
    assert await secrets.database.fetch("SELECT DISTINCT root_key_id FROM data_keys") == [(newest,)]
    assert secrets.recorded == [(id_, {"root_key": newest}) for id_ in ORGANISATIONS]
    path = secrets.root_keys.path_of(old)
    assert path is not None
    path.unlink()
    assert await secrets.opened() == before


async def test_server_that_runs_seals_with_a_new_root_key_at_once(secrets: Secrets) -> None:
    newest, _ = await secrets.rotation.rotate_root_key(secrets.record)
    await secrets.vault.seal("org_new", b"x", purpose="p")
    assert await secrets.database.fetch("SELECT root_key_id FROM data_keys WHERE organisation_id = 'org_new'") == [
        (newest,)
    ]


async def test_missing_root_key_stops_a_rotation_and_changes_nothing(secrets: Secrets, tmp_path: Path) -> None:
    kept = (tmp_path / "root" / "0001.key").read_bytes()
    (tmp_path / "root" / "0001.key").write_bytes(b"o" * 32)
    with pytest.raises(MissingRootKeyError):
        await secrets.rotation.rotate_root_key(secrets.record)
    assert secrets.recorded == []
    (tmp_path / "root" / "0001.key").write_bytes(kept)
    assert len(await secrets.opened()) == 60


async def test_new_data_keys_seal_every_secret(secrets: Secrets) -> None:
    before, used = await secrets.opened(), await secrets.data_keys_used()
    assert await secrets.rotation.rotate_data_keys(secrets.record) == 3
    done = await secrets.rotation.reseal([WEBHOOKS, ANSWERS])
    assert (done.sealed_anew, done.up_to_date, done.unreadable) == (60, 0, [])
    assert not used & await secrets.data_keys_used()
    assert await secrets.opened() == before
    again = await secrets.rotation.reseal([WEBHOOKS, ANSWERS])
    assert (again.sealed_anew, again.up_to_date) == (0, 60)
    assert len(secrets.recorded) == 3


async def test_secrets_entered_during_a_rotation_survive_it(secrets: Secrets) -> None:
    async def enter() -> None:
        for number in range(30, 60):
            await secrets.add(number)

    async def rotate() -> None:
        for _ in range(3):
            await secrets.rotation.rotate_root_key(secrets.record)
            await secrets.rotation.rotate_data_keys(secrets.record)
            await secrets.rotation.reseal([WEBHOOKS, ANSWERS])

    await asyncio.gather(enter(), rotate())
    plain = [f"secret {number}".encode() for number in range(60)]
    assert await secrets.opened() == plain + plain
    await secrets.rotation.reseal([WEBHOOKS, ANSWERS])
    current = await secrets.database.fetch("SELECT id FROM data_keys WHERE retired_at_ms IS NULL")
    assert await secrets.data_keys_used() == {row[0] for row in current}


async def test_secret_that_does_not_open_is_named_and_stops_nothing(secrets: Secrets) -> None:
    async with secrets.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_webhooks SET secret = :x WHERE id = 'hook_0007'", {"x": b"\x01broken"})
    await secrets.rotation.rotate_data_keys(secrets.record)
    done = await secrets.rotation.reseal([WEBHOOKS, ANSWERS])
    assert done.unreadable == ["audit_webhooks.secret/hook_0007"]
    assert done.sealed_anew == 59


async def test_rotation_whose_record_fails_changes_nothing(secrets: Secrets) -> None:
    async def fail(transaction: Transaction, organisation_id: str, details: dict[str, str]) -> None:
        raise MainstayError("The audit log cannot be written.")

    before = await secrets.database.fetch("SELECT id, root_key_id, wrapped FROM data_keys ORDER BY id")
    for rotate in (secrets.rotation.rotate_root_key, secrets.rotation.rotate_data_keys):
        with pytest.raises(MainstayError):
            await rotate(fail)
    assert await secrets.database.fetch("SELECT id, root_key_id, wrapped FROM data_keys ORDER BY id") == before
    assert len(await secrets.opened()) == 60


async def test_root_keys_are_listed_with_what_they_seal_and_missing_ones_too(secrets: Secrets) -> None:
    (first,) = secrets.root_keys.ids()
    newest, _ = await secrets.rotation.rotate_root_key(secrets.record)
    uses = await secrets.rotation.root_keys_in_use()
    assert [(use.id, use.is_newest, use.data_keys) for use in uses] == [(first, False, 0), (newest, True, 3)]
    path = secrets.root_keys.path_of(newest)
    assert path is not None
    path.unlink()
    uses = await secrets.rotation.root_keys_in_use()
    assert [(use.id, use.file is None, use.data_keys) for use in uses] == [(newest, True, 3), (first, False, 0)]

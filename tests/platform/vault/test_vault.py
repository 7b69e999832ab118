"""Sealed secrets: what opens, what does not, and what is said then."""

import asyncio
from pathlib import Path

import pytest

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database, open_database
from mainstay.kit.errors import ConfigurationError
from mainstay.platform.vault.root_keys import MissingRootKeyError, RootKeys
from mainstay.platform.vault.sealing import BrokenSealError
from mainstay.platform.vault.vault import Vault

PURPOSE = "providers.credentials/prov_1"
CANARY = b"canary-5f1c-of-the-vault"


@pytest.fixture
def root_keys(tmp_path: Path) -> RootKeys:
    return RootKeys(tmp_path / "keys" / "root")


@pytest.fixture
def vault(database: Database, root_keys: RootKeys) -> Vault:
    return Vault(database, root_keys, SystemClock())


@pytest.mark.parametrize("plain", [b"", b"sk-secret", bytes(100_000)])
async def test_what_is_sealed_opens_again_also_by_another_process(
    vault: Vault, database: Database, root_keys: RootKeys, plain: bytes
) -> None:
    sealed = await vault.seal("org_a", plain, purpose=PURPOSE)
    assert await vault.open("org_a", sealed, purpose=PURPOSE) == plain
    assert await Vault(database, root_keys, SystemClock()).open("org_a", sealed, purpose=PURPOSE) == plain


async def test_same_secret_sealed_twice_looks_different(vault: Vault) -> None:
    assert await vault.seal("org_a", CANARY, purpose=PURPOSE) != await vault.seal("org_a", CANARY, purpose=PURPOSE)


async def test_text_of_another_row_does_not_open(vault: Vault) -> None:
    sealed = await vault.seal("org_a", CANARY, purpose=PURPOSE)
    with pytest.raises(BrokenSealError, match="copied from another place"):
        await vault.open("org_a", sealed, purpose="providers.credentials/prov_2")


async def test_text_of_another_organisation_does_not_open(vault: Vault) -> None:
    sealed = await vault.seal("org_a", CANARY, purpose=PURPOSE)
    await vault.seal("org_b", CANARY, purpose=PURPOSE)
    with pytest.raises(BrokenSealError, match="org_b"):
        await vault.open("org_b", sealed, purpose=PURPOSE)


async def test_text_opens_nowhere_after_any_of_its_bits_is_flipped(vault: Vault) -> None:
    sealed = await vault.seal("org_a", b"secret", purpose=PURPOSE)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1 << position % 8
        with pytest.raises(BrokenSealError):
            await vault.open("org_a", bytes(changed), purpose=PURPOSE)


async def test_text_that_is_cut_off_anywhere_does_not_open(vault: Vault) -> None:
    sealed = await vault.seal("org_a", b"secret", purpose=PURPOSE)
    for length in range(len(sealed)):
        with pytest.raises(BrokenSealError):
            await vault.open("org_a", sealed[:length], purpose=PURPOSE)


async def test_data_key_that_is_moved_to_another_organisation_does_not_open(vault: Vault, database: Database) -> None:
    await vault.seal("org_a", CANARY, purpose=PURPOSE)
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE data_keys SET organisation_id = 'org_b'")
    with pytest.raises(BrokenSealError):
        await vault.seal("org_b", CANARY, purpose=PURPOSE)


async def test_missing_root_key_is_named_with_what_to_do(vault: Vault, database: Database, root_keys: RootKeys) -> None:
    sealed = await vault.seal("org_a", CANARY, purpose=PURPOSE)
    (lost,) = root_keys.ids()
    (root_keys.folder / "0001.key").unlink()
    fresh = Vault(database, root_keys, SystemClock())
    with pytest.raises(MissingRootKeyError, match=f"{lost} is not in .*Restore its file"):
        await fresh.open("org_a", sealed, purpose=PURPOSE)


async def test_no_new_root_key_is_made_where_the_database_knows_of_another(
    vault: Vault, database: Database, tmp_path: Path
) -> None:
    await vault.seal("org_a", CANARY, purpose=PURPOSE)
    elsewhere = RootKeys(tmp_path / "other-server" / "root")
    with pytest.raises(MissingRootKeyError, match="copy it from the server that made it"):
        await Vault(database, elsewhere, SystemClock()).seal("org_b", CANARY, purpose=PURPOSE)
    assert elsewhere.ids() == []


async def test_wrong_root_key_in_the_place_of_the_right_one_is_named(
    vault: Vault, database: Database, root_keys: RootKeys
) -> None:
    sealed = await vault.seal("org_a", CANARY, purpose=PURPOSE)
    (root_keys.folder / "0001.key").write_bytes(bytes(32))
    with pytest.raises(MissingRootKeyError):
        await Vault(database, root_keys, SystemClock()).open("org_a", sealed, purpose=PURPOSE)


async def test_root_key_that_others_may_read_is_refused(vault: Vault, root_keys: RootKeys) -> None:
    await vault.seal("org_a", CANARY, purpose=PURPOSE)
    (root_keys.folder / "0001.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        await vault.seal("org_b", CANARY, purpose=PURPOSE)


async def test_many_at_once_make_one_data_key_and_one_root_key(database_url: str, root_keys: RootKeys) -> None:
    databases = [open_database(database_url) for _ in range(4)]
    vaults = [Vault(database, root_keys, SystemClock()) for database in databases]
    await asyncio.gather(*(vault.seal("org_a", CANARY, purpose=PURPOSE) for vault in vaults * 3))
    assert await databases[0].fetch("SELECT COUNT(*) FROM data_keys") == [(1,)]
    assert len(root_keys.ids()) == 1
    for database in databases:
        await database.aclose()


async def test_secret_is_nowhere_in_the_files_of_the_database(tmp_path: Path, migrated_sqlite: Path) -> None:
    import shutil

    path = tmp_path / "mainstay.db"
    shutil.copy(migrated_sqlite, path)
    database = open_database(f"sqlite:///{path}")
    vault = Vault(database, RootKeys(tmp_path / "root"), SystemClock())
    sealed = await vault.seal("org_default", CANARY, purpose=PURPOSE)
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE organisations SET name = :sealed", {"sealed": sealed.hex()})
    files = _contents(tmp_path)
    await database.aclose()
    assert any(sealed.hex().encode() in one for one in files)
    assert not any(CANARY in one or CANARY.hex().encode() in one for one in files)


def _contents(folder: Path) -> list[bytes]:
    return [one.read_bytes() for one in folder.iterdir() if one.is_file()]

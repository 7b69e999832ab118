"""Writing keys as the policies allow; what was written is good here at once, and at other workers within a second."""

from mainstay.platform.audit.events import Act
from mainstay.platform.identity.key_policy import KeyPolicy
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import KeyChanges, NewKey
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys, same_lifetime_ms
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import Subject


class KeyWriting:
    """Keys of one installation, with its policies and this worker's keyring."""

    def __init__(self, keys: Keys, policy: KeyPolicy, keyring: Keyring) -> None:
        self.keys = keys
        self.policy = policy
        self._keyring = keyring

    async def create(self, act: Act, wanted: NewKey, tenant: Tenant) -> tuple[Key, str]:
        """Make a key. Raises as `Keys.create`, and InvalidRequestError for one that would be good for too long."""
        subject = Subject(
            organisation_id=tenant.organisation_id, principal_id=wanted.principal_id, project_id=tenant.project_id
        )
        self.policy.require_lifetime(subject, wanted.expires_at_ms)
        made = await self.keys.create(act, wanted, tenant)
        await self.notice()
        return made

    async def update(self, act: Act, key: Key, changes: KeyChanges, *, expected_version: int | None) -> Key:
        """Change a key. Raises as `Keys.update`, and InvalidRequestError for one that would be good for too long."""
        if isinstance(changes.expires_at_ms, int) or changes.expires_at_ms is None:
            self.policy.require_lifetime(subject_of(key), changes.expires_at_ms)
        changed = await self.keys.update(act, key.organisation_id, key.id, changes, expected_version=expected_version)
        await self.notice()
        return changed

    async def rotate(
        self,
        act: Act,
        key: Key,
        *,
        overlap_seconds: int,
        expires_at_ms: int | None,
        expected_version: int | None,
    ) -> tuple[Key, str]:
        """Replace a key. Raises as `Keys.rotate`, and InvalidRequestError for one that would be good for too long."""
        ends_ms = same_lifetime_ms(key, self.policy.now_ms()) if expires_at_ms is None else expires_at_ms
        self.policy.require_lifetime(subject_of(key), ends_ms)
        made = await self.keys.rotate(
            act,
            key.organisation_id,
            key.id,
            overlap_seconds=overlap_seconds,
            expires_at_ms=ends_ms,
            expected_version=expected_version,
        )
        await self.notice()
        return made

    async def revoke(self, act: Act, key: Key, *, expected_version: int | None) -> None:
        """Revoke a key. Raises as `Keys.revoke`."""
        await self.keys.revoke(act, key.organisation_id, key.id, expected_version=expected_version)
        await self.notice()

    async def notice(self) -> None:
        """Have what was written elsewhere be good here at once too."""
        await self._keyring.refresh()


def subject_of(key: Key) -> Subject:
    """Return whom policies are looked up for when the key is used."""
    return Subject(organisation_id=key.organisation_id, principal_id=key.principal_id, project_id=key.project_id)

"""API keys on the wire, for administrators and for those whose keys they are."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.requests import Body, Patch
from mainstay.api.admin.times import milliseconds, seconds
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import KeyChanges, NewKey
from mainstay.platform.identity.keys import OVERLAP_SECONDS_DEFAULT


class OwnKeyBody(Body, frozen=True, kw_only=True):
    """A new key of one's own; none of the limits is a limit when it is null."""

    name: str
    project_id: str | None = None
    scopes: tuple[str, ...] = ("inference",)
    deployments: list[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    networks: list[str] | None = None
    expires_at: int | None = None


class KeyBody(OwnKeyBody, frozen=True, kw_only=True):
    """A new key: of a service account, or nobody's, which is then good for what its scopes say in its project."""

    principal_id: str | None = None


class KeyPatch(Patch, frozen=True, kw_only=True):
    """What of a key shall be otherwise."""

    name: str | UnsetType = UNSET
    deployments: list[str] | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    networks: list[str] | UnsetType | None = UNSET
    expires_at: int | UnsetType | None = UNSET


class RotateBody(Body, frozen=True, kw_only=True):
    """For how long the old key stays good beside the new one, and until when the new one is."""

    overlap_seconds: int = OVERLAP_SECONDS_DEFAULT
    expires_at: int | None = None


class KeyObject(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known of a key after it was made."""

    id: str
    object: Literal["key"] = "key"
    project_id: str
    principal_id: str | None
    name: str
    hint: str
    scopes: tuple[str, ...]
    deployments: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    networks: tuple[str, ...] | None
    created_by: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    rotated_to: str | None
    version: int


class NewKeyObject(KeyObject, frozen=True, kw_only=True):
    """A key that was made just now: `value` is shown this once."""

    value: str


def shown(key: Key) -> KeyObject:
    """Return the key as it is listed."""
    return KeyObject(**_members(key))


def shown_once(key: Key, secret: str) -> NewKeyObject:
    """Return the key with its secret."""
    return NewKeyObject(**_members(key), value=secret)


def wish_of(body: OwnKeyBody, principal_id: str | None) -> NewKey:
    """Return what key is asked for."""
    return NewKey(
        name=body.name,
        scopes=body.scopes,
        deployments=body.deployments,
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        expires_at_ms=milliseconds(body.expires_at),
        principal_id=principal_id,
        networks=body.networks,
    )


def changes_of(body: KeyPatch) -> KeyChanges:
    """Return what shall be otherwise."""
    return KeyChanges(
        name=body.name,
        deployments=body.deployments,
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        expires_at_ms=UNSET if body.expires_at is UNSET else milliseconds(body.expires_at),
        networks=body.networks,
    )


def _members(key: Key) -> dict[str, Any]:  # Any: members of a Struct
    same = {name: getattr(key, name) for name in KeyObject.__struct_fields__ if hasattr(key, name)}
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return same | {name: seconds(getattr(key, f"{name}_ms")) for name in times}

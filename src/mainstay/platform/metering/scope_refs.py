"""What limits and budgets are set for: an organisation, a project, a group, a user or a key."""

from enum import StrEnum

import msgspec

from mainstay.kit.database import Transaction, Value
from mainstay.kit.errors import InvalidRequestError, NotFoundError


class ScopeType(StrEnum):
    """The values are stored, and in the API."""

    ORGANISATION = "organisation"
    PROJECT = "project"
    GROUP = "group"
    """All members together, those of nested groups too."""
    USER = "user"
    """Any principal that calls: a user or a service account."""
    KEY = "key"


class ScopeRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One of them."""

    type: ScopeType
    id: str

    def __str__(self) -> str:
        """Return words that a caller may read, such as `key key_8f0c`."""
        return f"{self.type.value} {self.id}"


_KEY_PREFIX = "key_"


def is_key(credential_id: str) -> bool:
    """Whether a credential is an API key, which limits are set for; sessions and tokens come and go."""
    return credential_id.startswith(_KEY_PREFIX)


_FIND = {
    ScopeType.ORGANISATION: "SELECT id FROM organisations WHERE id = :id AND id = :organisation_id",
    ScopeType.PROJECT: "SELECT id FROM projects WHERE id = :id AND organisation_id = :organisation_id",
    ScopeType.GROUP: (
        "SELECT id FROM principals WHERE id = :id AND organisation_id = :organisation_id AND type = 'group'"
    ),
    ScopeType.USER: (
        "SELECT id FROM principals WHERE id = :id AND organisation_id = :organisation_id "
        "AND type IN ('user', 'service_account')"
    ),
    ScopeType.KEY: "SELECT id FROM api_keys WHERE id = :id AND organisation_id = :organisation_id",
}


async def require_scope(transaction: Transaction, organisation_id: str, scope: ScopeRef) -> None:
    """Raise NotFoundError unless the organisation has it."""
    if not is_storable(scope.id):
        raise InvalidRequestError("An id has no control characters.", param="scope.id")
    found = await transaction.fetch(_FIND[scope.type], {"id": scope.id, "organisation_id": organisation_id})
    if not found:
        raise NotFoundError(f"There is no {scope.type.value} '{scope.id[:100]}' here.", param="scope.id")


def is_storable(text: str) -> bool:
    """Whether a database can be asked for it: PostgreSQL's text cannot hold NUL."""
    return "\x00" not in text


def scope_filter(scope_type: ScopeType | None, scope_id: str | None) -> tuple[str, dict[str, Value]]:
    """Return a condition and its values, for a table with a scope."""
    where, values = "", dict[str, Value]()
    for name, value in (("scope_type", None if scope_type is None else scope_type.value), ("scope_id", scope_id)):
        if value is not None:
            if not is_storable(value):
                raise InvalidRequestError(f"'{name}' has a character that no id has.", param=name)
            where += f" AND {name} = :{name}"
            values[name] = value
    return where, values

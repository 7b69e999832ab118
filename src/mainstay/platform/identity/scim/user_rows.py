"""Between a user's rows and the document that a directory sees.

The document is kept as JSON beside the columns that the rest of Mainstay knows: `userName`, `externalId`, `active`,
the address and the shown name. A user that no directory has written to yet shows these columns alone, and is found
by its address, so that a directory can take it over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from mainstay.kit.database import Dialect, Row, Value
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.names import (
    EMAIL_LENGTH_MAX,
    NAME_LENGTH_MAX,
    clean_email,
    folded,
    is_printable,
    search_text,
)
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.scim.errors import InvalidValueError
from mainstay.platform.identity.scim.filters import Column, Source
from mainstay.platform.identity.scim.json_sql import JsonSql
from mainstay.platform.identity.scim.queries import Relation
from mainstay.platform.identity.scim.vocabulary import ENTERPRISE_SCHEMA, Json, Kind

USERS = Relation(
    "p.id, p.name, p.status, p.created_at_ms, p.updated_at_ms, p.version, "
    "u.email, u.user_name, u.external_id, u.attributes",
    type="user",
    joined="users u ON u.principal_id = p.id",
)
EXTERNAL_ID_LENGTH_MAX = 512
_DOCUMENT_BYTES_MAX = 64 * 1024
_STORED_NAMES = {ENTERPRISE_SCHEMA: "enterprise"}
BY_USER_NAME = (
    "SELECT principal_id FROM users WHERE organisation_id || '' = :organisation_id AND user_name = {value} "
    "UNION ALL SELECT principal_id FROM users "
    "WHERE organisation_id || '' = :organisation_id AND email_normal = {value} AND user_name || '' IS NULL"
)
_BY_EXTERNAL_ID = (
    "SELECT principal_id FROM users WHERE organisation_id || '' = :organisation_id AND external_id = {value}"
)
_IN_ANY_GROUP = (
    "SELECT m.member_id FROM group_members m JOIN groups g ON g.principal_id = m.group_id "
    "WHERE g.source = 'scim' AND m.organisation_id = :organisation_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScimUser:
    """A user as a directory sees it; `groups` are ids and names. Times are Unix milliseconds."""

    id: str
    version: int
    created_at_ms: int
    updated_at_ms: int
    name: str
    email: str
    is_active: bool
    document: Json
    groups: tuple[tuple[str, str], ...] = ()


def source(kind: Kind, dialect: Dialect) -> Source:
    """Return where a user's attributes are."""
    json = JsonSql(dialect)
    contact = json.contact(name="p.name", email="u.email")
    return Source(
        kind=kind,
        document=f"CASE WHEN u.user_name IS NULL THEN {contact} ELSE {json.parsed('u.attributes')} END",
        columns={
            "id": Column(sql="p.id"),
            "externalid": Column(sql="u.external_id", equality=_BY_EXTERNAL_ID),
            "username": Column(sql="coalesce(u.user_name, u.email_normal)", fold=folded, equality=BY_USER_NAME),
            "active": Column(sql="p.status = 'active'", type="boolean"),
            "meta.created": Column(sql="p.created_at_ms", type="time"),
            "meta.lastmodified": Column(sql="p.updated_at_ms", type="time"),
        },
        links={"groups": (_IN_ANY_GROUP + " AND m.group_id = {value}", _IN_ANY_GROUP)},
        order={"emails": "u.email_normal", "emails.value": "u.email_normal"},
        stored_names=_STORED_NAMES,
    )


def user_of(row: Row) -> ScimUser:
    """Make a user of its columns."""
    id_, name, status, created_at_ms, updated_at_ms, version, email, user_name, external_id, attributes = row
    is_active = status == PrincipalStatus.ACTIVE
    document = _of_columns(name, email) if user_name is None else _of_directory(attributes, user_name)
    if "active" in document:
        document["active"] = is_active
    if external_id is not None:
        document["externalId"] = external_id
    return ScimUser(
        id=id_,
        version=version,
        created_at_ms=created_at_ms,
        updated_at_ms=updated_at_ms,
        name=name,
        email=email,
        is_active=is_active,
        document=document,
    )


def written(values: Mapping[str, Value], *, version: int, created_at_ms: int) -> ScimUser:
    """Make a user of the columns that have been written."""
    names = ("id", "name", "status", "created_at_ms", "now_ms", "version", "email", "user_name", "external_id")
    known = {**values, "version": version, "created_at_ms": created_at_ms}
    return user_of((*(known[name] for name in names), known["attributes"]))


def values_of(document: Json, before: ScimUser | None = None) -> dict[str, Value]:
    """Return the columns of a user with this document. Raises InvalidValueError.

    Name, address and status stay as they are where the document does not say anything else than it did before.
    """
    user_name = _user_name(document)
    external_id = document.get("externalId")
    if external_id is not None and len(external_id) > EXTERNAL_ID_LENGTH_MAX:
        raise InvalidValueError(f"externalId may have {EXTERNAL_ID_LENGTH_MAX} characters.")
    name, email, is_active = shown_name(document), address(document), bool(document.get("active", True))
    if before is not None:
        name = before.name if name == shown_name(before.document) else name
        email = before.email if email == address(before.document) else email
        is_active = bool(document.get("active", before.is_active))
    return {
        "name": name,
        "status": (PrincipalStatus.ACTIVE if is_active else PrincipalStatus.DEACTIVATED).value,
        "email": email,
        "email_normal": folded(email),
        "search_text": search_text(name, email),
        "user_name": folded(user_name),
        "external_id": external_id,
        "attributes": _stored(document),
    }


def address(document: Json) -> str:
    """Return where the user gets mail: the primary address, else that of work, else any; else the user name."""
    emails = document.get("emails", [])
    preferred = [
        *(one for one in emails if one.get("primary") is True),
        *(one for one in emails if str(one.get("type", "")).lower() == "work"),
        *emails,
    ]
    return next(_addresses(preferred), str(document["userName"]))


def shown_name(document: Json) -> str:
    """Return by what name the user is shown."""
    name = document.get("name", {})
    parts = " ".join(part for part in (name.get("givenName"), name.get("familyName")) if part)
    shown = document.get("displayName") or name.get("formatted") or parts or document["userName"]
    return " ".join(str(shown).split())[:NAME_LENGTH_MAX] or str(document["userName"])


def _addresses(emails: list[Json]) -> Iterator[str]:
    for one in emails:
        try:
            yield clean_email(str(one.get("value", "")))
        except InvalidRequestError:
            continue


def _user_name(document: Json) -> str:
    user_name = document.get("userName")
    is_name = isinstance(user_name, str) and user_name == user_name.strip() and is_printable(user_name)
    if not is_name or not 1 <= len(folded(str(user_name))) <= EMAIL_LENGTH_MAX:
        raise InvalidValueError(
            f"A user needs a userName of 1 to {EMAIL_LENGTH_MAX} printable characters without spaces around it."
        )
    return str(user_name)


def _stored(document: Json) -> str:
    kept = {_STORED_NAMES.get(name, name): value for name, value in document.items() if name != "externalId"}
    text = msgspec.json.encode(kept)
    if len(text) > _DOCUMENT_BYTES_MAX:
        raise InvalidValueError(f"The user's attributes have {len(text)} bytes; {_DOCUMENT_BYTES_MAX} are possible.")
    return text.decode()


def _of_columns(name: str, email: str) -> Json:
    emails = [{"value": email, "primary": True}]
    return {"userName": email, "displayName": name, "active": True, "emails": emails}


def _of_directory(attributes: str, user_name: str) -> Json:
    full_names = {short: urn for urn, short in _STORED_NAMES.items()}
    stored = msgspec.json.decode(attributes, type=Json)
    document = {full_names.get(name, name): value for name, value in stored.items()}
    if folded(str(document.get("userName", ""))) != user_name:
        document["userName"] = user_name
    return document

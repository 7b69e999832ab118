"""What several areas of `/v1/organization` share: places, names of roles, spans of time, refusals in OpenAI's words."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from mainstay.api.exchange import Exchange
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.held_roles import HeldRole
from mainstay.platform.identity.roles import ADMIN, MEMBER, OWNER

ROOT = "/v1/organization"
PROJECT = ROOT + "/projects/{project}"
PAGE = ("limit", "after", "order")
YEARS_10_SECONDS = 10 * 365 * 86_400

ORGANISATION_ROLES = {"owner": OWNER.id, "reader": MEMBER.id}
"""OpenAI's roles in an organisation, and the roles that they are here."""
PROJECT_ROLES = {"owner": ADMIN.id, "member": MEMBER.id}
"""OpenAI's roles in a project, and the roles that they are here, in that project."""


def role_id_of(name: str, roles: dict[str, str]) -> str:
    """Return the role that is meant. Raises InvalidRequestError."""
    role_id = roles.get(name)
    if role_id is None:
        raise InvalidRequestError(f"'role' must be {' or '.join(roles)}, not {name[:40]!r}.", param="role")
    return role_id


def role_name(held: Sequence[HeldRole], roles: dict[str, str]) -> str:
    """Return OpenAI's name for what someone has: `owner` for its role, else the other."""
    owner, other = roles
    return owner if any(one.role_id == roles[owner] for one in held) else other


def expiry_ms(expires_in_seconds: int | None, now_ms: int) -> int | None:
    """Return the time that lies so far ahead. Raises InvalidRequestError."""
    if expires_in_seconds is None:
        return None
    if not 1 <= expires_in_seconds <= YEARS_10_SECONDS:
        raise InvalidRequestError(
            f"'expires_in_seconds' must be 1 to {YEARS_10_SECONDS}, not {expires_in_seconds}.",
            param="expires_in_seconds",
        )
    return now_ms + expires_in_seconds * 1000


def repeated(
    exchange: Exchange, singles: Sequence[str], lists: Sequence[str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the parameters of the query that come once, and those that come as `name[]=a&name[]=b`.

    Raises InvalidRequestError for others.
    """
    try:
        pairs = parse_qsl(exchange.query_string.decode("ascii"), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise InvalidRequestError("The query string cannot be read.", code="invalid_query") from None
    once: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        listed = name.removesuffix("[]")
        if listed in lists:
            several.setdefault(listed, []).append(value)
        elif name in singles:
            once[name] = value
        else:
            raise InvalidRequestError(f"'{name[:100]}' is not a parameter here.", param=name[:100])
    return once, several

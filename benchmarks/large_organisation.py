"""An organisation of many people, written straight into a new database: users, nested groups, roles, grants."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from mainstay.kit.database import Database, Value
from mainstay.platform.identity.names import search_text

ORGANISATION, PROJECT = "org_default", "proj_default"
_PARENTS = 50
"""Every so many groups have one group above them, and those again."""
_GRANTS = 1000
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Size:
    """How large it is."""

    users: int
    groups: int
    groups_of_user: int = 5

    def user(self, number: int) -> str:
        """Return the id of a user."""
        return f"user_{number:032x}"

    def group(self, number: int) -> str:
        """Return the id of a group."""
        return f"group_{number:032x}"


LARGE = Size(users=100_000, groups=10_000)
SMALL = Size(users=10_000, groups=1000)


async def fill(database: Database, size: Size) -> None:
    """Write everything; the same for the same size."""
    chance = Random(20261122)
    users, groups = [size.user(n) for n in range(size.users)], [size.group(n) for n in range(size.groups)]
    await _insert(
        database,
        "principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version)",
        [(id_, ORGANISATION, "user", f"Person {n}", "active", 0, 0, 1) for n, id_ in enumerate(users)]
        + [(id_, ORGANISATION, "group", f"Group {n}", "active", 0, 0, 1) for n, id_ in enumerate(groups)],
    )
    await _insert(
        database,
        "users (principal_id, organisation_id, email, email_normal, search_text)",
        [
            (id_, ORGANISATION, mail, mail, search_text(f"Person {n}", mail))
            for n, id_ in enumerate(users)
            for mail in [f"person{n}@example.com"]
        ],
    )
    await _insert(
        database,
        "groups (principal_id, organisation_id, source)",
        [(id_, ORGANISATION, "scim") for id_ in groups],
    )
    members = {(group, user) for user in users for group in chance.choices(groups, k=size.groups_of_user)}
    members |= {(groups[n // _PARENTS], id_) for n, id_ in enumerate(groups) if n // _PARENTS != n}
    await _insert(
        database,
        "group_members (group_id, member_id, organisation_id, source)",
        [(group, member, ORGANISATION, "scim") for group, member in sorted(members)],
    )
    await _insert(
        database,
        "role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, created_by, created_at_ms)",
        [
            (f"binding_{n:032x}", ORGANISATION, id_, "role_member", "organisation", ORGANISATION, "system", 0)
            for n, id_ in enumerate([*users, *groups[:100]])
        ],
    )
    await _insert(
        database,
        "grants (id, organisation_id, resource_type, resource_id, principal_id, level, created_by, created_at_ms)",
        [
            (f"grant_{n:032x}", ORGANISATION, "deployment", f"model-{n % 50}", chance.choice(groups), "viewer", "s", 0)
            for n in range(_GRANTS)
        ],
    )
    await _insert(
        database,
        "policies (id, organisation_id, scope_type, scope_id, key, value, is_locked, created_at_ms, updated_at_ms, "
        "version)",
        [
            (
                "policy_0",
                ORGANISATION,
                "organisation",
                ORGANISATION,
                "deployments.allowed",
                '["model-*"]',
                False,
                0,
                0,
                1,
            ),
            *(
                (f"policy_{n + 1}", ORGANISATION, "group", id_, "deployments.allowed", '["model-1*"]', False, 0, 0, 1)
                for n, id_ in enumerate(groups[:200])
            ),
        ],
    )

    async with database.transaction() as transaction:
        await transaction.execute("ANALYZE")  # as a database does by itself after a while


async def _insert(database: Database, table: str, rows: Sequence[Sequence[Value]]) -> None:
    names = table.partition("(")[2].rstrip(")")
    places = ", ".join(f":{name.strip()}" for name in names.split(","))
    unique = "resource_id, principal_id" in names  # a grant that chance has drawn twice counts once
    ending = " ON CONFLICT DO NOTHING" if unique else ""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        async with database.transaction() as transaction:
            await transaction.execute_many(
                f"INSERT INTO {table} VALUES ({places}){ending}",
                rows[start : start + _ROWS_AT_ONCE],
            )

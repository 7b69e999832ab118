"""The page on permissions tells of every role, resource and policy that there is, as it is."""

from pathlib import Path

from mainstay.platform.identity.grant_levels import LEVELS
from mainstay.platform.identity.policies import POLICIES
from mainstay.platform.identity.roles import BUILT_IN

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "concepts" / "permissions.md").read_text(encoding="utf-8")


def _first_cells(heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [row[0].strip() for row in rows[1:]]


def test_every_role_is_told_under_its_name_and_id() -> None:
    assert _first_cells("Roles") == [role.name for role in BUILT_IN.values()]
    assert all(f"| {role.name} | `{role.id}` |" in PAGE for role in BUILT_IN.values())


def test_every_kind_of_resource_is_told() -> None:
    assert [cell.split("`")[1] for cell in _first_cells("Grants")] == list(LEVELS)


def test_every_policy_is_told_with_its_bounds() -> None:
    assert [cell.strip("`") for cell in _first_cells("Policies")] == list(POLICIES)
    for policy in POLICIES.values():
        if policy.most is not None:
            assert f"| `{policy.key}` | {policy.least} to {policy.most} |" in PAGE
            assert f"from {policy.least} to {policy.most}" in policy.takes

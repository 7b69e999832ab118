"""scim2-tester's checks of RFC 7643 and RFC 7644 against the service, over HTTP."""

from scim2_tester import Status, check_server
from tests.api.scim.serving import scim_client


def test_scim2_tester_finds_nothing_wrong(http):
    results = check_server(scim_client(http))
    wrong = [
        f"{one.resource_type or ''} {one.title}: {one.reason}"
        for one in results
        if one.status not in (Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE)
    ]
    assert not wrong, "\n".join(wrong)
    assert {one.resource_type for one in results} >= {"User", "Group"}
    assert len(results) > 100

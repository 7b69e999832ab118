"""Administration of identity providers, identities and domains: who may, what is shown, and what nobody can give."""

import pytest
from tests.api.admin.office import HERE, OPERATOR, Office, Plain
from tests.platform.identity.oidc.house import Zone
from tests.platform.identity.trail import actions

from mainstay.api.admin.domains import DomainRoutes
from mainstay.api.admin.identities import IdentityRoutes
from mainstay.api.admin.identity_providers import IdentityProviderRoutes
from mainstay.kit.database import Database
from mainstay.kit.http import Outbound
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.domains import Domains
from mainstay.platform.identity.groups import NewGroup
from mainstay.platform.identity.identities import Identities
from mainstay.platform.identity.identity_providers import IdentityProviders
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.provider_ceiling import ProviderCeilings

PATH = "/admin/v1/identity_providers"
BODY = {
    "name": "Contoso",
    "issuer": "https://login.example.com",
    "client_id": "mainstay",
    "client_secret": "canary-secret",
    "settings": {"default_role_id": None},
}


class Desk(Office):
    """An office that administers identity providers too."""

    zone: Zone

    def __init__(self, database: Database) -> None:
        super().__init__(database, more_routes=Desk._more)

    @staticmethod
    def _more(office: Office):
        database, acts, clock = office.database, office.acts, office.clock
        providers = IdentityProviders(database, acts, clock, Plain())
        office.zone = Zone()
        discovery = Discovery(Outbound(), clock)
        ceilings = ProviderCeilings(office.authority, office.roles)
        yield IdentityProviderRoutes(
            providers, ceilings, discovery, office.idempotency, public_url="https://ai.example.com/"
        )
        yield IdentityRoutes(Identities(database, acts, clock), providers, office.authority, office.idempotency)
        yield DomainRoutes(Domains(database, acts, clock, office.zone), office.idempotency)


@pytest.fixture
async def desk(database: Database) -> Desk:
    desk = Desk(database)
    await desk.refresh()
    return desk


async def test_a_provider_is_made_shown_changed_and_removed_without_its_secret(desk):
    await desk.person("olga", "role_owner")
    made = await desk.ask("olga", "POST", PATH, json=BODY)
    assert made.status_code == 201
    provider = made.json()
    assert provider["has_client_secret"] is True
    assert provider["links_owners"] is True
    assert provider["callback_url"] == f"https://ai.example.com/auth/oidc/{provider['id']}/callback"
    one = f"{PATH}/{provider['id']}"
    shown = await desk.ask("olga", "GET", one)
    listed = await desk.ask("olga", "GET", PATH)
    assert listed.json()["data"] == [shown.json()] == [provider]
    changed = await desk.ask("olga", "PATCH", one, json={"name": "Fabrikam"}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.json()["name"], changed.headers["etag"]) == (200, "Fabrikam", '"2"')
    late = await desk.ask("olga", "PATCH", one, json={"name": "Late"}, headers={"if-match": '"1"'})
    assert late.status_code == 412
    gone = await desk.ask("olga", "DELETE", one)
    assert gone.json() == {"id": provider["id"], "object": "identity_provider", "deleted": True}
    assert (await desk.ask("olga", "GET", one)).status_code == 404
    for response in (made, shown, listed, changed):
        assert "canary-secret" not in response.text
    assert [one for one in await actions(desk.database) if one.startswith("identity_provider.")] == [
        "identity_provider.created",
        "identity_provider.updated",
        "identity_provider.deleted",
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"organisation_id": "org_other"},
        {"ceiling": {"is_owner": True}},
        {"links_owners": True},
        {"settings": {"is_admin": True}},
        {"settings": {"on_overage": "graph"}},
        {"settings": {"api_tokens": {"scopes": ["operator"]}}},
        {"settings": {"api_tokens": {"scopes": ["scim"]}}},
        {"settings": {"api_tokens": {"scopes": []}}},
        {"settings": {"client_authentication": "private_key_jwt"}},
        {"settings": {"default_role_id": "a\x00b"}},
        {"settings": {"group_claim": "g", "groups": {"a": "a\x00b"}}},
        {"name": "a\x00b"},
        {"client_id": "a\x00b"},
        {"issuer": "http://169.254.169.254/"},
        {"issuer": 1},
    ],
    ids=str,
)
async def test_a_body_with_more_or_other_than_there_is_is_refused(desk, more):
    answer = await desk.ask(OPERATOR, "POST", PATH, json=BODY | more)
    assert answer.status_code == 400
    assert (await desk.ask(OPERATOR, "GET", PATH)).json()["data"] == []


async def test_a_repeated_request_makes_one_provider(desk):
    headers = {"idempotency-key": "k-1"}
    first = await desk.ask(OPERATOR, "POST", PATH, json=BODY, headers=headers)
    second = await desk.ask(OPERATOR, "POST", PATH, json=BODY, headers=headers)
    assert first.json() == second.json()
    assert len((await desk.ask(OPERATOR, "GET", PATH)).json()["data"]) == 1


async def test_another_organisation_finds_nothing(desk):
    provider = (await desk.ask(OPERATOR, "POST", PATH, json=BODY)).json()
    domain = (await desk.ask(OPERATOR, "POST", "/admin/v1/domains", json={"name": "example.com"})).json()
    await desk.other_organisation()
    one = f"{PATH}/{provider['id']}"
    for method, path, body in (
        ("GET", one, None),
        ("PATCH", one, {"name": "x"}),
        ("PATCH", one, {"settings": {}}),
        ("DELETE", one, None),
        ("POST", one + "/test", None),
        ("GET", one + "/identities", None),
        ("DELETE", one + "/identities/user_1", None),
        ("GET", f"/admin/v1/domains/{domain['id']}", None),
        ("DELETE", f"/admin/v1/domains/{domain['id']}", None),
        ("POST", f"/admin/v1/domains/{domain['id']}/verify", None),
    ):
        answer = await desk.ask("eve", method, path, **({} if body is None else {"json": body}))
        assert answer.status_code == 404, (method, path, answer.text)
    for path in (PATH, "/admin/v1/domains"):
        assert (await desk.ask("eve", "GET", path)).json()["data"] == []
    assert (await desk.ask(OPERATOR, "GET", one)).json() == provider


async def test_members_and_admins_set_no_provider_up(desk):
    await desk.person("mia", "role_member")
    await desk.person("adam", "role_admin")
    for who in ("mia", "adam"):
        assert (await desk.ask(who, "POST", PATH, json=BODY)).status_code == 403
        assert (await desk.ask(who, "POST", "/admin/v1/domains", json={"name": "a.example"})).status_code == 403
    assert (await desk.ask("mia", "GET", PATH)).status_code == 403
    assert (await desk.ask("adam", "GET", PATH)).status_code == 200


async def test_nobody_lets_a_provider_give_what_he_may_not_do(desk):
    await desk.person("olga", "role_owner")
    sam = await desk.person("sam", "role_security_admin")
    admins = await desk.groups.create(SYSTEM, HERE, NewGroup(name="Admins"))
    everyone = await desk.groups.create(SYSTEM, HERE, NewGroup(name="Everyone"))
    await _bind(desk, admins.id, "role_admin")
    await desk.refresh()
    mapping = {"group_claim": "groups"}
    for settings in (
        {"default_role_id": "role_admin"},
        mapping | {"default_role_id": None, "roles": {"a": "role_admin"}},
        mapping | {"default_role_id": None, "groups": {"a": admins.id}},
    ):
        answer = await desk.ask("sam", "POST", PATH, json=BODY | {"settings": settings})
        assert answer.status_code == 403, answer.text
    good = mapping | {"default_role_id": None, "roles": {"a": "role_security_admin"}, "groups": {"e": everyone.id}}
    made = await desk.ask("sam", "POST", PATH, json=BODY | {"settings": good})
    assert made.status_code == 201, made.text
    assert made.json()["links_owners"] is False
    answer = await desk.ask("olga", "POST", PATH, json=BODY | {"settings": {"default_role_id": "role_owner"}})
    assert answer.status_code == 400
    assert sam.id


async def test_a_lesser_administrator_changes_only_what_he_could_give(desk):
    await desk.person("olga", "role_owner")
    await desk.person("sam", "role_security_admin")
    settings = {"group_claim": "groups", "roles": {"a": "role_admin"}, "default_role_id": "role_member"}
    provider = (await desk.ask("olga", "POST", PATH, json=BODY | {"settings": settings})).json()
    one = f"{PATH}/{provider['id']}"
    kept = await desk.ask("sam", "PATCH", one, json={"name": "New", "settings": settings | {"name_claim": "n"}})
    assert kept.status_code == 200, kept.text
    assert kept.json()["links_owners"] is True
    for change in ({"group_claim": "city"}, {"roles": {"b": "role_admin"}}, {"default_role_id": "role_builder"}):
        assert (await desk.ask("sam", "PATCH", one, json={"settings": settings | change})).status_code == 403
    lowered = await desk.ask("sam", "PATCH", one, json={"settings": settings | {"email_claim": "nickname"}})
    assert lowered.status_code == 200
    assert lowered.json()["links_owners"] is False  # what sam lets in is no owner
    raised = await desk.ask("olga", "PATCH", one, json={"settings": settings})
    assert raised.json()["links_owners"] is True


async def test_only_who_may_do_as_a_user_lets_a_subject_be_that_user(desk):
    owner = await desk.person("olga", "role_owner")
    mia = await desk.person("mia")
    await desk.person("sam", "role_security_admin")
    provider = (await desk.ask("sam", "POST", PATH, json=BODY)).json()
    path = f"{PATH}/{provider['id']}/identities"
    refused = await desk.ask("sam", "POST", path, json={"subject": "s", "user_id": owner.id})
    assert refused.status_code == 403
    linked = await desk.ask("sam", "POST", path, json={"subject": "s", "user_id": mia.id})
    assert linked.status_code == 201, linked.text
    assert (linked.json()["id"], linked.json()["subject"]) == (mia.id, "s")
    listed = await desk.ask("sam", "GET", f"{path}?user={mia.id}")
    assert listed.json()["data"] == [linked.json()]
    assert (await desk.ask("sam", "DELETE", f"{path}/{mia.id}")).json()["deleted"] is True
    assert (await desk.ask("sam", "DELETE", f"{path}/{mia.id}")).status_code == 404


async def test_a_provider_on_a_private_address_is_reported_and_not_reached(desk):
    body = BODY | {"issuer": "https://10.0.0.1"}
    provider = (await desk.ask(OPERATOR, "POST", PATH, json=body)).json()
    report = (await desk.ask(OPERATOR, "POST", f"{PATH}/{provider['id']}/test")).json()
    assert report["is_ok"] is False
    assert "private" in report["findings"][0]["message"]


async def test_a_domain_is_entered_proved_and_given_up(desk):
    await desk.person("olga", "role_owner")
    made = await desk.ask("olga", "POST", "/admin/v1/domains", json={"name": "Example.com"})
    domain = made.json()
    assert (made.status_code, domain["name"], domain["is_verified"]) == (201, "example.com", False)
    one = f"/admin/v1/domains/{domain['id']}"
    refused = await desk.ask("olga", "POST", one + "/verify")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "record_not_found")
    assert (await desk.ask("olga", "POST", one + "/attest")).status_code == 403
    assert domain["record"]["name"] == "_mainstay-challenge.example.com"
    desk.zone.records[domain["record"]["name"]] = [domain["record"]["value"]]
    verified = (await desk.ask("olga", "POST", one + "/verify")).json()
    assert verified["is_verified"] is True
    assert (await desk.ask("olga", "GET", one)).json() == verified
    assert (await desk.ask("olga", "GET", "/admin/v1/domains")).json()["data"] == [verified]
    assert (await desk.ask("olga", "DELETE", one)).json()["deleted"] is True
    again = (await desk.ask("olga", "POST", "/admin/v1/domains", json={"name": "example.com"})).json()
    attested = await desk.ask(OPERATOR, "POST", f"/admin/v1/domains/{again['id']}/attest")
    assert attested.json()["is_verified"] is True


async def _bind(desk: Desk, principal_id: str, role_id: str) -> None:
    from mainstay.platform.identity.bindings import NewBinding

    await desk.bindings.create(SYSTEM, HERE, NewBinding(principal_id=principal_id, role_id=role_id))

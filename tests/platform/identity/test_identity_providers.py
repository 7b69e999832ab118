"""Identity providers, domains and identities as rows: of one organisation, complete, and without a readable secret."""

import asyncio

import pytest
from tests.platform.identity.oidc.house import OpenSealer, Zone
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.errors import (
    ConflictError,
    InvalidRequestError,
    MainstayError,
    NotFoundError,
    UnavailableError,
    VersionMismatchError,
)
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.domain_names import NameServers, clean_domain
from mainstay.platform.identity.domains import Domains
from mainstay.platform.identity.identities import Identities
from mainstay.platform.identity.identity_providers import IdentityProviders, NewProvider, ProviderChanges
from mainstay.platform.identity.oidc.settings import ApiTokens, ClientAuthentication, ProviderSettings
from mainstay.platform.identity.stored_provider import Ceiling
from mainstay.platform.identity.users import NewUser, Users

HERE = "org_default"
ISSUER = "https://login.example.com"


def wanted(**more):
    basic = {"name": "Contoso", "issuer": ISSUER, "client_id": "c", "client_secret": "canary-secret"}
    return NewProvider(**({"settings": ProviderSettings(), "ceiling": Ceiling()} | basic | more))


@pytest.fixture
def providers(database, acts, clock):
    return IdentityProviders(database, acts, clock, OpenSealer())


@pytest.fixture
def zone():
    return Zone()


@pytest.fixture
def domains(database, acts, clock, zone):
    return Domains(database, acts, clock, zone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"issuer": "http://login.example.com"},
        {"client_id": ""},
        {"client_id": "a\nb"},
        {"client_id": "x" * 301},
        {"client_secret": None},
        {"client_secret": ""},
        {"client_secret": "a\nb"},
        {"settings": ProviderSettings(client_authentication=ClientAuthentication.NONE)},
        {"settings": ProviderSettings(scopes=("email",))},
        {"settings": ProviderSettings(scopes=("openid", "a b"))},
        {"settings": ProviderSettings(groups={"a": "group_x"})},
        {"settings": ProviderSettings(email_claim="a\x00b")},
        {"settings": ProviderSettings(default_role_id="a\x00b")},
        {"settings": ProviderSettings(group_claim="g", groups={"a": "a\x00b"})},
        {"settings": ProviderSettings(group_claim="g", roles={"a": "\ud800"})},
        {"settings": ProviderSettings(api_tokens=ApiTokens(service_accounts={"a": "a\x00b"}))},
        {"settings": ProviderSettings(api_tokens=ApiTokens(project_id="a\x00b"))},
        {"settings": ProviderSettings(api_tokens=ApiTokens(audiences=("a\x1fb",)))},
    ],
    ids=str,
)
async def test_what_cannot_work_is_refused(providers, database, wrong):
    with pytest.raises(InvalidRequestError):
        await providers.create(SYSTEM, HERE, wanted(**wrong))
    assert await database.fetch("SELECT id FROM identity_providers") == []
    assert await actions(database) == []


@pytest.mark.parametrize(
    "named",
    [
        {"group_claim": "g", "groups": {"a": "group_x"}},
        {"group_claim": "g", "roles": {"a": "role_x"}},
        {"default_role_id": "role_x"},
        {"api_tokens": ApiTokens(service_accounts={"a": "sa_x"})},
        {"api_tokens": ApiTokens(project_id="proj_other")},
    ],
    ids=str,
)
async def test_settings_name_only_what_the_organisation_has(providers, other_tenant, named):
    with pytest.raises(NotFoundError):
        await providers.create(SYSTEM, HERE, wanted(settings=ProviderSettings(**named)))


async def test_a_provider_is_kept_with_its_secret_sealed(providers, database):
    provider = await providers.create(SYSTEM, HERE, wanted())
    assert await providers.get(HERE, provider.id) == provider
    assert await providers.secret(provider) == "canary-secret"
    rows = await database.fetch("SELECT * FROM identity_providers")
    assert "canary-secret" not in repr(rows) + repr(provider) + repr(await audited(database))
    assert ("identity_provider", provider.id) in await told(database)
    assert (await audited(database))[-1]["details"] == {"client_id": "c", "issuer": ISSUER}


async def test_another_organisation_sees_none_of_it(providers, other_tenant):
    provider = await providers.create(SYSTEM, HERE, wanted())
    there = other_tenant.organisation_id
    with pytest.raises(NotFoundError):
        await providers.get(there, provider.id)
    with pytest.raises(NotFoundError):
        await providers.update(SYSTEM, there, provider.id, ProviderChanges(name="x"))
    with pytest.raises(NotFoundError):
        await providers.delete(SYSTEM, there, provider.id)
    assert (await providers.list(there, PageRequest())).items == []
    assert (await providers.list(HERE, PageRequest())).items == [provider]


async def test_changes_are_told_without_the_secret(providers, database):
    provider = await providers.create(SYSTEM, HERE, wanted())
    same = await providers.update(SYSTEM, HERE, provider.id, ProviderChanges(name="Contoso"))
    assert same == provider
    settings = ProviderSettings(creates_users=True)
    changes = ProviderChanges(name="Fabrikam", client_secret="canary-second", settings=settings)
    changed = await providers.update(SYSTEM, HERE, provider.id, changes, expected_version=1)
    assert changed.version == 2
    assert await providers.secret(changed) == "canary-second"
    event = (await audited(database))[-1]
    assert event["changed"] == {
        "name": ["Contoso", "Fabrikam"],
        "client_secret": ["changed", "changed"],
        "settings.creates_users": [False, True],
    }
    with pytest.raises(VersionMismatchError):
        await providers.update(SYSTEM, HERE, provider.id, ProviderChanges(name="x"), expected_version=1)
    assert len(await actions(database)) == 2


async def test_the_claim_that_people_are_known_by_stays_once_someone_is(providers, database, acts, clock):
    provider = await providers.create(SYSTEM, HERE, wanted())
    user = await Users(database, acts, clock).create(SYSTEM, HERE, NewUser(email="a@b.example", name="A"))
    other = ProviderChanges(settings=ProviderSettings(subject_claim="oid"))
    await Identities(database, acts, clock).link(SYSTEM, HERE, provider.id, subject="s", user_id=user.id)
    with pytest.raises(ConflictError, match="known by"):
        await providers.update(SYSTEM, HERE, provider.id, other)
    await Identities(database, acts, clock).separate(SYSTEM, HERE, provider.id, user.id)
    assert (await providers.update(SYSTEM, HERE, provider.id, other)).settings.subject_claim == "oid"


async def test_removing_a_provider_removes_who_its_subjects_are(providers, database, acts, clock):
    provider = await providers.create(SYSTEM, HERE, wanted())
    user = await Users(database, acts, clock).create(SYSTEM, HERE, NewUser(email="a@b.example", name="A"))
    identities = Identities(database, acts, clock)
    await identities.link(SYSTEM, HERE, provider.id, subject="s", user_id=user.id)
    await providers.delete(SYSTEM, HERE, provider.id)
    assert (await identities.list(HERE, provider.id, PageRequest())).items == []
    assert await database.fetch("SELECT subject FROM identities") == []
    assert (await actions(database))[-1] == "identity_provider.deleted"


async def test_a_subject_is_one_user_and_a_user_one_subject(providers, database, acts, clock, other_tenant):
    provider = await providers.create(SYSTEM, HERE, wanted())
    users, identities = Users(database, acts, clock), Identities(database, acts, clock)
    ann = (await users.create(SYSTEM, HERE, NewUser(email="a@b.example", name="A"))).id
    bob = (await users.create(SYSTEM, HERE, NewUser(email="b@b.example", name="B"))).id
    foreign = (await users.create(SYSTEM, "org_other", NewUser(email="c@b.example", name="C"))).id
    for wrong in (foreign, "user_x", "a\x00b"):
        with pytest.raises(NotFoundError):
            await identities.link(SYSTEM, HERE, provider.id, subject="s", user_id=wrong)
    with pytest.raises(NotFoundError):
        await identities.link(SYSTEM, "org_other", provider.id, subject="s", user_id=foreign)
    for subject in ("", "x" * 256, "a\x00b", "a\nb"):
        with pytest.raises(InvalidRequestError):
            await identities.link(SYSTEM, HERE, provider.id, subject=subject, user_id=ann)
    await identities.link(SYSTEM, HERE, provider.id, subject="s", user_id=ann)
    for subject, user_id in (("s", bob), ("t", ann), ("s", ann)):
        with pytest.raises(ConflictError):
            await identities.link(SYSTEM, HERE, provider.id, subject=subject, user_id=user_id)
    found = await identities.list(HERE, provider.id, PageRequest(), user_id=ann)
    assert [(one.subject, one.user_id) for one in found.items] == [("s", ann)]
    assert (await identities.list("org_other", provider.id, PageRequest())).items == []
    with pytest.raises(NotFoundError):
        await identities.separate(SYSTEM, "org_other", provider.id, ann)


async def test_one_of_two_organisations_gets_an_audience_that_both_want_at_once(providers, other_tenant):
    settings = ProviderSettings(api_tokens=ApiTokens(audiences=("api://x",)), default_role_id=None)
    done = await asyncio.gather(
        *(providers.create(SYSTEM, one, wanted(settings=settings)) for one in (HERE, other_tenant.organisation_id)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in done) == ["ConflictError", "IdentityProvider"]


@pytest.mark.parametrize(
    "name",
    ["", "com", "-a.com", "a..com", "a b.com", "a.com\x00", "exämple.com", "1.2.3.4", "x" * 64 + ".com", "*.a.com"],
)
def test_what_is_no_domain_is_refused(name):
    with pytest.raises(InvalidRequestError):
        clean_domain(name)


async def test_a_domain_is_verified_by_its_record_and_by_no_other(domains, zone, database):
    domain = await domains.create(SYSTEM, HERE, "Example.COM.")
    assert domain.name == "example.com"
    for texts in ([], ["x"], [domain.record_text + "x"], [domain.verification], ["\ud800"]):
        zone.records[domain.record_name] = texts
        with pytest.raises(ConflictError) as refused:
            await domains.verify(SYSTEM, HERE, domain.id)
        assert refused.value.code == "record_not_found"
        assert domain.record_text in refused.value.message
    zone.records[domain.record_name] = ["v=spf1 -all", f" {domain.record_text} "]
    verified = await domains.verify(SYSTEM, HERE, domain.id)
    assert verified.verified_at_ms is not None
    assert await domains.verify(SYSTEM, HERE, domain.id) == verified == await domains.get(HERE, domain.id)
    assert await actions(database) == ["domain.created", "domain.verified"]


async def test_a_domain_is_one_organisations(domains, other_tenant):
    there = other_tenant.organisation_id
    mine, theirs = await domains.create(SYSTEM, HERE, "a.example"), await domains.create(SYSTEM, there, "a.example")
    with pytest.raises(ConflictError):
        await domains.create(SYSTEM, HERE, "A.example")
    for wrong in (domains.verify, domains.attest):
        with pytest.raises(NotFoundError):
            await wrong(SYSTEM, there, mine.id)
    done = await asyncio.gather(
        domains.attest(SYSTEM, HERE, mine.id), domains.attest(SYSTEM, there, theirs.id), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in done) == ["ConflictError", "Domain"]
    winner, loser = (
        ((HERE, mine), (there, theirs)) if isinstance(done[1], MainstayError) else ((there, theirs), (HERE, mine))
    )
    await domains.delete(SYSTEM, winner[0], winner[1].id)
    assert (await domains.attest(SYSTEM, loser[0], loser[1].id)).verified_at_ms is not None


async def test_name_servers_that_do_not_answer_are_told_of_and_not_believed():
    records = NameServers(["127.0.0.1:1"])
    with pytest.raises(UnavailableError, match="do not answer"):
        await records.texts("_mainstay-challenge.example.com")
    with pytest.raises(UnavailableError):
        await records.texts("a" * 64 + ".example.com")


class NameServer(asyncio.DatagramProtocol):
    """Answers with the records of one name, over UDP."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        import dns.flags
        import dns.message
        import dns.rcode
        import dns.rrset

        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        name = query.question[0].name
        if str(name) == "_mainstay-challenge.example.com.":
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", '"mainstay-" "domain"', '"\\255other"'))
        elif str(name) == "broken.example.com.":
            answer.set_rcode(dns.rcode.SERVFAIL)
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


async def test_records_are_read_from_the_name_servers_of_the_settings():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        records = NameServers([f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"])
        assert sorted(await records.texts("_mainstay-challenge.example.com")) == ["mainstay-domain", "\ufffdother"]
        assert await records.texts("_mainstay-challenge.example.org") == ()
        with pytest.raises(UnavailableError):
            await records.texts("broken.example.com")
    finally:
        transport.close()

"""Signing in with an identity provider that is faulty, hostile, or as it should be."""

import asyncio

import pytest
from tests.platform.identity.oidc.house import HERE
from tests.platform.identity.oidc.mock_provider import CLIENT, SUBJECT
from tests.platform.identity.trail import actions, audited, make_owner

from mainstay.kit.errors import MainstayError, RateLimitedError
from mainstay.platform.audit.events import SYSTEM, Origin
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.users import UserChanges


def _with(**more):
    return lambda claims: {name: value for name, value in (claims | more).items() if value is not None}


FAULTS = {
    "another nonce": lambda mock, stranger: setattr(mock, "claims", _with(nonce="n-0")),
    "no nonce": lambda mock, stranger: setattr(mock, "claims", _with(nonce=None)),
    "another audience": lambda mock, stranger: setattr(mock, "claims", _with(aud="other")),
    "two audiences and no party": lambda mock, stranger: setattr(mock, "claims", _with(aud=[CLIENT, "other"])),
    "another party": lambda mock, stranger: setattr(mock, "claims", _with(azp="other")),
    "another issuer": lambda mock, stranger: setattr(mock, "claims", _with(iss="https://other.example")),
    "expired": lambda mock, stranger: setattr(mock, "claims", _with(exp=mock.now() - 61)),
    "no expiry": lambda mock, stranger: setattr(mock, "claims", _with(exp=None)),
    "from the future": lambda mock, stranger: setattr(mock, "claims", _with(iat=mock.now() + 61)),
    "no subject": lambda mock, stranger: setattr(mock, "claims", _with(sub=None)),
    "a subject with a line break": lambda mock, stranger: setattr(mock, "claims", _with(sub="a\nb")),
    "another's signature": lambda mock, stranger: setattr(mock, "id_token", stranger.sign),
    "no signature": lambda mock, stranger: setattr(
        mock, "id_token", lambda claims: mock.signer.sign(claims).rpartition(".")[0] + "."
    ),
    "an access token instead": lambda mock, stranger: setattr(
        mock, "id_token", lambda claims: mock.signer.sign(claims, typ="at+jwt")
    ),
    "no ID token": lambda mock, stranger: mock.answers.update({"/token": lambda: (200, {"access_token": "x"})}),
    "an error of the server": lambda mock, stranger: mock.answers.update({"/token": lambda: (500, b"oops")}),
    "HTML": lambda mock, stranger: mock.answers.update({"/token": lambda: (200, b"<html>")}),
    "a redirect": lambda mock, stranger: mock.answers.update({"/token": lambda: (307, {})}),
    "something endless": lambda mock, stranger: mock.answers.update({"/token": lambda: (200, b" " * 300_000)}),
    "duplicate members": lambda mock, stranger: mock.answers.update(
        {"/token": lambda: (200, b'{"id_token":"a","id_token":"b","token_type":"Bearer"}')}
    ),
    "userinfo about somebody else": lambda mock, stranger: (
        mock.person.pop("email"),
        mock.userinfo.update(sub="subject-2", email="boss@example.com", email_verified=True),
    ),
    "keys that cannot be had": lambda mock, stranger: mock.answers.update({"/keys": lambda: (503, {})}),
    "keys for encryption only": lambda mock, stranger: mock.keys[0].update(use="enc"),
    "a secret as a key": lambda mock, stranger: mock.keys.__setitem__(
        0, {"kty": "oct", "k": "c2VjcmV0", "kid": "first"}
    ),
}


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_provider_signs_nobody_in(house, mock, stranger, fault):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    FAULTS[fault](mock, stranger)
    with pytest.raises(MainstayError):
        await house.go(provider, mock)
    assert await house.count("sessions") == 0
    assert await house.count("users") == 0
    assert (await actions(house.database))[-1] == "sign_in.failed"


ANSWERS = {
    "no state": lambda answer: answer | {"state": ""},
    "another state": lambda answer: answer | {"state": "x" * 43},
    "a huge state": lambda answer: answer | {"state": "x" * 100_000},
    "another issuer (mix-up)": lambda answer: answer | {"iss": "https://evil.example"},
    "no issuer, though it says that it names itself": lambda answer: {k: v for k, v in answer.items() if k != "iss"},
    "an error": lambda answer: answer | {"error": "access_denied"},
    "an error with markup": lambda answer: answer | {"error": "<script>"},
    "no code": lambda answer: answer | {"code": ""},
    "another code": lambda answer: answer | {"code": "code-99"},
    "a huge code": lambda answer: answer | {"code": "x" * 5000},
}


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("fault", ANSWERS)
async def test_a_browser_that_brings_something_else_is_not_signed_in(house, mock, fault):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    started = await house.start(provider)
    answer = mock.authorize(started.url)
    with pytest.raises(MainstayError) as refused:
        await house.finish(provider, ANSWERS[fault](answer), started.cookie)
    assert "<" not in refused.value.message
    assert await house.count("sessions") == 0
    if "state" not in fault:
        with pytest.raises(MainstayError):
            await house.finish(provider, answer, started.cookie)  # the state was used up
        assert await house.count("sessions") == 0


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("cookie", [None, "", "x" * 43, "x" * 10_000])
async def test_an_answer_is_no_good_in_another_browser(house, mock, cookie):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    started = await house.start(provider)
    with pytest.raises(MainstayError):
        await house.finish(provider, mock.authorize(started.url), cookie)
    assert await house.count("sessions") == 0


async def test_an_answer_is_good_once_and_for_ten_minutes(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    started = await house.start(provider)
    answer = mock.authorize(started.url)
    await house.finish(provider, answer, started.cookie)
    with pytest.raises(MainstayError, match="begin again"):
        await house.finish(provider, answer, started.cookie)
    late = await house.start(provider)
    house.clock.now += 600
    with pytest.raises(MainstayError, match="begin again"):
        await house.finish(provider, mock.authorize(late.url), late.cookie)
    assert await house.count("sessions") == 1


async def test_an_answer_for_one_provider_is_no_good_for_another(house, mock):
    await house.add_domain()
    one = await house.add_provider(mock.issuer, creates_users=True)
    other = await house.add_provider(mock.issuer, creates_users=True)
    started = await house.start(one)
    with pytest.raises(MainstayError, match="begin again"):
        await house.finish(other, mock.authorize(started.url), started.cookie)
    assert await house.count("sessions") == 0


async def test_an_address_that_begins_very_many_waits_and_others_do_not(house, mock):
    provider = await house.add_provider(mock.issuer)
    for _ in range(50):
        await house.start(provider)
    with pytest.raises(RateLimitedError):
        await house.start(provider)
    assert await house.count("sign_in_attempts") == 50
    await house.sign_in.start(provider.id, "/after", Origin(address="203.0.113.77"))
    house.clock.now += 60
    await house.start(provider)


async def test_an_address_that_fails_too_often_waits(house, mock):
    provider = await house.add_provider(mock.issuer)
    for _ in range(20):
        with pytest.raises(MainstayError):
            await house.finish(provider, {"state": "x"}, None)
    with pytest.raises(RateLimitedError):
        await house.start(provider)
    assert (await house.sign_in.start(provider.id, "/", Origin(address="192.0.2.8"))).url


async def test_someone_new_becomes_a_member_and_is_signed_in(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    signed_in = await house.go(provider, mock)
    user = await house.users.find_by_email(HERE, "ann@example.com")
    assert user is not None
    assert user.name == "Ann"
    assert signed_in.return_to == "/after"
    assert signed_in.begun.session.principal_id == user.id
    assert signed_in.begun.session.method == provider.id
    assert "models:call" in house.authority.roles_of(HERE, user.id).everywhere
    done = (await actions(house.database))[-4:]
    assert done == ["user.created", "identity.linked", "binding.created", "session.created"]
    assert CLIENT not in str(mock.requests)
    assert "secret" not in str(await audited(house.database))


async def test_the_second_sign_in_finds_the_same_user_whatever_address_he_has_then(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    first = await house.go(provider, mock)
    mock.person |= {"email": "ann.smith@elsewhere.example", "email_verified": False}
    second = await house.go(provider, mock)
    assert second.begun.session.principal_id == first.begun.session.principal_id
    assert await house.count("users") == 1


async def test_first_sign_ins_at_the_same_moment_make_one_user(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    done = await asyncio.gather(*(house.go(provider, mock) for _ in range(6)))
    assert len({one.begun.session.principal_id for one in done}) == 1
    assert await house.count("users") == 1
    assert await house.count("sessions") == 6


PERSONS = {
    "unverified": {"email_verified": False},
    "not said to be verified": {"email_verified": None},
    "verified, in words of another kind": {"email_verified": "yes"},
    "of another domain": {"email": "ann@elsewhere.example"},
    "of a subdomain": {"email": "ann@mail.example.com"},
    "of a domain that only ends so": {"email": "ann@notexample.com"},
    "with two domains": {"email": "ann@example.com@elsewhere.example"},
    "with a name before it": {"email": "Ann <ann@example.com>"},
    "no text": {"email": ["ann@example.com"]},
    "missing": {"email": None},
}


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("address", PERSONS)
async def test_an_account_is_linked_only_by_a_proven_address_in_a_verified_domain(house, mock, address):
    await house.add_domain()
    await house.add_user()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    mock.claims = _with(**PERSONS[address])
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code in ("email_not_verified", "domain_not_verified")
    assert await house.count("identities") == 0
    assert await house.count("users") == 1


async def test_a_domain_of_another_organisation_does_not_count(house, mock, other_tenant):
    await house.add_domain(organisation_id=other_tenant.organisation_id)
    provider = await house.add_provider(mock.issuer, creates_users=True)
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "domain_not_verified"


async def test_a_known_user_is_linked_and_not_made_twice(house, mock):
    await house.add_domain()
    user_id = await house.add_user("Ann@Example.com")
    provider = await house.add_provider(mock.issuer)
    signed_in = await house.go(provider, mock)
    assert signed_in.begun.session.principal_id == user_id


async def test_a_trusted_provider_need_not_say_that_an_address_is_verified(house, mock):
    await house.add_domain()
    user_id = await house.add_user()
    provider = await house.add_provider(mock.issuer, trusts_email=True, email_claim="upn", subject_claim="oid")
    mock.claims = _with(email=None, email_verified=None, upn="ann@example.com", oid="object-1")
    assert (await house.go(provider, mock)).begun.session.principal_id == user_id


async def test_a_passed_on_address_does_not_open_its_former_owners_account(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    await house.go(provider, mock)
    mock.claims = _with(sub="subject-2")
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "already_linked"


async def test_owners_are_not_linked_by_a_provider_that_no_owner_has_set_up(house, mock):
    from mainstay.platform.identity.roles import SECURITY_ADMIN
    from mainstay.platform.identity.stored_provider import Ceiling

    await house.add_domain()
    user_id = await house.add_user()
    await make_owner(house.database, user_id)
    await house.authority.directory.reload()
    ceiling = Ceiling(actions=frozenset(action.value for action in SECURITY_ADMIN.actions))
    provider = await house.add_provider(mock.issuer, ceiling=ceiling)
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "beyond_provider"
    assert await house.count("sessions") == 0


async def test_someone_unknown_is_refused_where_users_are_not_made(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer)
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "no_account"


async def test_deactivated_users_and_suspended_organisations_stay_out(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    await house.users.update(SYSTEM, HERE, user_id, UserChanges(status=PrincipalStatus.DEACTIVATED))
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "account_deactivated"
    await house.users.update(SYSTEM, HERE, user_id, UserChanges(status=PrincipalStatus.ACTIVE))
    async with house.database.transaction() as transaction:
        await transaction.execute("UPDATE organisations SET status = 'suspended'")
    for subject in (SUBJECT, "subject-2"):
        mock.claims = _with(sub=subject, email=f"{subject}@example.com")
        with pytest.raises(MainstayError) as refused:
            await house.go(provider, mock)
        assert refused.value.code == "organisation_suspended"


async def test_a_disabled_provider_is_not_there(house, mock):
    from mainstay.platform.identity.identity_providers import ProviderChanges

    provider = await house.add_provider(mock.issuer)
    started = await house.start(provider)
    await house.providers.update(SYSTEM, HERE, provider.id, ProviderChanges(is_enabled=False))
    await house.feed.refresh()
    for attempt in (house.start(provider), house.finish(provider, mock.authorize(started.url), started.cookie)):
        with pytest.raises(MainstayError, match="There is no identity provider"):
            await attempt


@pytest.mark.parametrize("end", ["disable", "delete"])
async def test_a_provider_that_is_switched_off_takes_its_sessions_along(house, mock, end):
    from mainstay.platform.identity.identity_providers import ProviderChanges

    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    other = await house.add_provider(mock.issuer, creates_users=True)
    begun = (await house.go(provider, mock)).begun
    kept = (await house.go(other, mock)).begun
    if end == "disable":
        await house.providers.update(SYSTEM, HERE, provider.id, ProviderChanges(is_enabled=False))
    else:
        await house.providers.delete(SYSTEM, HERE, provider.id)
    assert (await house.sessions.get(HERE, begun.session.id)).revoked_at_ms is not None
    assert (await house.sessions.get(HERE, kept.session.id)).revoked_at_ms is None


async def test_what_the_id_token_leaves_out_is_read_from_userinfo(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True, group_claim="groups")
    mock.person = {}
    mock.userinfo |= {"email": "ann@example.com", "email_verified": True, "name": "Ann U."}
    await house.go(provider, mock)
    user = await house.users.find_by_email(HERE, "ann@example.com")
    assert user is not None
    assert user.name == "Ann U."


async def test_what_userinfo_says_of_another_address_proves_nothing(house, mock):
    await house.add_domain()
    await house.add_user("boss@example.com")
    provider = await house.add_provider(mock.issuer, group_claim="groups")
    mock.person = {"email": "boss@example.com", "name": "Ann"}
    mock.userinfo |= {"email": "ann@example.com", "email_verified": True, "groups": []}
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "email_not_verified"
    mock.userinfo["email"] = "boss@example.com"
    assert (await house.go(provider, mock)).begun.session.id


async def test_a_policy_says_with_which_provider_people_sign_in(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, creates_users=True)
    async with house.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO policies (id, organisation_id, scope_type, scope_id, key, value, is_locked, created_at_ms, "
            "updated_at_ms, version) VALUES ('policy_1', 'org_default', 'organisation', 'org_default', "
            "'sign_in.allowed_providers', '[]', :locked, 0, 0, 1)",
            {"locked": True},
        )
    await house.authority.directory.reload()
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "provider_not_allowed"
    assert await house.count("users") == 0


async def test_the_secret_and_the_verifier_are_nowhere_in_clear(house, mock):
    provider = await house.add_provider(mock.issuer)
    assert "secret" not in repr(provider)
    started = await house.start(provider)
    rows = await house.database.fetch("SELECT state_digest, details FROM sign_in_attempts")
    assert started.cookie.encode() not in b"".join(bytes(value) for row in rows for value in row)

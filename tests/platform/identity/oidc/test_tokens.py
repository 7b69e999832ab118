"""Access tokens of identity providers as credentials: whose they are, for how long, and when keys change."""

import pytest
from tests.platform.identity.oidc.house import HERE
from tests.platform.identity.oidc.mock_provider import SUBJECT, Signer
from tests.platform.identity.trail import actions

from mainstay.kit.errors import MainstayError, UnauthenticatedError
from mainstay.platform.audit.events import SYSTEM, ActorType
from mainstay.platform.identity.identities import Identities
from mainstay.platform.identity.identity_providers import ProviderChanges
from mainstay.platform.identity.oidc.settings import ApiTokens, ProviderSettings
from mainstay.platform.identity.oidc.tokens import REMEMBERED_MAX, REMEMBERED_SECONDS
from mainstay.platform.identity.service_accounts import NewServiceAccount, ServiceAccounts

AUDIENCE = "api://mainstay"
ENTRA = ("https://cognitiveservices.azure.com", "https://ai.azure.com")


def access(mock, *, signer=None, **claims) -> bytes:
    """A token of the person, as RFC 9068 has it."""
    wanted = mock.standard_claims(aud=AUDIENCE, scope="chat") | claims
    return (signer or mock.signer).sign({k: v for k, v in wanted.items() if v is not None}, typ="at+jwt").encode()


async def linked(house, mock, **api_tokens):
    """Set a provider up whose subject is a user here."""
    provider = await house.add_provider(mock.issuer, api_tokens=ApiTokens(audiences=(AUDIENCE,), **api_tokens))
    user_id = await house.add_user()
    identities = Identities(house.database, house.acts, house.clock)
    await identities.link(SYSTEM, HERE, provider.id, subject=SUBJECT, user_id=user_id)
    await house.feed.refresh()
    return provider, user_id


async def add_service_account(house) -> str:
    store = ServiceAccounts(house.database, house.acts, house.clock)
    account = await store.create(SYSTEM, HERE, NewServiceAccount(name="Batch", project_id="proj_default"))
    await house.feed.refresh()
    return account.id


async def test_a_known_person_calls_with_a_token(house, mock):
    provider, user_id = await linked(house, mock)
    token = access(mock)
    assert house.tokens.find(token) is None
    caller = await house.tokens.verify(token)
    assert (caller.principal_id, caller.organisation_id, caller.project_id) == (user_id, HERE, "proj_default")
    assert caller.actor_type is ActorType.USER
    assert caller.scopes == {"inference"}
    assert house.tokens.find(token) is caller
    assert SUBJECT not in caller.key_id
    other = await house.tokens.verify(access(mock, exp=mock.now() + 600))
    assert other.key_id == caller.key_id != provider.id


async def test_clocks_may_be_a_minute_apart_and_no_more(house, mock):
    await linked(house, mock)
    now = mock.now()
    good = [{"exp": now - 59}, {"nbf": now + 60}, {"iat": now + 60}, {"exp": now + 0.5}]
    for claims in good:
        assert await house.tokens.verify(access(mock, **claims))
    for claims in ({"exp": now - 60}, {"nbf": now + 61}, {"iat": now + 61}):
        with pytest.raises(UnauthenticatedError):
            await house.tokens.verify(access(mock, **claims))


async def test_a_token_is_remembered_until_it_expires_and_for_five_minutes(house, mock):
    await linked(house, mock)
    short, long = access(mock, exp=mock.now() + 100), access(mock, exp=mock.now() + 10_000)
    for token in (short, long):
        assert await house.tokens.verify(token)
    house.clock.now += 161
    assert house.tokens.find(short) is None
    assert house.tokens.find(long) is not None
    house.clock.now += REMEMBERED_SECONDS
    assert house.tokens.find(long) is None
    assert await house.tokens.verify(long)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await house.tokens.verify(short)


async def test_what_is_remembered_is_bounded(house, mock, monkeypatch):
    monkeypatch.setattr("mainstay.platform.identity.oidc.tokens.REMEMBERED_MAX", 3)
    assert REMEMBERED_MAX == 10_000
    await linked(house, mock)
    tokens = [access(mock, jti=str(number)) for number in range(5)]
    for token in tokens:
        await house.tokens.verify(token)
    assert len(house.tokens) == 3
    assert house.tokens.find(tokens[0]) is None
    assert house.tokens.find(tokens[4]) is not None


async def test_a_change_of_the_provider_or_of_who_is_who_is_in_force_at_once(house, mock):
    provider, user_id = await linked(house, mock)
    token = access(mock)
    await house.tokens.verify(token)
    identities = Identities(house.database, house.acts, house.clock)
    await identities.separate(SYSTEM, HERE, provider.id, user_id)
    await house.feed.refresh()
    assert house.tokens.find(token) is None
    with pytest.raises(UnauthenticatedError):
        await house.tokens.verify(token)
    await identities.link(SYSTEM, HERE, provider.id, subject=SUBJECT, user_id=user_id)
    await house.feed.refresh()
    caller = await house.tokens.verify(token)
    assert house.tokens.is_current(caller)
    await house.providers.update(SYSTEM, HERE, provider.id, ProviderChanges(is_enabled=False))
    await house.feed.refresh()
    assert house.tokens.find(token) is None
    assert not house.tokens.is_current(caller)
    with pytest.raises(UnauthenticatedError):
        await house.tokens.verify(token)


async def test_new_keys_are_found_and_old_ones_forgotten(house, mock):
    await linked(house, mock)
    assert await house.tokens.verify(access(mock))
    second = Signer("second", "EC", "P-256")
    mock.keys = [second.public()]
    house.clock.now += 31
    assert await house.tokens.verify(access(mock, signer=second))
    with pytest.raises(UnauthenticatedError):
        await house.tokens.verify(access(mock, jti="another"))


async def test_another_key_under_the_same_id_is_found_too(house, mock):
    await linked(house, mock)
    assert await house.tokens.verify(access(mock))
    second = Signer("first", "RSA", 2048)
    mock.keys = [second.public()]
    house.clock.now += 31
    assert await house.tokens.verify(access(mock, signer=second))


async def test_an_outage_of_the_provider_is_survived_for_a_day(house, mock):
    await linked(house, mock)
    assert await house.tokens.verify(access(mock))
    mock.answers |= {path: lambda: (503, {}) for path in ("/keys", "/.well-known/openid-configuration")}
    house.clock.now += 86_000
    assert await house.tokens.verify(access(mock))
    house.clock.now += 500
    with pytest.raises(MainstayError) as unavailable:
        await house.tokens.verify(access(mock))
    assert unavailable.value.status == 503
    mock.answers.clear()
    house.clock.now += 31
    assert await house.tokens.verify(access(mock))


async def test_without_keys_nobody_is_believed_and_nobody_is_called_a_liar(house, mock):
    await linked(house, mock)
    mock.answers["/keys"] = lambda: (200, {"keys": []})
    with pytest.raises(MainstayError) as unavailable:
        await house.tokens.verify(access(mock))
    assert unavailable.value.status == 503
    assert len(house.tokens) == 0


async def test_an_unknown_person_becomes_a_user_only_where_users_are_made(house, mock):
    await house.add_domain()
    provider = await house.add_provider(mock.issuer, api_tokens=ApiTokens(audiences=(AUDIENCE,)))
    token = access(mock, **mock.person)
    with pytest.raises(UnauthenticatedError, match="no account"):
        await house.tokens.verify(token)
    settings = ProviderSettings(creates_users=True, api_tokens=ApiTokens(audiences=(AUDIENCE,)))
    await house.providers.update(SYSTEM, HERE, provider.id, ProviderChanges(settings=settings))
    await house.feed.refresh()
    settled = []

    async def settle() -> None:
        settled.append(await house.feed.refresh())

    house.tokens.settle = settle
    caller = await house.tokens.verify(token)
    assert settled
    user = await house.users.find_by_email(HERE, "ann@example.com")
    assert user is not None
    assert caller.principal_id == user.id
    assert "identity.linked" in await actions(house.database)
    assert house.authority.is_valid(caller)


ENTRA_TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("audience", [*ENTRA, ENTRA[0] + "/", "api://mainstay"])
@pytest.mark.parametrize("version", [1, 2])
async def test_tokens_of_entra_id_in_both_versions(house, mock, audience, version):
    issuer = f"https://login.microsoftonline.com/{ENTRA_TENANT}/v2.0"
    mock.metadata["issuer"] = issuer
    house.discovery._metadata._fetch = lambda _: _metadata_of(mock, issuer)
    tokens = ApiTokens(audiences=(*ENTRA, "api://mainstay"))
    provider = await house.add_provider(issuer, subject_claim="oid", api_tokens=tokens)
    user_id = await house.add_user()
    identities = Identities(house.database, house.acts, house.clock)
    await identities.link(SYSTEM, HERE, provider.id, subject="object-1", user_id=user_id)
    claims = mock.standard_claims(
        aud=audience, oid="object-1", sub="pairwise", scp="user_impersonation", tid=ENTRA_TENANT
    )
    claims["iss"] = f"https://sts.windows.net/{ENTRA_TENANT}/" if version == 1 else issuer
    claims |= {"appid": "app", "appidacr": "0"} if version == 1 else {"azp": "app", "azpacr": "0"}
    caller = await house.tokens.verify(mock.signer.sign(claims, x5t="first").encode())
    assert caller.principal_id == user_id
    claims["iss"] = "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"
    with pytest.raises(UnauthenticatedError):
        await house.tokens.verify(mock.signer.sign(claims).encode())


async def _metadata_of(mock, issuer):
    from mainstay.platform.identity.oidc.discovery import Metadata

    return Metadata(
        issuer=issuer,
        authorization_endpoint=f"{mock.issuer}/authorize",
        token_endpoint=f"{mock.issuer}/token",
        jwks_uri=f"{mock.issuer}/keys",
        userinfo_endpoint=None,
        names_itself=False,
        has_pkce=True,
    )


APPLICATIONS = {
    "Entra ID, with idtyp": {"idtyp": "app", "appid": "batch", "oid": "o-1", "sub": "o-1"},
    "Entra ID, without": {"appid": "batch", "appidacr": "2", "oid": "o-1", "sub": "o-1"},
    "as in RFC 9068": {"sub": "batch", "client_id": "batch"},
}


@pytest.mark.parametrize("kind", APPLICATIONS)
async def test_an_application_is_the_service_account_that_it_stands_for(house, mock, kind):
    account = await add_service_account(house)
    await house.add_provider(
        mock.issuer, api_tokens=ApiTokens(audiences=(AUDIENCE,), service_accounts={"batch": account})
    )
    token = access(mock, scope=None, **APPLICATIONS[kind])
    caller = await house.tokens.verify(token)
    assert caller.principal_id == account
    assert caller.actor_type is ActorType.SERVICE_ACCOUNT
    stranger = {name: "evil" if value == "batch" else value for name, value in APPLICATIONS[kind].items()}
    with pytest.raises(UnauthenticatedError, match="stands for no service account"):
        await house.tokens.verify(access(mock, scope=None, **stranger))


async def test_a_person_who_uses_a_mapped_application_stays_a_person(house, mock):
    account = await add_service_account(house)
    _, user_id = await linked(house, mock, service_accounts={"batch": account})
    caller = await house.tokens.verify(access(mock, azp="batch", client_id="batch"))
    assert caller.principal_id == user_id


async def test_a_token_needs_one_of_the_scopes_that_are_asked_for(house, mock):
    await linked(house, mock, required=("chat", "Models.Call"))
    for claims in ({"scope": "openid chat"}, {"scope": "x", "scp": "chat"}, {"roles": ["Models.Call"], "scope": "x"}):
        assert await house.tokens.verify(access(mock, **claims))
    for claims in ({"scope": "chatter"}, {"scope": ""}, {"scope": "x", "roles": "chatty"}, {"scope": ["CHAT"]}):
        with pytest.raises(UnauthenticatedError, match="none of the scopes"):
            await house.tokens.verify(access(mock, **claims))


async def test_an_audience_belongs_to_one_provider_of_all_organisations(house, mock, other_tenant):
    await linked(house, mock)
    for organisation in (HERE, other_tenant.organisation_id):
        with pytest.raises(MainstayError) as taken:
            await house.add_provider(mock.issuer, organisation, api_tokens=ApiTokens(audiences=(AUDIENCE,)))
        assert taken.value.code == "audience_taken"
    second = await house.add_provider(
        mock.issuer, other_tenant.organisation_id, api_tokens=ApiTokens(audiences=("api://other",))
    )
    with pytest.raises(UnauthenticatedError):
        await house.tokens.verify(access(mock), other_tenant.organisation_id)
    with pytest.raises(UnauthenticatedError, match="more than one"):
        await house.tokens.verify(access(mock, aud=[AUDIENCE, "api://other"]))
    assert (await house.tokens.verify(access(mock, aud=[AUDIENCE, "api://other"]), HERE)).organisation_id == HERE
    assert second.organisation_id != HERE


async def test_an_ordinary_provider_takes_no_tokens(house, mock):
    await house.add_provider(mock.issuer)
    with pytest.raises(UnauthenticatedError, match="fit no identity provider"):
        await house.tokens.verify(access(mock))

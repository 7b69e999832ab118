"""What the settings of an identity provider name must be there, and its tokens must be for one organisation only."""

from mainstay.kit.database import Transaction, Value
from mainstay.kit.errors import ConflictError, NotFoundError
from mainstay.platform.identity.oidc.entra import issuers_of
from mainstay.platform.identity.oidc.settings import ProviderSettings, audience_key
from mainstay.platform.identity.roles import BUILT_IN
from mainstay.platform.identity.stored_provider import COLUMNS, IdentityProvider, provider_of


async def require_known(
    transaction: Transaction,
    organisation_id: str,
    settings: ProviderSettings,
    *,
    before: ProviderSettings | None = None,
) -> None:
    """Raise NotFoundError or ConflictError unless all that the settings newly name can be given by a provider."""
    old = before or ProviderSettings()
    for group_id in sorted(set(settings.groups.values()) - set(old.groups.values())):
        await _require_group(transaction, organisation_id, group_id)
    old_roles = {*old.roles.values(), old.default_role_id}
    for role_id in sorted({role for role in (*settings.roles.values(), settings.default_role_id) if role} - old_roles):
        if role_id not in BUILT_IN and not await _exists(transaction, "roles", organisation_id, role_id):
            raise NotFoundError(f"There is no role '{role_id[:80]}'.", param="settings.roles")
    accounts = settings.api_tokens.service_accounts
    for account_id in sorted(set(accounts.values()) - set(old.api_tokens.service_accounts.values())):
        rows = await transaction.fetch(
            "SELECT 1 FROM service_accounts WHERE organisation_id = :organisation_id AND principal_id = :id",
            {"organisation_id": organisation_id, "id": account_id},
        )
        if not rows:
            raise NotFoundError(
                f"There is no service account '{account_id[:80]}'.", param="settings.api_tokens.service_accounts"
            )
    project_id = settings.api_tokens.project_id
    if project_id is not None and not await _exists(transaction, "projects", organisation_id, project_id):
        raise NotFoundError(f"There is no project '{project_id[:80]}'.", param="settings.api_tokens.project_id")


async def require_own_audiences(transaction: Transaction, provider: IdentityProvider) -> None:
    """Raise ConflictError if another provider takes tokens of this issuer for one of the audiences.

    A token then belongs to one organisation, whoever else enters the same issuer.
    """
    wanted = {audience_key(one) for one in provider.settings.api_tokens.audiences}
    if not wanted:
        return
    # One at a time over all organisations, since the same issuer may be entered in two of them at once.
    await transaction.execute(
        "INSERT INTO revisions (name, value) VALUES ('identity_providers', 1) "
        "ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1"
    )
    issuers = sorted(issuers_of(provider.issuer))
    names: dict[str, Value] = {f"issuer_{number}": issuer for number, issuer in enumerate(issuers)}
    placeholders = ", ".join(f":{name}" for name in names)
    rows = await transaction.fetch(
        f"SELECT {COLUMNS} FROM identity_providers WHERE issuer IN ({placeholders}) AND id <> :id",  # noqa: S608 - placeholders
        names | {"id": provider.id},
    )
    for other in map(provider_of, rows):
        taken = wanted & {audience_key(one) for one in other.settings.api_tokens.audiences}
        if taken:
            whose = "Another organisation of this server"
            if other.organisation_id == provider.organisation_id:
                whose = f"The identity provider '{other.name}'"
            raise ConflictError(
                f"{whose} takes this issuer's tokens for '{min(taken)}' already; use an audience of your own.",
                param="settings.api_tokens.audiences",
                code="audience_taken",
            )


async def _require_group(transaction: Transaction, organisation_id: str, group_id: str) -> None:
    rows = await transaction.fetch(
        "SELECT source FROM groups WHERE organisation_id = :organisation_id AND principal_id = :id",
        {"organisation_id": organisation_id, "id": group_id},
    )
    if not rows:
        raise NotFoundError(f"There is no group '{group_id[:80]}'.", param="settings.groups")
    if rows[0][0] == "scim":
        raise ConflictError(
            f"The group '{group_id}' is kept by the directory, by SCIM; sign-ins cannot change it too.",
            param="settings.groups",
            code="managed_elsewhere",
        )


async def _exists(transaction: Transaction, table: str, organisation_id: str, id_: str) -> bool:
    rows = await transaction.fetch(
        f"SELECT 1 FROM {table} WHERE organisation_id = :organisation_id AND id = :id",  # noqa: S608 - constants only
        {"organisation_id": organisation_id, "id": id_},
    )
    return bool(rows)

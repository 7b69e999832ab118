"""Every column that holds a sealed secret; a test finds one that is missing here."""

from mainstay.kit.sealing import SealedColumn
from mainstay.platform.identity.audit_webhooks import SEALED as AUDIT_WEBHOOKS

SEALED_COLUMNS = (
    AUDIT_WEBHOOKS,
    SealedColumn("identity_providers", "client_secret", ("id",), "identity_providers.client_secret/{id}"),
    SealedColumn("idempotency_keys", "response", ("organisation_id", "caller_id", "key"), "idempotency_keys.response"),
    SealedColumn("providers", "credentials", ("id",), "providers.credentials/{id}"),
    SealedColumn("sign_in_attempts", "details", ("state_digest",), "sign_in_attempts.details/{state_digest}"),
)

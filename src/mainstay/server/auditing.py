"""Builds the audit log's keepers: who signs it, sends it out and writes refusals down, and its routes."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from mainstay.api.admin.audit import AuditRoutes
from mainstay.api.admin.audit_webhooks import AuditWebhookRoutes
from mainstay.api.routes import RouteGroup
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.audit.checkpoints import Checkpoints
from mainstay.platform.audit.deliveries import Deliveries
from mainstay.platform.audit.duty import Duty
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.refusals import Refusals
from mainstay.platform.audit.signed_here import SignedHere
from mainstay.platform.audit.signing import Signer
from mainstay.platform.identity.audit_webhooks import Webhooks
from mainstay.server.administration import Safeguards
from mainstay.server.edge import Ground
from mainstay.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditing:
    """The duties must be kept running, and `refusals` be drained at the end."""

    duty: Duty
    refusals: Refusals
    groups: tuple[RouteGroup, ...]

    @property
    def duties(self) -> Sequence[Callable[[], Coroutine[None, None, None]]]:
        """Signing and sending out, which one worker of all does, and writing refusals down."""
        return (self.duty.run, self.refusals.run)


def build_auditing(settings: Settings, ground: Ground, safeguards: Safeguards) -> Auditing:
    """Build them. Raises ConfigurationError when the key that signs the log cannot be used."""
    database, clock = ground.database, ground.clock
    ledger = Ledger(clock)
    signer = Signer(load_or_create_secret(settings.home / "keys" / "audit"))
    signed_here = SignedHere(settings.home / "audit" / "signed.json")
    deliveries = Deliveries(database, ledger, safeguards.vault, safeguards.outbound, clock=clock)
    webhooks = Webhooks(database, ground.acts, safeguards.vault, clock)
    return Auditing(
        duty=Duty(database, Checkpoints(database, signer, clock, signed_here), deliveries, clock),
        refusals=Refusals(database, ledger, clock),
        groups=(
            AuditRoutes(database, ground.acts, signer, signed_here=signed_here, clock=clock),
            AuditWebhookRoutes(webhooks, deliveries, safeguards.idempotency),
        ),
    )

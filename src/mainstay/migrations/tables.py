"""All tables, as every row of the platform describes its own."""

from mainstay.platform.audit import tables as audit
from mainstay.platform.gateway import tables as gateway
from mainstay.platform.identity import tables as identity
from mainstay.platform.metering import tables as metering
from mainstay.platform.vault import tables as vault

METADATA = [vault.metadata, audit.metadata, identity.metadata, metering.metadata, gateway.metadata]

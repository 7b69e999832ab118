"""The TLS settings of outgoing connections."""

import ssl
from pathlib import Path

from mainstay.kit.errors import ConfigurationError


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies host names and certificates, by the system's roots or by `ca_file` alone.

    Costs milliseconds and a megabyte for the roots: share one between all pools.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"CA file '{ca_file}' cannot be read as PEM certificates: {error}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context

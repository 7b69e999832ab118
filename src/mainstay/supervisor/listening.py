"""The listening socket: bound once, inherited by every worker."""

import errno
import os
import socket

from mainstay.kit.errors import ConfigurationError

_BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen. Raises ConfigurationError that says what holds the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_explain(host, port, error)) from error
    os.set_inheritable(listener.fileno(), True)
    listener.setblocking(False)
    return listener


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program. Stop that one, or choose another port: "
            "MAINSTAY_PORT=8081 make run"
        )
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}; choose one above 1023 with MAINSTAY_PORT."
    return f"Cannot listen on {host}:{port}: {error.strerror}. Check server.host and server.port."

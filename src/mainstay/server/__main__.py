"""`python -m mainstay.server`: a worker, as the supervisor starts it."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

import uvloop

from mainstay.kit.errors import MainstayError
from mainstay.kit.processes import die_with_parent
from mainstay.kit.telemetry import configure_logging
from mainstay.server.worker import Worker
from mainstay.settings import Settings


def run() -> None:
    """Read the arguments, tie this process to its parent, and serve."""
    parser = argparse.ArgumentParser(description="A Mainstay worker; 'mainstay serve' starts it.")
    parser.add_argument("--socket", type=int, required=True, help="inherited descriptor of the listening socket")
    parser.add_argument("--lifeline", type=int, required=True, help="inherited pipe that ends with the parent")
    parser.add_argument("--parent", type=int, required=True, help="process id of the supervisor")
    parser.add_argument("--control", required=True, help="path of the control socket")
    parser.add_argument("--settings", type=Path, required=True, help="the copy of mainstay.toml that is in force")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent, arguments.lifeline)
    # Ctrl-C reaches the whole process group; only the supervisor acts on it, and tells us in its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listening = socket.socket(fileno=arguments.socket)
    listening.setblocking(False)
    try:
        settings = Settings.load(file=arguments.settings)
        configure_logging(level=settings.logging.level, style=settings.logging.format)
        worker = Worker(settings, listening, control_path=arguments.control)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(worker.run())
    except MainstayError as error:
        logging.getLogger("mainstay.server").error("this worker cannot serve: %s", error.message)
        sys.exit(1)


run()

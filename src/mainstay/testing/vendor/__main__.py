"""Run the scripted vendor alone: `python -m mainstay.testing.vendor --port 0 --print-port`."""

import argparse
import asyncio
import signal
import sys

import uvloop

from mainstay.testing.vendor import Reply, Vendor

DEFAULT = Reply()


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until a signal to stop comes."""
    reply = Reply(
        text=arguments.text,
        chunks=arguments.chunks,
        delay_seconds=arguments.delay,
        first_delay_seconds=arguments.first_delay,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    vendor = Vendor(reply, api_key=arguments.api_key, socket_path=arguments.unix, is_recording=False)
    await vendor.start(arguments.port)
    if arguments.print_port:
        sys.stdout.write(f"{vendor.port}\n")
        sys.stdout.flush()
    await stopped.wait()
    await vendor.aclose()


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m mainstay.testing.vendor", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    parser.add_argument("--print-port", action="store_true", help="print the port when ready")
    parser.add_argument("--api-key", help="refuse callers with any other key")
    parser.add_argument("--text", default=DEFAULT.text, help="what is answered")
    parser.add_argument("--chunks", type=int, default=DEFAULT.chunks, help="pieces that a stream cuts the text into")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between the chunks of a stream")
    parser.add_argument("--first-delay", type=float, default=0.0, help="seconds before the answer begins")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(serve(read_arguments()))

"""Run the measurements: `python -m benchmarks [PART...] [--quick] [--write]`.

Parts are gateway, streams, idle, start, engine, authorization and scim.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import audit_log, authorization, cold_start, engine, gateway_cpu, idle_streams, scim_sync, streams
from benchmarks.processes import BenchmarkError
from benchmarks.rig import Rig, running_rig
from benchmarks.tables import Claim, Table, claims_table, machine, provenance, write_section

Measurement = Callable[[Rig], tuple[list[Table], list[Claim]]]
GATEWAY: dict[str, Measurement] = {
    "gateway": gateway_cpu.run,
    "streams": streams.run,
    "idle": idle_streams.run,
    "start": cold_start.run,
}

Apart = Callable[..., tuple[list[Table], list[Claim], list[str]]]
APART: dict[str, Apart] = {
    "engine": engine.run,
    "authorization": authorization.run,
    "audit": audit_log.run,
    "scim": scim_sync.run,
}
"""What needs no mock vendor; called with `is_quick`."""


def arguments() -> argparse.Namespace:
    """What was asked for; everything when nothing is named."""
    names = [*GATEWAY, *APART]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one or more of {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="3 short rounds: to see that it works, not to publish")
    parser.add_argument("--write", action="store_true", help="replace the tables in benchmarks/README.md")
    parsed = parser.parse_args()
    unknown = set(parsed.parts) - set(names)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    parsed.parts = parsed.parts or names
    return parsed


def publish(name: str, tables: Sequence[Table], source: str, *, is_written: bool) -> None:
    """Print the tables and where they come from; write both to the README when asked to."""
    print("\n" + "\n".join(table.plain() for table in tables))
    print(source, flush=True)
    if is_written:
        write_section(name, "\n".join([source, "", *(table.markdown() for table in tables)]))


def run_gateway(asked: argparse.Namespace, command: str) -> None:
    """Everything that needs the mock vendor, one section of the README for each part."""
    with running_rig(is_quick=asked.quick) as rig:
        rig.prepare()
        for name in (name for name in GATEWAY if name in asked.parts):
            began = time.monotonic()
            tables, claims = GATEWAY[name](rig)
            closing = [claims_table(claims)] if claims else []
            print(f"{name}: {time.monotonic() - began:.0f} s")
            publish(name, [*tables, *closing], provenance(command, rig.versions()), is_written=asked.write)


def main() -> int:
    """Run what was asked for; the exit status says whether everything could be measured."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleaned up
    command = "python -m benchmarks " + " ".join(sys.argv[1:])
    print(machine(), flush=True)
    try:
        if set(asked.parts) & set(GATEWAY):
            run_gateway(asked, command.strip())
        for name in (name for name in APART if name in asked.parts):
            tables, claims, versions = APART[name](is_quick=asked.quick)
            publish(name, [*tables, claims_table(claims)], provenance(command, versions), is_written=asked.write)
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

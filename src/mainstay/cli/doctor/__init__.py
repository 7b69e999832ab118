"""`mainstay doctor`: looks at everything that an installation needs, and says what to do."""

import functools

import click

from mainstay.cli.doctor.findings import Check, Finding, Level, examine, in_thread
from mainstay.cli.doctor.installation import (
    check_database,
    check_home,
    check_models_folder,
    check_weights,
    settings_findings,
)
from mainstay.cli.doctor.machine import check_capacity, check_engines, check_platform, check_python
from mainstay.cli.doctor.network import check_port, check_providers
from mainstay.cli.doctor.server import check_server
from mainstay.cli.output import Output, output_option
from mainstay.settings import Settings

_MARKS = {Level.OK: click.style("ok     ", fg="green"), Level.WARNING: click.style("warning", fg="yellow")}
_MARKS[Level.PROBLEM] = click.style("problem", fg="red")


@click.command()
@click.option("--network", is_flag=True, help="Also connect to each provider; nothing is sent to them.")
@output_option
async def doctor(network: bool, output: Output) -> None:
    """Check the installation and say what to do. Exit code 1 if something does not work.

    Nothing is changed, and without --network nothing leaves this machine.
    """
    settings = Settings.load(only=(), needs_keys=False)
    findings = await examine(_machine_checks())
    findings += settings_findings(settings)
    findings += await examine(_installation_checks(settings, network=network))
    _show(findings, output)


def _machine_checks() -> list[tuple[str, Check]]:
    return [
        ("python", in_thread(check_python)),
        ("platform", in_thread(check_platform)),
        ("machine", in_thread(check_capacity)),
        ("engine", check_engines),
    ]


def _installation_checks(settings: Settings, *, network: bool) -> list[tuple[str, Check]]:
    checks: list[tuple[str, Check]] = [
        ("home", in_thread(functools.partial(check_home, settings.home))),
        ("models", in_thread(functools.partial(check_models_folder, settings.models_folder))),
        ("weights", in_thread(functools.partial(check_weights, settings))),
        ("port", functools.partial(check_port, settings)),
        ("server", check_server),
    ]
    if "database" not in settings.uncertain:
        checks.insert(2, ("database", functools.partial(check_database, settings)))
    if network:
        checks.append(("provider", functools.partial(check_providers, settings)))
    return checks


def _show(findings: list[Finding], output: Output) -> None:
    is_healthy = all(finding.level is not Level.PROBLEM for finding in findings)
    output.show({"is_healthy": is_healthy, "findings": findings}, lambda: "\n".join(map(_line, findings)))
    if not is_healthy:
        raise click.exceptions.Exit(1)


def _line(finding: Finding) -> str:
    remedy = f"\n{'':21}-> {finding.remedy}" if finding.remedy else ""
    return f"{_MARKS[finding.level]}  {finding.name:10}  {finding.message}{remedy}"

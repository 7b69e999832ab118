"""Looks at one installation: its settings, home, keys, database and weights."""

import asyncio
import os
import stat
from pathlib import Path

from mainstay.cli.doctor.findings import Finding, ok, problem, warning
from mainstay.cli.doctor.machine import check_disk
from mainstay.cli.local_targets import local_targets
from mainstay.kit.database import DatabaseError, open_database
from mainstay.kit.errors import ConfigurationError
from mainstay.migrations.schema import SchemaState, inspect_schema
from mainstay.server.local_models import LocalModels
from mainstay.settings import Problem, Settings

_DATABASE_SECONDS = 5.0


def settings_findings(settings: Settings) -> list[Finding]:
    """Tell whether the settings could be read, and what is odd about them; the advice is given once, at the end."""
    if settings.problems:
        *others, last = (problem("settings", str(one), "") for one in settings.problems)
        last = problem("settings", last.message, "Correct that, then: mainstay deployments check")
        return [*others, last, *(_odd(one) for one in settings.warnings)]
    source = str(settings.file) if settings.file.exists() else f"no {settings.file}; everything is at its default"
    return [ok("settings", source), *(_odd(one) for one in settings.warnings)]


def check_home(home: Path) -> list[Finding]:
    """Can the installation's state be written, by us alone?"""
    if not home.exists():
        parent = next(path for path in home.parents if path.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return [ok("home", f"{home} does not exist yet; the first start makes it"), *check_disk("home", home)]
        remedy = f"Make it for this user, or set MAINSTAY_HOME to a folder that can be written, not in {parent}."
        return [problem("home", f"{home} does not exist and cannot be made.", remedy)]
    if not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return [
            problem("home", f"{home} is no folder that this user may write.", "Change its owner, or MAINSTAY_HOME.")
        ]
    return [ok("home", f"{home} can be written"), *check_disk("home", home), *_check_keys(home / "keys")]


def check_models_folder(folder: Path) -> list[Finding]:
    """Is there room for weights?"""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return [warning("models", f"{folder} cannot be written: no model can be pulled.", "Set MAINSTAY_MODELS.")]
    return check_disk("models", folder)


async def check_database(settings: Settings) -> list[Finding]:
    """Can the database be reached, and is its schema the one that this program needs?"""
    url = settings.database_url.reveal()
    if url.startswith("sqlite:") and not await asyncio.to_thread(Path(url.removeprefix("sqlite:///")).exists):
        # Looking would create it.
        return [ok("database", "The SQLite file does not exist yet; the first start makes it")]
    database = open_database(url, timeout_seconds=_DATABASE_SECONDS)
    try:
        schema = await inspect_schema(database)
    except (DatabaseError, ConfigurationError) as error:
        remedy = f"See {settings.origin('database.url')} for database.url." if settings.database.url else ""
        return [problem("database", error.message, remedy)]
    finally:
        await database.aclose()
    if schema.state is SchemaState.CURRENT:
        return [ok("database", f"{database.dialect} at schema version {schema.version}")]
    message = f"{database.dialect} is at schema version {schema.version or 'none'}; this program needs {schema.newest}."
    return [warning("database", message, "The next start upgrades it; make a backup first.")]


def check_weights(settings: Settings) -> list[Finding]:
    """Is every model here that the settings count on?"""
    targets = local_targets(settings)
    if all(one.is_known for one in targets):
        settings = LocalModels.of(settings).complete(settings)
        targets = local_targets(settings)
    faulty = {one.model: one for one in targets if one.problem is not None}
    here = sorted({one.model for one in targets} - faulty.keys())
    found = [_absent(one.problem) for one in faulty.values() if one.problem is not None]
    if here:
        found.append(ok("weights", f"installed and in use: {', '.join(here)}"))
    if not targets and not settings.providers:
        found.append(
            warning("weights", "No chat model is installed and no provider is declared: nothing answers.", "make run")
        )
    return found


def _check_keys(folder: Path) -> list[Finding]:
    """Are the secrets of the installation readable by their owner alone?"""
    if not folder.exists():
        return []
    wrong = [path for path in (folder, *folder.iterdir()) if _is_exposed(path)]
    if not wrong:
        return [ok("keys", f"{folder} is private")]
    names = ", ".join(path.name for path in wrong[:5])
    remedy = f"chmod 700 {folder} && chmod 600 {folder}/*"
    return [problem("keys", f"Others may read {names} in {folder.parent}, or another user owns it.", remedy)]


def _is_exposed(path: Path) -> bool:
    state = path.lstat()
    return bool(state.st_mode & (stat.S_IRWXG | stat.S_IRWXO)) or state.st_uid != os.geteuid()


def _odd(found: Problem) -> Finding:
    return warning("settings", str(found), "")


def _absent(found: Problem) -> Finding:
    place = "" if found.place == "default" else f"{found.place}: "
    text, _, remedy = found.message.partition("; run ")
    return problem("weights", f"{place}{text}.", f"Run {remedy}")

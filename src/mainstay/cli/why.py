"""`mainstay why`: may someone do something, and why?"""

import os
import re
from typing import Any

import click

from mainstay.cli.admin.naming import everything, user_of
from mainstay.cli.chat.connection import checked_base_url, default_api_key, default_base_url, explained
from mainstay.cli.output import Output, output_option
from mainstay.client.administration import Administration
from mainstay.kit.errors import ConflictError, InvalidRequestError, MainstayError, PermissionDeniedError

_MARKS = {"allows": "+", "refuses": "-", "nothing": " "}
_ID = re.compile(r"(user|sa)_[0-9a-f]{32}")

Json = dict[str, Any]  # what the server answered


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("who", metavar="EMAIL|NAME|ID")
@click.argument("action", required=False)
@click.option("--deployment", metavar="NAME", help="About calling a deployment.")
@click.option("--resource", metavar="TYPE:ID", help="About one resource, such as project:proj_default.")
@click.option("--project", metavar="ID", help="As in this project.")
@click.option("--organisation", metavar="ID", help="In another organisation (owner of the machine only).")
@output_option
async def why(
    output: Output,
    *,
    who: str,
    action: str | None,
    deployment: str | None,
    resource: str | None,
    project: str | None,
    organisation: str | None,
) -> None:
    """Say whether WHO may do ACTION, and everything that was looked at for it.

    WHO is a mail address, the name of a service account, or the id of a user, service account or key.
    `mainstay why ann@example.org --deployment chat` asks about a model; `mainstay why ann@example.org users:write`
    about an action.
    """
    if action is None and deployment is None:
        raise InvalidRequestError("Say what is asked about: an action such as users:write, or --deployment NAME.")
    said_by = "MAINSTAY_BASE_URL" if os.environ.get("MAINSTAY_BASE_URL") else "The server's address"
    base_url = checked_base_url(default_base_url(), said_by=said_by)
    try:
        async with Administration(base_url, default_api_key(base_url), organisation=organisation) as administration:
            query = await _who(administration, who)
            asked = {"action": action, "deployment": deployment, "resource": resource, "project": project}
            query |= {name: value for name, value in asked.items() if value is not None}
            answer = (await administration.call("GET", "/admin/v1/why", query=query)).value
    except MainstayError as error:
        raise explained(error, base_url) from error
    output.show(answer, lambda: _told(answer))


async def _who(administration: Administration, who: str) -> dict[str, str]:
    if who.startswith("key_"):
        return {"key": who}
    if "@" in who:
        return {"principal": await user_of(administration, who)}
    if _ID.fullmatch(who):
        return {"principal": who}
    return {"principal": await _service_account_of(administration, who) or who}


async def _service_account_of(administration: Administration, name: str) -> str | None:
    """Return the id of the only service account with this name; None if there is none that may be seen."""
    try:
        accounts = [one async for one in everything(administration, "/admin/v1/service_accounts")]
    except PermissionDeniedError:
        return None
    ids = [str(one["id"]) for one in accounts if one["name"] == name]
    if name in (one["id"] for one in accounts):
        return name
    if len(ids) > 1:
        raise ConflictError(f"{len(ids)} service accounts are named {name[:80]}: {', '.join(ids[:5])}; give an id.")
    return ids[0] if ids else None


def _told(answer: Json) -> str:
    names: dict[str, str] = answer["names"]
    lines = [answer["answer"], ""]
    for reason in answer["reasons"]:
        path = " > ".join(names.get(one, one) for one in reason.get("path") or ())
        lines.append(f"  {_MARKS.get(reason['effect'], ' ')} {reason['text']}" + (f" ({path})" if path else ""))
    if answer["policy"]:
        lines += ["", "Policy on deployments, broadest place first:"]
        lines += [_step(step, names) for step in answer["policy"]]
    return "\n".join(lines)


def _step(step: Json, names: dict[str, str]) -> str:
    where = " ".join(filter(None, (step["scope_type"], names.get(step["scope_id"], step["scope_id"]))))
    mark = "*" if step["is_decisive"] else " "
    return f"  {mark} {where}{' (locked)' if step['is_locked'] else ''}: {_value(step['value'])} - {step['note']}"


def _value(value: object) -> str:
    if value is None:
        return "no limit"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)

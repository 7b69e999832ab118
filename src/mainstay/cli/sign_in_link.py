"""`mainstay sign-in-link`: lets someone in without a password: the first owner, or whoever is locked out."""

import time
from contextlib import closing

import click

from mainstay.api.admin.sessions import link_url
from mainstay.cli.database import database_settings, existing_database, installed_database
from mainstay.cli.installed_keys import operator_act
from mainstay.cli.output import Output, output_option
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.first_owner import FIRST_EMAIL, FirstOwner
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.server.edge import build_doors, build_ground
from mainstay.settings import Settings
from mainstay.supervisor.paths import address_path


@click.command("sign-in-link")
@click.argument("email", required=False)
@click.option("--organisation", default=DEFAULT_ORGANISATION_ID, metavar="ID", help="The organisation of the user.")
@click.option("--url", hidden=True, help="Where the server is; without it, as it says itself.")
@click.option("--first", is_flag=True, hidden=True, help="Make the first owner, unless there are users.")
@output_option
async def sign_in_link(output: Output, *, email: str | None, organisation: str, url: str | None, first: bool) -> None:
    """Print a link that signs the user EMAIL in, once.

    In an organisation without an owner it makes that user the owner: this is how the first one comes to be. Whoever
    has the link is the user, so hand it over with care.
    """
    if not first and email is None:
        raise InvalidRequestError("Say whom the link is for: mainstay sign-in-link EMAIL.", param="email")
    settings = database_settings(output)
    async with (installed_database if first else existing_database)(settings) as database:
        ground = build_ground(settings, database)
        doors = build_doors(settings, ground)
        with closing(doors.passwords):
            owner = FirstOwner(database, ground.acts, ground.clock)
            if first and await owner.has_users(organisation):
                output.show({"sign_in_link": None}, "There are users already; give the address of one.")
                return
            act = operator_act()
            user, is_new_owner = await owner.find_or_make(act, organisation, FIRST_EMAIL if email is None else email)
            secret, expires_at_ms = await doors.links.create(act, organisation, user.id)
    link = link_url(settings.server.public_url or url or _address(settings), secret)
    if is_new_owner:
        output.note(f"{user.email} is now an owner of the organisation {organisation}.")
    until = time.strftime("%H:%M UTC", time.gmtime(expires_at_ms / 1000))
    output.note(f"The link signs {user.email} in once, until {until}; nobody else should see it.")
    told = {"sign_in_link": link, "user_id": user.id, "email": user.email, "expires_at": expires_at_ms // 1000}
    output.show(told, link)


def _address(settings: Settings) -> str:
    """Return where the server is, or will be when it is started as it is configured."""
    try:
        return address_path(settings.home).read_text(encoding="utf-8").strip()
    except OSError:
        return f"http://{settings.server.host}:{settings.server.port}"

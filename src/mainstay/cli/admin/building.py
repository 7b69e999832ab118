"""The five commands that almost every kind of thing has: list, show, create, set, delete."""

from mainstay.cli.admin.verbs import Field, Kind, Verb

ROOT = "/admin/v1"
NAME = Field("name", "What it is called.", is_required=True)
RENAMED = Field("name", "What it is called.")
DESCRIPTION = Field("description", "What it is for.")
EXPIRES = Field("expires_at", "Until when: a date, or 30d, 12h or 90m from now; none is for ever.", Kind.DATE)
ENABLED = Field("is_enabled", "false keeps it, and uses it no more.", Kind.SWITCH)


def list_of(path: str, what: str, columns: tuple[str, ...], *filters: Field) -> Verb:
    """List things, page by page."""
    return Verb(name="list", method="GET", path=ROOT + path, help=f"List {what}.", columns=columns, filters=filters)


def show(path: str, what: str) -> Verb:
    """Show one thing."""
    return Verb(name="show", method="GET", path=ROOT + path, help=f"Show {what}.")


def create(path: str, what: str, *fields: Field, once: str | None = None, thing: str | None = None) -> Verb:
    """Create a thing; `once` is the member that is shown this once."""
    return Verb(
        name="create",
        method="POST",
        path=ROOT + path,
        help=f"Create {what}.",
        fields=fields,
        once=once,
        thing=thing,
    )


def change(path: str, what: str, *fields: Field) -> Verb:
    """Change a thing, if nobody else has meanwhile."""
    return Verb(name="set", method="PATCH", path=ROOT + path, help=f"Change {what}.", fields=fields, is_versioned=True)


def delete(path: str, what: str, *, name: str = "delete", help: str | None = None) -> Verb:
    """Delete a thing."""
    return Verb(name=name, method="DELETE", path=ROOT + path, help=help or f"Delete {what}.")

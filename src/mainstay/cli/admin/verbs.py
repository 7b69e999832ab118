"""What a command of `mainstay admin` is made of: a route, and the options that become its body or its query."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mainstay.kit.errors import InvalidRequestError

_PARAMETER = re.compile(r"\{(\w+)\}")


class Kind(StrEnum):
    """How the text of an option becomes a JSON value."""

    WORDS = "TEXT"
    NUMBER = "NUMBER"
    SWITCH = "true|false"
    NAMES = "A,B"
    JSON = "JSON|@FILE"
    SECRET = "VALUE|@FILE"  # noqa: S105 - the form of an option
    DATE = "DATE|30d"
    SCOPE = "TYPE:ID"


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a body, or a parameter of a query. `name` is the API's; its option has hyphens."""

    name: str
    help: str
    kind: Kind = Kind.WORDS
    is_required: bool = False
    choices: tuple[str, ...] = ()
    """All that it may be, if that is a short list."""

    @property
    def option(self) -> str:
        """The option's name."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command. `columns` are what a list shows of each item; without them the answer is one thing."""

    name: str
    method: str
    path: str
    help: str
    fields: tuple[Field, ...] = ()
    filters: tuple[Field, ...] = ()
    columns: tuple[str, ...] = ()
    constants: Mapping[str, object] | None = None
    """Members that the body always has."""
    once: str | None = None
    """The member that holds a secret which is shown this once."""
    thing: str | None = None
    """What that secret belongs to, for people: its id is in the answer."""
    fails_unless: str | None = None
    """The member that says whether what was tried out works; if it does not, the exit code is 1."""
    is_paged: bool = True
    """Whether a list comes in pages."""
    is_versioned: bool = False
    """Whether the thing is read first and changed only if nobody has changed it meanwhile."""

    @property
    def parameters(self) -> list[str]:
        """The arguments: what the path names."""
        return _PARAMETER.findall(self.path)


@dataclass(frozen=True, slots=True)
class Area:
    """The commands for one kind of thing."""

    name: str
    help: str
    verbs: tuple[Verb, ...]


def value_of(field: Field, text: str) -> object:
    """Return the JSON value that an option's text means. Raises InvalidRequestError."""
    match field.kind:
        case Kind.NUMBER:
            return _number(field, text)
        case Kind.SWITCH:
            return _switch(field, text)
        case Kind.NAMES:
            return [name.strip() for name in text.split(",") if name.strip()]
        case Kind.JSON:
            return _json(field, _content(field, text))
        case Kind.SECRET:
            return _content(field, text).strip()
        case Kind.DATE:
            return _date(field, text)
        case Kind.SCOPE:
            return _scope(field, text)
        case Kind.WORDS:
            return text


def _number(field: Field, text: str) -> int | float | None:
    if text == "none":
        return None
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise _wrong(field, text, "a number, or none") from None


def _switch(field: Field, text: str) -> bool:
    try:
        return {"true": True, "false": False, "yes": True, "no": False}[text.lower()]
    except KeyError:
        raise _wrong(field, text, "true or false") from None


def _json(field: Field, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequestError(f"{field.option} is not JSON: {error}.", param=field.name) from None


def _scope(field: Field, text: str) -> dict[str, str]:
    type_, colon, id_ = text.partition(":")
    if not (type_ and colon and id_):
        raise _wrong(field, text, "a type and an id such as project:proj_default")
    return {"type": type_, "id": id_}


def _date(field: Field, text: str) -> int | None:
    """Return Unix seconds."""
    import time
    from datetime import UTC, datetime

    if text == "none":
        return None
    if re.fullmatch(r"\d{1,7}[dhm]", text):
        return int(time.time()) + int(text[:-1]) * {"d": 86_400, "h": 3600, "m": 60}[text[-1]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(field, text, "a date such as 2027-01-31, a time, 30d, 12h, 90m, or none") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _content(field: Field, text: str) -> str:
    """`@FILE` is what the file holds, `-` what comes on standard input: secrets stay out of the shell's history."""
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{field.option}: {text[1:]} cannot be read: {error}.", param=field.name) from None


def _wrong(field: Field, text: str, wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field.option} is {text[:100]!r}; write {wanted}.", param=field.name)

"""What people call things and each other: names and mail addresses, made comparable and harmless."""

import unicodedata

from mainstay.kit.errors import InvalidRequestError

NAME_LENGTH_MAX = 200
DESCRIPTION_LENGTH_MAX = 2000
EMAIL_LENGTH_MAX = 254
"""RFC 5321, 4.5.3.1.3, less the angle brackets."""

_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of text, and so can make a name look like another."""


def clean_name(text: str, what: str, *, param: str = "name") -> str:
    """Return the name in NFC, without spaces around it. Raises InvalidRequestError for an empty or unprintable one."""
    name = unicodedata.normalize("NFC", text[: 4 * NAME_LENGTH_MAX]).strip()
    if not 1 <= len(name) <= NAME_LENGTH_MAX or len(text) > 4 * NAME_LENGTH_MAX or not is_printable(name):
        raise InvalidRequestError(f"{what} needs a name of 1 to {NAME_LENGTH_MAX} printable characters.", param=param)
    return name


def clean_description(text: str, *, param: str = "description") -> str:
    """Return the description. Raises InvalidRequestError for one that is too long or not printable."""
    if len(text) > DESCRIPTION_LENGTH_MAX or not is_printable(text.replace("\n", " ")):
        raise InvalidRequestError(
            f"A description may have up to {DESCRIPTION_LENGTH_MAX} printable characters.", param=param
        )
    return text


def clean_email(text: str, *, param: str = "email") -> str:
    """Return the mail address in NFKC, as it is shown. Raises InvalidRequestError for what is none.

    Only the shape is looked at: that mail arrives there is for a verified domain or a sign-in to show.
    """
    email = unicodedata.normalize("NFKC", text[: 2 * EMAIL_LENGTH_MAX]).strip()
    local, _, domain = email.rpartition("@")
    is_address = (
        len(text) <= 2 * EMAIL_LENGTH_MAX
        and len(email) <= EMAIL_LENGTH_MAX
        and bool(local and domain)
        and "@" not in local
        and is_printable(email)
        and not any(letter.isspace() or letter in '<>",;:\\' for letter in email)
    )
    if not is_address:
        raise InvalidRequestError(f"{text[:80]!r} is no mail address.", param=param)
    return email


def folded(text: str) -> str:
    """Return the text as it is compared: NFKC and case-folded, twice, since folding can undo the form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()


def search_text(name: str, email: str) -> str:
    """Return what a search for a user looks in: both, folded, on lines of their own.

    Short enough for an index: folding makes up to 18 letters of one, which is cut off.
    """
    return f"{folded(name)[:NAME_LENGTH_MAX]}\n{folded(email)}"


def is_printable(text: str) -> bool:
    """Whether the text has no control characters, lone surrogates, line separators or turns of direction."""
    return not any(letter in _DIRECTION or unicodedata.category(letter) in _REFUSED_CATEGORIES for letter in text)


def clean_id(text: str) -> str:
    """Return an id that was given as one that a database can be asked for; PostgreSQL's text cannot hold NUL."""
    return text[:NAME_LENGTH_MAX].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()

"""The environment variables that take precedence over mainstay.toml."""

import difflib
from collections.abc import Iterator, Mapping

from mainstay.settings.toml_lines import KeyPath

HOME = "MAINSTAY_HOME"

VARIABLES: Mapping[str, KeyPath] = {
    "MAINSTAY_MODELS": ("models", "folder"),
    "MAINSTAY_DEFAULT_MODEL": ("models", "default"),
    "MAINSTAY_THREADS": ("models", "threads"),
    "MAINSTAY_HOST": ("server", "host"),
    "MAINSTAY_PORT": ("server", "port"),
    "MAINSTAY_WORKERS": ("server", "workers"),
    "MAINSTAY_REGION": ("server", "region"),
    "MAINSTAY_PUBLIC_URL": ("server", "public_url"),
    "MAINSTAY_DATABASE_URL": ("database", "url"),
    "MAINSTAY_LOG_LEVEL": ("logging", "level"),
    "MAINSTAY_LOG_FORMAT": ("logging", "format"),
}
"""Name of a variable and the key that it sets. An empty variable is as good as none."""

WHOLE_NUMBERS = {"MAINSTAY_PORT", "MAINSTAY_WORKERS", "MAINSTAY_THREADS"}
WORDS = {"MAINSTAY_LOG_LEVEL", "MAINSTAY_LOG_FORMAT"}
"""Of a closed set; capitals are accepted, as other programs have them."""


def read_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, KeyPath, object]]:
    """Yield the variables that are set: name, what they set, value. A bad value is passed on for the tree to judge."""
    for name, path in VARIABLES.items():
        text = environ.get(name, "").strip()
        if not text:
            continue
        if name in WHOLE_NUMBERS:
            yield name, path, _whole_number(text)
        else:
            yield name, path, text.lower() if name in WORDS else text


def misspelt_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield variables that look like a mistyped one of ours, with the name that was perhaps meant."""
    known = (HOME, *VARIABLES)
    for name in sorted(environ):
        if name.startswith("MAINSTAY_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if close:
                yield name, close[0]


def _whole_number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text

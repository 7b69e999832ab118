"""What a session was begun with, in words: the browser and the system that a user agent says."""

_SHOWN_MAX = 40
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""The first that occurs counts: most browsers also name those that they are like."""
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def program_name(user_agent: str) -> str:
    """Return what to call the program, e.g. `Chrome on Linux`; what is no known browser is quoted, shortened."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser is not None and user_agent.startswith("Mozilla/"):
        return browser if system is None else f"{browser} on {system}"
    shown = "".join(letter for letter in user_agent if letter.isprintable()).strip()
    if len(shown) > _SHOWN_MAX:
        return shown[: _SHOWN_MAX - 1].rstrip() + "…"
    return shown or "Unknown program"


def _first(table: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    return next((name for sign, name in table if sign in user_agent), None)

"""Pages as text: what is put in is escaped here and nowhere else."""

from collections.abc import Iterable
from html import escape

STYLE = b"""\
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #5b646d; --line: #d4d9de; --paper: #fff; --ground: #f5f6f7;
  --deed: #1a5fb4; --deed-ink: #fff; --alarm: #a51d2d; --alarm-paper: #fdf0f1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaec; --quiet: #a4acb4; --line: #3c444c; --paper: #1e2226;
  --ground: #15181b; --deed: #78aeed; --deed-ink: #10151a; --alarm: #ff9aa5; --alarm-paper: #35191d; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; padding: 0 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 8vh auto 2rem; padding: 2rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: .75rem; }
main.wide { max-width: 44rem; }
main.wide label { max-width: 24rem; }
@media (max-width: 30rem) { main { margin-top: 1rem; padding: 1.5rem 1.25rem; } }
.brand { display: flex; gap: .5rem; align-items: center; margin: 0 0 1.5rem; font-weight: 600; }
.brand::before { content: ""; width: 1rem; height: 1rem; background: var(--deed); border-radius: .25rem; }
h1 { margin: 0 0 1rem; font-size: 1.375rem; line-height: 1.3; font-weight: 600; }
h2 { margin: 2rem 0 .75rem; font-size: 1.0625rem; font-weight: 600; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
a { color: var(--deed); }
.quiet { color: var(--quiet); font-size: .9375rem; }
.aside { margin: .5rem 0 0; text-align: center; font-size: .9375rem; }
label { display: block; margin-bottom: 1rem; font-weight: 500; }
input { display: block; width: 100%; min-height: 2.75rem; margin-top: .25rem; padding: .5rem .75rem; font: inherit;
  color: inherit; background: var(--paper); border: 1px solid var(--quiet); border-radius: .375rem; }
button, a.button { display: inline-block; min-height: 2.75rem; padding: .5625rem 1rem; font: inherit; font-weight: 500;
  text-decoration: none; cursor: pointer; color: var(--deed-ink); background: var(--deed);
  border: 1px solid var(--deed); border-radius: .375rem; }
button.second, a.button.second { color: var(--ink); background: none; border-color: var(--quiet); }
.whole { width: 100%; text-align: center; margin-bottom: .75rem; overflow-wrap: anywhere; }
main > :last-child, main > :last-child > .whole:last-child { margin-bottom: 0; }
.or { display: flex; gap: .75rem; align-items: center; margin: .25rem 0 .75rem; color: var(--quiet); }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line); }
:focus-visible { outline: 3px solid var(--deed); outline-offset: 2px; }
summary { margin: .5rem 0 1rem; cursor: pointer; color: var(--quiet); }
.alarm { padding: .75rem 1rem; color: var(--alarm); background: var(--alarm-paper); border-left: 4px solid; }
.told { padding: .75rem 1rem; border-left: 4px solid var(--deed); }
ul.rows { margin: 0; padding: 0; list-style: none; border-bottom: 1px solid var(--line); }
ul.rows li { display: flex; gap: 1rem; align-items: center; justify-content: space-between; padding: .75rem 0;
  border-top: 1px solid var(--line); }
ul.rows li > :first-child { flex: 1; min-width: 0; overflow-wrap: anywhere; }
ul.rows li > :last-child { flex: none; white-space: nowrap; }
.name { display: block; font-weight: 500; }
.mark { padding: .125rem .625rem; font-size: .875rem; font-weight: 500; color: var(--deed);
  border: 1px solid; border-radius: 1rem; }
"""


class Html(str):
    """Text that is a part of a page already."""

    __slots__ = ()


def text(value: str) -> Html:
    """Return the text, escaped."""
    return Html(escape(value, quote=True))


def element(name: str, content: str | Iterable[Html] = "", **attributes: str | bool) -> Html:
    """Return an element. Plain content is escaped; `class_` and `for_` are the attributes without the dash below."""
    if isinstance(content, Html):
        inner: str = content
    else:
        inner = text(content) if isinstance(content, str) else "".join(content)
    return Html(f"<{name}{_attributes(attributes)}>{inner}</{name}>")


def field(label: str, name: str, *, kind: str = "text", autocomplete: str, value: str = "") -> Html:
    """Return a labelled field that must be filled in."""
    attributes = _attributes(
        {"name": name, "type": kind, "autocomplete": autocomplete, "value": value, "required": True}
    )
    return element("label", [text(label), Html(f"<input{attributes}>")])


def hidden(name: str, value: str) -> Html:
    """Return a field that nobody sees."""
    return Html(f"<input{_attributes({'type': 'hidden', 'name': name, 'value': value})}>")


def form(action: str, *content: Html) -> Html:
    """Return a form that is sent with POST."""
    return element("form", content, method="post", action=action)


def page(title: str, *content: Html, is_wide: bool = False) -> bytes:
    """Return a whole page."""
    brand = element("p", "Mainstay", class_="brand")
    main = element("main", [brand, element("h1", title), *content], class_="wide" if is_wide else "")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<title>{text(title)} - Mainstay</title><link rel="stylesheet" href="/auth/style.css"></head>'
        f"<body>{main}</body></html>\n"
    ).encode("utf-8", "replace")


def _attributes(given: dict[str, str | bool]) -> str:
    parts = []
    for name, value in given.items():
        plain = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {plain}")
        elif isinstance(value, str) and (value or plain == "value"):
            parts.append(f' {plain}="{text(value)}"')
    return "".join(parts)

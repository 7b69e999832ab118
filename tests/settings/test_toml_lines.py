"""Every key, table and element is found at its line, whatever way the document writes it."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.settings.toml_lines import DEPTH_LIMIT, KeyPath, TooDeepError, locate

DOCUMENT = '''\
# a comment with [brackets] and "quotes
top = 1   # trailing = comment

[server]
host = "a # no comment"
"quoted key" = 'literal \\'
dotted . inner."part.with.dots" = 2

[[deployments]]
name = "one"
targets = [ # comment ]
  { provider = "a", model = "]}" },

  { provider = "b", model = """
several
\\"""lines = [
""" },
]

  [deployments.prices]
  input = 1.5
  [[deployments.rules]]
  kind = "x"
  [[deployments.rules]]
  kind = "y"

[[deployments]]
name = \'\'\'two
lines\'\'\'
[[deployments.rules]]
kind = "z"
[aliases]
"gpt-4o" = "one"
"\\u00e9\\"t" = 1979-05-27 07:32:00
empty = []
nothing = {}
nested = [[1, 2], [
  3]]
[implicit.inner.leaf]
[implicit]
x = 1
'''

FOUND: list[tuple[KeyPath, int]] = [
    (("top",), 2),
    (("server",), 4),
    (("server", "host"), 5),
    (("server", "quoted key"), 6),
    (("server", "dotted"), 7),
    (("server", "dotted", "inner", "part.with.dots"), 7),
    (("deployments",), 9),
    (("deployments", 0), 9),
    (("deployments", 0, "name"), 10),
    (("deployments", 0, "targets"), 11),
    (("deployments", 0, "targets", 0), 12),
    (("deployments", 0, "targets", 0, "model"), 12),
    (("deployments", 0, "targets", 1), 14),
    (("deployments", 0, "targets", 1, "provider"), 14),
    (("deployments", 0, "targets", 1, "model"), 14),
    (("deployments", 0, "prices"), 20),
    (("deployments", 0, "prices", "input"), 21),
    (("deployments", 0, "rules", 0, "kind"), 23),
    (("deployments", 0, "rules", 1), 24),
    (("deployments", 0, "rules", 1, "kind"), 25),
    (("deployments", 1), 27),
    (("deployments", 1, "name"), 28),
    (("deployments", 1, "rules", 0, "kind"), 31),
    (("aliases", "gpt-4o"), 33),
    (("aliases", 'é"t'), 34),
    (("aliases", "empty"), 35),
    (("aliases", "nothing"), 36),
    (("aliases", "nested", 0, 1), 37),
    (("aliases", "nested", 1), 37),
    (("aliases", "nested", 1, 0), 38),
    (("implicit", "inner"), 39),
    (("implicit", "inner", "leaf"), 39),
    (("implicit",), 40),
    (("implicit", "x"), 41),
]


def test_document_of_this_test_says_what_it_seems_to():
    assert set(paths(tomllib.loads(DOCUMENT))) == set(locate(DOCUMENT).by_path)


@pytest.mark.parametrize(("path", "line"), FOUND, ids=str)
def test_each_thing_is_found_at_its_line(path: KeyPath, line: int):
    assert locate(DOCUMENT).line(path) == line


def test_windows_line_ends_count_once():
    assert locate(DOCUMENT.replace("\n", "\r\n")) == locate(DOCUMENT)


def test_what_is_absent_is_found_at_what_surrounds_it():
    lines = locate("[a]\nb = [\n {c = 1},\n]\n")
    assert lines.line(("a", "b", 0, "missing", "deeper")) == 3
    assert lines.line(("a", "b", 7)) == 2
    assert lines.line(("z",)) is None


@pytest.mark.parametrize("quotes", range(6, 11))
def test_quotes_at_the_end_of_a_multiline_string_belong_to_it(quotes: int):
    for quote in "\"'":
        text = f"a = {quote * 3}x\n{quote * (quotes - 3 - 3 + 3 if quotes < 9 else 5)}\nb = 1"
        tomllib.loads(text)
        assert locate(text).line(("b",)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[[",
        "]",
        "=",
        "a",
        "a =",
        "a = [",
        "a = {",
        'a = "',
        'a = """',
        "[a",
        "[[a]",
        'a."\\q" = 1',
        "\x00",
        "a = [1 2]",
    ],
)
def test_text_that_is_no_toml_is_walked_as_far_as_it_goes(text: str):
    assert locate("first = 1\n" + text).line(("first",)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "ok = 1\na = " + "[" * 100_000,
        "ok = 1\na = " + "{b=" * 100_000,
        "ok = 1\n" + "a." * 100_000 + "a = 1",
        "ok = 1\n[" + "a." * 100_000 + "a]",
        "ok = 1\n[[" + "a." * 100_000 + "a]]",
    ],
    ids=["arrays", "inline tables", "dotted key", "table", "array of tables"],
)
def test_deep_nesting_is_refused_with_its_line(text: str):
    with pytest.raises(TooDeepError) as caught:
        locate(text)
    assert caught.value.line == 2


def test_nesting_up_to_the_bound_is_read():
    text = "a = " + "[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1)
    assert locate(text).line(("a", 0, 0)) == 1


@given(st.text(alphabet="[]{}=.,\"'\\# \nab1", max_size=60))
def test_any_text_is_walked_and_valid_toml_is_found_whole(text: str):
    lines = locate(text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(paths(document)) == set(lines.by_path)


# A writer that remembers where it put everything: the scanner must find it all there.

KEYS = st.one_of(
    st.sampled_from(["a", "b", "name", "1-2_3", "gpt-4.1", "", 'q"q', "é\n", "#", "a]"]), st.text(max_size=3)
)
SCALARS = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.text(alphabet=st.sampled_from("ab\"'\\\n[]{}#=, é"), max_size=8),
    st.sampled_from([1.5, float("inf")]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(
    KEYS, st.one_of(VALUES, st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1)), max_size=4
)


class Writer:
    """Writes a document in ways that a seeded choice decides, and notes the line of every path."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.text = ""
        self.found: dict[KeyPath, int] = {}

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def decide(self) -> bool:
        return self.draw(st.booleans())

    def note(self, path: KeyPath) -> None:
        self.found.setdefault(path, self.text.count("\n") + 1)

    def filler(self) -> None:
        self.text += self.choose("", "\n", "  # x = [1]\n", " \n\t")

    def document(self, document: dict) -> None:
        tables = {key: value for key, value in document.items() if self.is_array_of_tables(value) and self.decide()}
        for key, value in document.items():
            if key not in tables:
                self.pair((), key, value)
                self.text += self.choose("\n", " # end\n")
        for key, elements in tables.items():
            for index, element in enumerate(elements):
                self.filler()
                self.note((key,))
                self.note((key, index))
                self.text += f"[[ {self.key(key)}]]\n"
                for name, value in element.items():
                    self.filler()
                    self.pair((key, index), name, value)
                    self.text += "\n"

    @staticmethod
    def is_array_of_tables(value: object) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)

    def pair(self, path: KeyPath, key: str, value: object) -> None:
        path = (*path, key)
        self.note(path)
        self.text += self.key(key)
        if isinstance(value, dict) and len(value) == 1 and self.decide():
            self.text += self.choose(".", " . ")
            ((inner, deeper),) = value.items()
            self.pair(path, inner, deeper)
            return
        self.text += self.choose("=", " = ")
        self.value(path, value)

    def value(self, path: KeyPath, value: object) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, (key, inner) in enumerate(value.items()):
                self.text += ", " if number else " "
                self.pair(path, key, inner)
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            for number, inner in enumerate(value):
                self.filler()
                self.note((*path, number))
                self.value((*path, number), inner)
                self.filler()
                self.text += ","
            self.text += "]"
        elif isinstance(value, bool):
            self.text += str(value).lower()
        elif isinstance(value, str):
            self.text += self.string(value)
        else:
            self.text += str(value)

    def key(self, key: str) -> str:
        return key if key in ("a", "b", "name", "1-2_3") and self.decide() else escaped(key)

    def string(self, text: str) -> str:
        style = self.choose("basic", "multi", "literal")
        if style == "literal" and "'" not in text:
            return f"'''\n{text}'''"
        if style == "multi":
            # Newlines stay as they are; quotes and backslashes are escaped.
            return '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '"""'
        return escaped(text)


def escaped(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


@given(TABLES, st.data())
def test_everything_a_writer_puts_down_is_found_where_it_is(document, data):
    writer = Writer(data.draw)
    writer.document(document)
    assert tomllib.loads(writer.text) == document
    assert locate(writer.text).by_path == writer.found


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.cli.chat.untrusted import Cleaner, clean


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain\n\ttext — ünïcødé 漢字 🙂", "plain\n\ttext — ünïcødé 漢字 🙂"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;Y3VybCBldmls\x1b\\text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x9b31mred", "red"),
        ("\x1bP+q544e\x1b\\text", "text"),
        ("\x1b_Gpixels\x1b\\text", "text"),
        ("\x1b^private\x1b\\text", "text"),
        ("\x1b(0text", "text"),
        ("\x1bctext", "text"),
        ("\x1b#8text", "text"),
        ("a\x08\x08b\rc\x00\x07\x7f\x85d", "abcd"),
        ("one\r\ntwo", "one\ntwo"),
        ("\x1b\x1b[31mred", "red"),
        ("\x1b[31\x1b[1mbold", "bold"),
        ("\x1b[3\nnext", "\nnext"),
        ("\x1b]0;never ended\nnext line", "\nnext line"),
        ("\x1b]0;a\x1b[31mb", "b"),
        ("\x1b\nnext", "\nnext"),
        ("\x1b漢", "漢"),
        ("safe\u202egnp.exe\u2066", "safegnp.exe"),
        ("ends in \x1b", "ends in "),
        ("\x90\x1b\x1b\\text", "text"),
    ],
)
def test_what_could_steer_a_terminal_is_removed(hostile, shown):
    assert clean(hostile) == shown
    cleaner = Cleaner()
    assert "".join(map(cleaner.clean, hostile)) == shown


def test_an_unending_control_string_does_not_swallow_the_answer():
    assert clean("\x1b]0;" + "a" * 10_000 + "the end").endswith("the end")
    assert clean("\x1b[" + "1" * 10_000 + "mthe end").endswith("the end")


@given(st.text(alphabet=st.sampled_from("\x1b\x9b\x9d\x90\x9c\x07\\[]P;mHa\n\r\x08 é"), max_size=40))
def test_nothing_but_text_newline_and_tab_is_ever_left_however_it_is_cut(text):
    cleaner = Cleaner()
    shown = "".join(map(cleaner.clean, text))
    assert shown == clean(text)
    assert all(character in "\n\t" or character.isprintable() for character in shown)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_text_stays_as_it_is(text):
    assert clean(text) == text

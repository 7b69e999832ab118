"""Names and addresses: what is the same is found to be, what could deceive is refused."""

import pytest

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.names import clean_description, clean_email, clean_id, clean_name, folded


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "nul\x00", "\u202egnp.exe", "a\u2028b", "\ud800", "x" * 201, "x" * 10_000_000]
)
def test_name_that_is_empty_long_or_deceiving_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        clean_name(name, "A thing")


def test_name_is_kept_in_one_form_without_spaces_around_it() -> None:
    assert clean_name("  Zoe\u0308 ", "A user") == "Zo\u00eb"
    assert clean_name("👩‍💻 محمد", "A user") == "👩‍💻 محمد"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "a@",
        "@b",
        "a",
        "a b@c",
        "a@b@c",
        "a@b\x00",
        "<a@b>",
        "a@b,c@d",
        "a\u200e@b",
        "x" * 255 + "@b",
        "\ud800@b",
    ],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidRequestError, match="is no mail address"):
        clean_email(email)


def test_wide_at_sign_does_not_smuggle_a_second_domain() -> None:
    with pytest.raises(InvalidRequestError):
        clean_email("eve\uff20evil.example@good.example")


@pytest.mark.parametrize(
    "other", ["ADA@EXAMPLE.COM", "ａｄａ@example.com", "Ada@Example.Com", "ada@\u212aexample.com".replace("\u212a", "")]
)
def test_addresses_that_differ_in_case_or_width_are_one(other: str) -> None:
    assert folded(other) == folded("ada@example.com")


def test_folding_twice_changes_nothing() -> None:
    for text in ("ß", "İ", "ǰ", "ΐ", "ﬃ", "\u0345", "Å"):
        assert folded(folded(text)) == folded(text)


def test_ids_never_hold_what_a_database_cannot() -> None:
    assert clean_id("user_\x00\ud800") == "user_\ufffd?"
    assert len(clean_id("x" * 10_000_000)) == 200


def test_description_may_have_lines_and_an_end() -> None:
    assert clean_description("two\nlines") == "two\nlines"
    for text in ("x" * 2001, "bell\x07"):
        with pytest.raises(InvalidRequestError):
            clean_description(text)

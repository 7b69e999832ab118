"""Passwords: what is refused, what is the same, and what checking costs at most."""

import asyncio

import pytest

from mainstay.kit.errors import InvalidRequestError, RateLimitedError
from mainstay.platform.identity.passwords import LENGTH_MAX, Passwords, require_good_password

GOOD = "four words are enough"


@pytest.fixture
def passwords():
    made = Passwords(memory_kib=8)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        ("", "12 to 1024"),
        ("short words", "12 to 1024"),
        ("x" * (LENGTH_MAX + 1), "12 to 1024"),
        ("line\nbreaks in it", "control"),
        ("nul\x00in the middle", "control"),
        ("aaaaaaaaaaaaaa", "repeats"),
        ("abababababababab", "repeats"),
        ("hello hello hello hello ", "repeats"),
        ("123456789012", "keyboard"),
        ("abcdefghijklmn", "keyboard"),
        ("qwertyuiopas", "keyboard"),
        ("Password12345!", "tried first"),
        ("P@ssw0rd2026!!", "tried first"),
        ("!!!ADMINISTRATOR!!!", "tried first"),
        ("mainstay2026!!", "tried first"),
        ("\uff30assword12345", "tried first"),
        ("ann@example.com", "name or address"),
        ("Ann Example 1990", "name or address"),
    ],
)
def test_a_password_that_would_soon_be_guessed_is_refused(weak, why):
    with pytest.raises(InvalidRequestError, match=why) as raised:
        require_good_password(weak, personal=("ann@example.com", "Ann Example"))
    assert weak == "" or weak not in raised.value.message


@pytest.mark.parametrize(
    "good", [GOOD, "kE8#vTq2!mZx", "пароль из слов", "合言葉合言葉はとても長い文です", "x" * 5 + "yz-very-long"]
)
def test_a_long_one_is_taken_whatever_its_characters(good):
    require_good_password(good, personal=("ann@example.com", "ann", "A"))


async def test_the_right_password_matches_and_no_other(passwords):
    stored = await passwords.hash(GOOD)
    assert stored.startswith("$argon2id$")
    assert GOOD not in stored
    assert await passwords.matches(GOOD, stored)
    assert not await passwords.matches(GOOD + " ", stored)
    assert not await passwords.matches("", stored)
    assert stored != await passwords.hash(GOOD)


async def test_the_same_letters_in_another_form_are_the_same_password(passwords):
    stored = await passwords.hash("cafe\u0301 au lait, toujours")
    assert await passwords.matches("caf\u00e9 au lait, toujours", stored)


@pytest.mark.parametrize("stored", [None, "", "x", "$argon2id$broken", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_without_a_good_stored_password_nothing_matches(passwords, stored):
    assert not await passwords.matches(GOOD, stored)


@pytest.mark.parametrize("hostile", ["x" * 10_000_000, "\x00" * 50, "\ud800 lone surrogate", "\u202e" * 20])
async def test_hostile_passwords_only_do_not_match(passwords, hostile):
    assert not await passwords.matches(hostile, await passwords.hash(GOOD))


async def test_a_password_hashed_with_other_parameters_is_outdated(passwords):
    stored = await passwords.hash(GOOD)
    assert not passwords.is_outdated(stored)
    stronger = Passwords(memory_kib=16)
    await stronger.matches("x", None)
    assert stronger.is_outdated(stored)
    assert await stronger.matches(GOOD, stored)
    stronger.close()


async def test_a_crowd_is_told_to_wait_before_it_fills_the_memory(passwords):
    stored = await passwords.hash(GOOD)
    crowd = [passwords.matches(GOOD, stored) for _ in range(200)]
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(answer is True for answer in answers) >= 64
    assert any(isinstance(answer, RateLimitedError) for answer in answers)
    assert await passwords.matches(GOOD, stored)

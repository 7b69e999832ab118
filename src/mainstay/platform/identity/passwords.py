"""Passwords: what makes a good one, and argon2id in threads of its own, so that guessing is slow and waits for no one.

NIST SP 800-63B, 5.1.1.2: length counts, not character classes; known and guessable ones are refused; NFKC first.
Parameters: OWASP Password Storage Cheat Sheet (2025), argon2id with 46 MiB, and a second pass.
"""

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mainstay.kit.errors import InvalidRequestError, RateLimitedError
from mainstay.platform.identity.names import folded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LENGTH_MIN = 12
LENGTH_MAX = 1024
_DISTINCT_MIN = 5
_STEM_LENGTH_MIN = 4
_MEMORY_KIB = 47_104
_PASSES = 2
_THREADS = 1
"""For each worker: guessing takes one core at most, and model calls have the others."""
_WAITING_MAX = 64
"""Checks that wait for a thread; each holds its caller's connection only."""

_WORDS = (
    "abc abcd abcde abcdef abcdefgh abcdefghijkl abcdefghijklmnop admin adminadmin administrator azerty "
    "azertyuiop baseball batman changeit changeme charlie company computer cookie correcthorsebatterystaple "
    "default dragon enterprise football freedom fuckyou geheim gfhjkm ginger guest hello helloworld hunter "
    "iloveyou internet jordan kennwort killer letmein login mainstay maria master mercedes michael michelle "
    "monday monkey mustang mypassword nothing orange organisation organization owner parola passw passwd password "
    "passwordpassword passwort pepper phoenix pokemon princess qazwsx qazwsxedc qwer qwert qwerty qwertyuiop "
    "qwertz qwertzuiop root samsung secret secretpassword server shadow soccer starwars summer sunshine superman "
    "superuser supervisor sysadmin system temp temporary test tester testing testtest thomas tigger trustno "
    "trustnoone user username welcome whatever winter yankees zaq zaqxsw zxcvbn zxcvbnm "
)
"""What people choose first, without what they put before and after it to please rules."""
_GUESSABLE = frozenset(_WORDS.split())
_ORDERED = (
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
)
_around = re.compile(r"^[\W\d_]+|[\W\d_]+$")

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, *, memory_kib: int = _MEMORY_KIB) -> None:
        self._memory_kib = memory_kib
        self._executor = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="passwords")
        self._waiting = 0
        self._found_hasher: PasswordHasher | None = None
        self._nobodys = ""

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return what to store instead of the password."""
        return await self._run(lambda: self._hasher().hash(_normal(password)))

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is the password; without a stored one it takes as long to say no."""
        if len(password) > LENGTH_MAX:
            password = ""
        return await self._run(lambda: self._compare(_normal(password), stored))

    def is_outdated(self, stored: str) -> bool:
        """Whether the password should be hashed again, with today's parameters."""
        return self._hasher().check_needs_rehash(stored)

    def _compare(self, password: bytes, stored: str | None) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        hasher = self._hasher()
        try:
            hasher.verify(stored or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def _hasher(self) -> "PasswordHasher":
        if self._found_hasher is None:
            from argon2 import PasswordHasher

            hasher = PasswordHasher(time_cost=_PASSES, memory_cost=self._memory_kib, parallelism=1)
            self._nobodys = hasher.hash(secrets.token_bytes(32))
            self._found_hasher = hasher
        return self._found_hasher

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _WAITING_MAX:
            raise RateLimitedError("Too many people are signing in at this moment; try again.", retry_after_seconds=2.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1


def require_good_password(password: str, *, personal: Iterable[str] = ()) -> None:
    """Raise InvalidRequestError for a password that would soon be guessed; `personal` is what belongs to its owner."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise _refusal(f"It must have {LENGTH_MIN} to {LENGTH_MAX} characters; several words are a good choice.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in password):
        raise _refusal("It must not hold control characters.")
    plain = folded(password)
    if len(set(plain)) < _DISTINCT_MIN or _is_repeated(plain):
        raise _refusal("It repeats a few characters.")
    if any(plain in order * 2 for order in _ORDERED):
        raise _refusal("It follows the keyboard or the alphabet.")
    stem = _around.sub("", plain)
    if stem in _GUESSABLE or _unleet(stem) in _GUESSABLE:
        raise _refusal("It is one of the passwords that are tried first.")
    for word in personal:
        if len(word) >= _STEM_LENGTH_MIN and stem == folded(word):
            raise _refusal("It is your name or address.")


def _normal(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _is_repeated(text: str) -> bool:
    """Whether the text is one part again and again; it then occurs in itself, doubled, before its end."""
    return (text * 2).find(text, 1) < len(text)


def _unleet(text: str) -> str:
    return text.translate(str.maketrans("013457@$!", "oieastasi"))


def _refusal(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"This password cannot be used. {why}", param="password", code="weak_password")

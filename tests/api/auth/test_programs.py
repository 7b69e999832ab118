"""User agents in words."""

import pytest

from mainstay.api.auth.programs import program_name

LIKE_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {LIKE_CHROME} Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {LIKE_CHROME.replace('Chrome', 'HeadlessChrome')}", "Chrome on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {LIKE_CHROME} Safari/537.36 Edg/140.0.0.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {LIKE_CHROME} Mobile Safari/537.36", "Chrome on Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {LIKE_CHROME} Safari/537.36", "Chrome on ChromeOS"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) CriOS/140.0.0.0 Mobile/15E148 Safari/604.1",
            "Chrome on iPhone",
        ),
        ("Mozilla/5.0 Firefox/143.0", "Firefox"),
    ],
)
def test_browsers_are_named_with_their_systems(user_agent, name):
    assert program_name(user_agent) == name


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "Unknown program"),
        ("\x00\u202e", "Unknown program"),
        ("probe Chrome/1 Linux", "probe Chrome/1 Linux"),
        ("x" * 500, "x" * 39 + "…"),
    ],
)
def test_other_programs_are_quoted_and_shortened(user_agent, name):
    assert program_name(user_agent) == name

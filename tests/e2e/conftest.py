"""Installations of their own for tests that break things."""

import pytest
from tests.e2e.observing import VendorProcess

from mainstay.testing.installation import Installation


@pytest.fixture
def vendor():
    """Start vendors with arguments of one's own."""
    started = []

    def start(*arguments: str) -> VendorProcess:
        started.append(VendorProcess(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def install():
    """Make installations that end with the test."""
    made = []

    def make(configuration: str, **options) -> Installation:
        made.append(Installation(configuration, **options))
        return made[-1]

    yield make
    for one in made:
        one.__exit__(None, None, None)

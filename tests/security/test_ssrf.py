"""The inside is out of reach, by every address in the corpus and every place where one can be entered."""

import contextlib
import ipaddress

import pytest
from tests.security.entry_points import CANARY, ENTRY_POINTS
from tests.security.inside import NAMES, PUBLIC, URLS, Sockets, listening

from mainstay.kit.errors import MainstayError
from mainstay.kit.http import Outbound, TransportError, is_public

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture(params=["sqlite"])
def dialect(request):
    """One database: what is tested here is what is connected to."""
    return request.param


@pytest.fixture(scope="session")
def sockets():
    return Sockets()


@pytest.fixture
async def inside():
    async with listening() as inside:
        yield inside


def test_corpus_is_large_and_its_names_all_lead_inside():
    assert len(URLS) >= 120
    assert len(set(URLS)) == len(URLS)
    for addresses in NAMES.values():
        assert not all(is_public(ipaddress.ip_address(one)) for one in addresses)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
async def test_no_address_of_the_corpus_reaches_the_inside(entry_point, inside, sockets, database, tmp_path):
    outbound = Outbound(resolve=inside.names)
    reached, told = [], []
    async with ENTRY_POINTS[entry_point](database, outbound, tmp_path) as enter:
        for url in URLS:
            if "rebind" in url:  # the next test
                continue
            with sockets.watched() as connected:
                try:
                    await enter(inside.url(url))
                except MainstayError as error:
                    told.append(error.message)
            if connected or inside.connections:
                reached.append((url, connected))
    assert reached == []
    assert not any(CANARY in message for message in told)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
async def test_second_answer_of_the_name_server_is_never_connected_to(entry_point, inside, sockets, database, tmp_path):
    outbound = Outbound(resolve=inside.names)
    async with ENTRY_POINTS[entry_point](database, outbound, tmp_path) as enter:
        with sockets.watched() as connected:
            for _ in range(3):
                with contextlib.suppress(MainstayError):
                    await enter(inside.url("http://rebind.example:{port}/"))
    assert {host for host, _ in connected} <= {PUBLIC}
    assert inside.connections == 0
    assert inside.names.asked.count("rebind.example") >= 2


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
async def test_what_the_operator_allows_is_reached_which_shows_that_these_tests_can_fail(
    entry_point, inside, sockets, database, tmp_path
):
    outbound = Outbound(LOOPBACK, resolve=inside.names)
    async with ENTRY_POINTS[entry_point](database, outbound, tmp_path) as enter:
        for url in ("http://127.0.0.1:{port}/", "http://localtest.me:{port}/"):
            before = inside.connections
            # What listens there is cut off in the middle of its answer.
            with sockets.watched() as connected, contextlib.suppress(TransportError):
                await enter(inside.url(url))
            assert inside.connections > before
            assert set(connected) == {("127.0.0.1", inside.port)}

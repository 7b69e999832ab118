"""Which addresses are public, by whatever they are written, and what the operator allows beside them."""

import asyncio
import ipaddress
import socket
import threading

import pytest

from mainstay.kit.http import AddressGuard, DnsFailure, ForbiddenAddressError, is_public
from mainstay.kit.http.addresses import SystemResolver

PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.63.0.1", "198.17.0.1"]
PUBLIC += ["2606:2800:220:1::1", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
INSIDE = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255"]
INSIDE += ["168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1"]
INSIDE += ["192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "255.255.255.255"]
INSIDE += ["::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::10.0.0.1"]
INSIDE += ["64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:808:808::1", "3fff::1"]
INSIDE += [
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800::1%1",
    "fec0::1",
    "ff02::1",
    "4000::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_of_the_inside(address):
    assert not is_public(ipaddress.ip_address(address))


def guard(*networks, **names):
    async def resolve(host):
        return names.get(host, [])

    return AddressGuard([ipaddress.ip_network(network) for network in networks], resolve=resolve)


async def test_allowed_network_is_reached_also_by_its_mapped_form_and_nothing_else_is():
    allowing = guard("10.20.0.0/16", "fd00::/8", "::1/128")
    for host in ("10.20.1.2", "::ffff:10.20.1.2", "fd00::1", "::1", "8.8.8.8"):
        assert await allowing.addresses(host)
    for host in ("10.21.0.1", "::ffff:127.0.0.1", "fe80::1", "64:ff9b::10.20.1.2"):
        with pytest.raises(ForbiddenAddressError):
            await allowing.addresses(host)


async def test_one_address_inside_spoils_the_name():
    with pytest.raises(ForbiddenAddressError) as caught:
        await guard(both=["8.8.8.8", "10.0.0.1"]).addresses("both")
    assert "10.0.0.1" not in caught.value.message
    assert "allowed_networks" in caught.value.message


async def test_addresses_come_once_in_their_order_and_mapped_ones_as_what_they_are():
    names = guard(name=["2606:2800:220:1::1", "::ffff:8.8.8.8", "8.8.8.8", "2606:2800:220:1::1"])
    assert await names.addresses("name") == ["2606:2800:220:1::1", "8.8.8.8"]


async def test_name_without_an_address_is_a_dns_failure():
    with pytest.raises(DnsFailure, match="has no address"):
        await guard().addresses("nobody")


async def test_system_looks_names_up_beside_the_loop():
    with pytest.raises(ForbiddenAddressError):
        await AddressGuard().addresses("localhost")


async def test_name_that_the_system_does_not_know_is_a_dns_failure():
    def look_up(host):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(DnsFailure, match="'no-such-name' cannot be looked up: Name or service not known"):
        await AddressGuard(resolve=SystemResolver(look_up)).addresses("no-such-name")


async def test_name_that_many_ask_for_is_looked_up_once_and_outlives_those_who_leave():
    asked, may_answer = [], threading.Event()

    def look_up(host):
        asked.append(host)
        may_answer.wait(10)
        if host == "broken":
            raise OSError(-2, "no such name")
        return ["8.8.8.8"]

    resolver = SystemResolver(look_up)
    waiting = [asyncio.ensure_future(resolver(host)) for host in ["name"] * 50 + ["broken"]]
    await asyncio.sleep(0)
    for one in (waiting[0], waiting[-1]):
        one.cancel()
    may_answer.set()
    assert await asyncio.gather(*waiting[1:-1]) == [["8.8.8.8"]] * 49
    assert sorted(asked) == ["broken", "name"]
    assert await resolver("name") == ["8.8.8.8"]
    assert asked.count("name") == 2


async def test_slow_name_server_is_waited_for_no_longer_than_the_caller_likes():
    async def resolve(host):
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await AddressGuard(resolve=resolve).addresses("slow")

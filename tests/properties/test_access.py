"""However a private address is spelled, nothing connects to it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.tools.guard import AccessDenied, GuardedBackend
from actors.tools.http import HttpClient, HttpFailed
from graphs.access import Access
from graphs.workflow.requests import HttpRequest

TRUSTED = ssl.create_default_context()
PRIVATE_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("224.0.0.0/4", "240.0.0.0/4", "198.18.0.0/15"),
)
SPELLINGS: tuple[Callable[[ipaddress.IPv4Address], str], ...] = (
    str,
    lambda address: str(int(address)),
    lambda address: hex(int(address)),
    lambda address: f"0{int(address):o}",
    lambda address: ".".join(hex(part) for part in address.packed),
    lambda address: ".".join(f"0{part:o}" for part in address.packed),
    lambda address: f"{address.packed[0]}.{int.from_bytes(address.packed[1:])}",
    lambda address: f"{address}.",
    lambda address: f"[::ffff:{address}]",
    lambda address: (
        f"[::ffff:{address.packed[0]:x}{address.packed[1]:02x}:{address.packed[2]:x}{address.packed[3]:02x}]"
    ),
    lambda address: f"[64:ff9b::{address}]",
    lambda address: f"[::{address}]",
    lambda address: f"[2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::]",
    lambda address: "".join(
        chr(ord(character) + 0xFEE0) if character.isdigit() else character for character in str(address)
    ),
)


@st.composite
def private_addresses(draw: st.DrawFn) -> ipaddress.IPv4Address:
    network = ipaddress.IPv4Network(draw(st.sampled_from(PRIVATE_NETWORKS)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@settings(max_examples=300, deadline=None)
@given(address=private_addresses(), spelling=st.sampled_from(SPELLINGS), port=st.integers(1, 65_535))
def test_any_spelling_of_a_private_address_is_refused(
    address: ipaddress.IPv4Address, spelling: Callable[[ipaddress.IPv4Address], str], port: int
) -> None:
    host = spelling(address)
    # Even if somebody had put the host on the list, what it leads to is looked at.
    access = Access(hosts=(host, f"{host}:{port}", f"{address}:{port}"))

    async def ask() -> None:
        http = HttpClient(trusted=TRUSTED)
        request = HttpRequest(method="GET", url=f"http://{host}:{port}/", headers=(), body=None)
        try:
            await http.send(request, access, timeout_s=5, max_size_bytes=10)
        finally:
            await http.close()

    with pytest.raises((AccessDenied, HttpFailed)) as caught:
        asyncio.run(ask())
    assert caught.type is AccessDenied or str(caught.value).endswith(" is not known")


@settings(max_examples=200, deadline=None)
@given(address=private_addresses(), spelling=st.sampled_from(SPELLINGS[:8]))
def test_a_name_that_leads_to_a_private_address_is_refused(
    address: ipaddress.IPv4Address, spelling: Callable[[ipaddress.IPv4Address], str]
) -> None:
    async def connect() -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return [str(address)]

        await GuardedBackend(Access(hosts=("rebound.example",)), resolver).connect_tcp("rebound.example", 80)

    with pytest.raises(AccessDenied, match=r'"rebound.example" leads to an address that is not allowed'):
        asyncio.run(connect())


@settings(max_examples=500, deadline=None)
@given(value=st.integers(0, 2**128 - 1))
def test_an_ipv6_address_is_public_or_refused(value: int) -> None:
    address = ipaddress.IPv6Address(value)

    if Access().address_refusal(str(address)) is None:
        assert address.is_global
        assert not address.is_multicast

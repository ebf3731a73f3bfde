"""What tools may reach: URLs by their hosts, and addresses whatever they are called."""

from __future__ import annotations

import pytest

from graphs.access import Access, host_problem, own_networks, same_origin

PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8")
CLOSED = {
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "127.0.0.1": "loopback",
    "::1": "loopback",
    "10.0.0.1": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "fd12::1": "private",
    "169.254.1.1": "link-local",
    "fe80::1%eth0": "link-local",
    "100.64.0.1": "carrier-grade NAT",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "192.0.2.1": "reserved",
    "198.18.0.1": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::127.0.0.1": "reserved",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "tunnel",
    "2001:0:7f00:1::": "reserved",
    "2001:db8::1": "reserved",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_connected_to(address: str) -> None:
    assert Access().address_refusal(address) is None


@pytest.mark.parametrize(("address", "kind"), CLOSED.items())
def test_other_addresses_are_refused_and_say_what_they_are(address: str, kind: str) -> None:
    refusal = Access().address_refusal(address)

    assert refusal is not None
    assert f"is a {kind} address; add it to access.networks" in refusal


@pytest.mark.parametrize(
    ("network", "address", "allowed"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.0.0.1", False),
        ("169.254.0.0/16", "169.254.1.1", True),
        ("169.254.0.0/16", "169.254.169.254", False),
        ("169.254.169.254/32", "169.254.169.254", True),
        ("0.0.0.0/0", "168.63.129.16", False),
    ],
)
def test_networks_are_allowed_besides_and_metadata_only_by_its_one_address(
    network: str, address: str, allowed: bool
) -> None:
    assert (Access(networks=(network,)).address_refusal(address) is None) is allowed


@pytest.mark.parametrize("address", ["168.63.129.16", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"])
def test_where_clouds_keep_secrets_is_refused(address: str) -> None:
    assert "is where a cloud keeps secrets" in str(Access().address_refusal(address))


@pytest.mark.parametrize(
    ("own", "networks"),
    [
        ("http://127.0.0.1:8000/", ("127.0.0.1/32",)),
        ("http://LOCALHOST./", ("127.0.0.0/8", "::1/128")),
        ("http://[::1]:80/", ("::1/128",)),
        ("http://10.0.0.7/", ("10.0.0.7/32",)),
        ("http://8.8.8.8/", ()),
        ("http://169.254.169.254/", ()),
        ("http://[fd00:ec2::254]/", ()),
        ("http://0.0.0.0/", ()),
        ("http://2130706433/", ()),
        ("http://billing.internal/", ()),
    ],
)
def test_an_endpoint_means_the_private_address_in_its_own_url(own: str, networks: tuple[str, ...]) -> None:
    assert own_networks(own) == networks


RULES = ("example.com", "*.example.org", "api.test:8080", "[fd00::1]:8080")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/a?b", True),
        ("http://EXAMPLE.com./", True),
        ("https://example.com:443/", True),
        ("https://example.com:8443/", False),
        ("https://www.example.com/", False),
        ("https://a.example.org/", True),
        ("https://a.b.example.org/", True),
        ("https://example.org/", False),
        ("https://evilexample.org/", False),
        ("http://api.test:8080/", True),
        ("http://api.test/", False),
        ("http://[fd00::1]:8080/", True),
        ("http://[fd00:0::1]/", False),
        ("https://example.com.evil.net/", False),
        ("https://example.com@evil.net/", False),
        ("https://user@example.com/", False),
        ("ftp://example.com/", False),
        ("file:///etc/passwd", False),
        ("gopher://example.com/", False),
        ("//example.com/", False),
        ("http://", False),
        ("http://[::1", False),
        ("http://example.com:99999/", False),
    ],
)
def test_urls_by_their_hosts(url: str, allowed: bool) -> None:
    assert (Access(hosts=RULES).url_refusal(url) is None) is allowed


def test_an_endpoint_reaches_its_own_origin_and_no_other() -> None:
    access = Access(own="http://127.0.0.1:8000/v1/")

    assert access.url_refusal("http://127.0.0.1:8000/v2") is None
    assert access.url_refusal("http://127.0.0.1:6379/") is not None
    assert access.url_refusal("https://127.0.0.1:8000/") is not None
    assert access.address_refusal("127.0.0.1") is None
    assert access.address_refusal("127.0.0.2") is not None
    assert same_origin("https://A.example/x", "https://a.example:443/y")
    assert not same_origin("https://a.example/", "http://a.example/")


@pytest.mark.parametrize(
    "rule", ["", "*", "*.", "http://a", "a/b", "a:b", "a:0", "a:70000", "A.b", "a b", "u@a", "[::1", "a:"]
)
def test_what_is_no_host_is_told(rule: str) -> None:
    assert str(host_problem(rule)).startswith(f'"{rule}" ')


@pytest.mark.parametrize(
    "rule", ["a", "a.b-c.d", "*.a.b", "a:1", "10.0.0.1", "10.0.0.1:80", "[::1]", "[fd00::1]:8080", "xn--mnchen-3ya.de"]
)
def test_hosts(rule: str) -> None:
    assert host_problem(rule) is None

"""What tools may reach: which URLs, and which addresses these may lead to.

A URL is allowed if its host is on the list, or if it belongs to the endpoint that the tool itself is. The address it
leads to, whatever its spelling, must be a public one, or be in one of the networks that are allowed besides. An
endpoint whose own URL has a private or loopback address in the place of a name, or `localhost`, means that address.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORTS = {"http": 80, "https": 443}
_LOCALHOST = ("127.0.0.0/8", "::1/128")
_NAT64 = IPv6Network("64:ff9b::/96")
METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, Oracle and others
            "169.254.170.2",  # AWS, credentials of containers
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure; it looks public
            "192.0.0.192",  # Oracle
        ),
    )
)
"""Where machines of clouds are told their secrets. Allowed only by a network of this one address."""
_CLOSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for kind, networks in {
        "unspecified": ("0.0.0.0/8", "::/128"),
        "loopback": ("127.0.0.0/8", "::1/128"),
        "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
        "link-local": ("169.254.0.0/16", "fe80::/10"),
        "carrier-grade NAT": ("100.64.0.0/10",),
        "multicast": ("224.0.0.0/4", "ff00::/8"),
        "reserved": (
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("240.0.0.0/4", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20"),
            *("5f00::/16",),
        ),
        "tunnel": ("2002::/16",),
    }.items()
    for network in networks
)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool may reach."""

    hosts: tuple[str, ...] = ()
    """Such as `api.example.com`, `*.example.com` (those below it) or `example.com:8080` (another port)."""
    networks: tuple[str, ...] = ()
    """Addresses that are not public, such as `10.1.0.0/16`."""
    own: str = ""
    """URL of the endpoint that the tool is."""

    def url_refusal(self, url: str) -> str | None:
        """Why `url` may not be asked for; None if it may, as far as can be told before its address is known."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), _port(parts)
        except ValueError:
            return "it is no URL"
        if parts.scheme not in _PORTS or not host:
            return "it does not begin with http:// or https:// and a host"
        if "@" in parts.netloc:
            return "it holds a user or password"
        if self.own and _origin(urlsplit(self.own)) == _origin(parts):
            return None
        if not any(_fits(host, port, parts.scheme, rule) for rule in self.hosts):
            return f'the host "{host}" is not allowed; add it to access.hosts'
        return None

    def address_refusal(self, address: str) -> str | None:
        """Why nobody may connect to `address`, which is a literal one; None if one may."""
        allowed = (*self.networks, *own_networks(self.own)) if self.own else self.networks
        return _address_refusal(address, allowed)

    def allowed_addresses(self) -> tuple[str, ...]:
        """The networks besides the public ones: tools that have the same may share connections."""
        return tuple(sorted({*self.networks, *(own_networks(self.own) if self.own else ())}))


def own_networks(url: str) -> tuple[str, ...]:
    """The addresses that an endpoint means by having them, or `localhost`, in its own URL."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return _LOCALHOST
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    means_it = _kind(address) in ("loopback", "private") and address not in METADATA
    return (str(ip_network(address)),) if means_it else ()


def same_origin(url: str, other: str) -> bool:
    """Whether both have one scheme, host and port."""
    return _origin(urlsplit(url)) == _origin(urlsplit(other))


def host_problem(rule: str) -> str | None:
    """What is wrong with an item of `hosts`; None if nothing is."""
    try:
        host, port = _rule(rule)
    except ValueError:
        return f'"{rule}" has no port behind its colon; write one such as example.com:8080'
    plain = host.removeprefix("*.")
    written = f"[{host}]" if ":" in host else host
    if not plain or any(character in plain for character in "*/@ ?#") or rule not in (written, f"{written}:{port}"):
        return f'"{rule}" is no host; write one such as api.example.com, *.example.com or example.com:8080'
    return None


@lru_cache(maxsize=4_096)
def _address_refusal(address: str, allowed: tuple[str, ...]) -> str | None:
    try:
        forms = list(_forms(ip_address(address.partition("%")[0])))
    except ValueError:
        return f"{address} is no address"
    networks = [ip_network(network) for network in allowed]
    for form in forms:
        within = [network for network in networks if form.version == network.version and form in network]
        if form in METADATA and not any(network.num_addresses == 1 for network in within):
            return f"{form} is where a cloud keeps secrets of its machines; add {form} to access.networks to allow it"
        if within:
            return None
    for form in forms:
        kind = _kind(form)
        if kind is not None:
            return f"{form} is a {kind} address; add it to access.networks to allow it"
    return None


def _forms(address: Address) -> Iterator[Address]:
    """`address`, or what it stands for: IPv4 within IPv6."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = IPv4Address(int(address) & 0xFFFF_FFFF)
    yield address


def _kind(address: Address) -> str | None:
    """What an address is that is not a public one."""
    for network, kind in _CLOSED:
        if address.version == network.version and address in network:
            return kind
    return None if address.is_global else "reserved"


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").rstrip("."), _port(parts)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _fits(host: str, port: int, scheme: str, rule: str) -> bool:
    name, wanted = _rule(rule)
    if port != (wanted or _PORTS[scheme]):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


@lru_cache(maxsize=1_024)
def _rule(rule: str) -> tuple[str, int]:
    """Host and port of an item of `hosts`; 0 if it has none. Raises ValueError."""
    parts = urlsplit(f"//{rule}")
    if parts.netloc.endswith(":") or parts.port == 0:
        raise ValueError(rule)
    return parts.hostname or "", parts.port or 0

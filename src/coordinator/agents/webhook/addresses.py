"""Which addresses a webhook may reach: those of the Internet, and what the operator allows.

Whoever names a URL makes this process call it, from inside its network. So an address that only
means something in here is refused, in whatever form it is written: an IPv4 address inside an IPv6
one is taken out and judged by itself. Of IPv6 only what is handed out as global unicast passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TRANSLATED = IPv6Network("64:ff9b::/96")
_INSIDE: Mapping[Network, str] = {
    ip_network(text): kind
    for text, kind in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared (carrier-grade NAT)",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "special",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "2001::/23": "special",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "3fff::/20": "documentation",
        # Outside global unicast; named for the message alone.
        "::/128": "unspecified",
        "::1/128": "loopback",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that a webhook may reach; `allowed` are those besides the Internet's."""

    allowed: Sequence[Network] = ()

    def allows(self, address: Address) -> bool:
        """Whether the operator has allowed this very address, or the one inside it."""
        return any(
            each in network
            for each in (address, plain(address), _translated(address))
            for network in self.allowed
            if each is not None
        )

    def objection(self, address: Address, *, encrypted: bool) -> str | None:
        """Say why this address may not be reached; None where it may.

        Without TLS only what the operator has allowed may be.
        """
        if self.allows(address):
            return None
        if kind := _kind(address):
            return f"it is {kind}"
        return None if encrypted else "plain HTTP goes to addresses in --allow-private alone"


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv4-mapped one means, and any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def parse(text: str) -> Address:
    """Read an address as a resolver gives it, with or without a zone; raise ValueError."""
    return ip_address(text)


def _kind(address: Address) -> str | None:
    """What an address is that is not on the Internet."""
    address = plain(address)
    if (translated := _translated(address)) is not None:
        return _kind(translated)
    for network, kind in _INSIDE.items():
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "no global address"
    return None if address.is_global else "no global address"


def _translated(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that NAT64 would make of one."""
    if isinstance(address, IPv6Address) and address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None

"""Guard against SSRF: connections for a caller's URL may reach public addresses only, checked when they are made.

The check is in the socket factory, after name resolution, so DNS rebinding, redirects and unusual notations of an
address cannot bypass it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

PORTS = frozenset({80, 443, 8080, 8443})
MAX_URL = 8192
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
ISATAP = frozenset({0x00005EFE, 0x02005EFE})

# Ranges that `is_global` of some supported Python versions considers public, and ranges with an IPv4 address inside an
# IPv6 one, which a router may translate into the private network. No pictures are served from these.
REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",  # a public address, but inside Azure the host's, which serves secrets of the machine
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)


class Refused(OSError):
    """The address is not a public one."""


def is_public(text: str) -> bool:
    """Return whether an IP address is publicly routable; an IPv4-mapped address counts as its IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address not in GLOBAL_UNICAST or (int(address) >> 32) & 0xFFFF_FFFF in ISATAP:
            return False
    if any(address.version == network.version and address in network for network in REFUSED):
        return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True, slots=True)
class Guard:
    """The addresses and ports that URLs of callers and providers may reach."""

    allowed: Callable[[str], bool] = is_public
    """Returns whether an IP address may be reached."""
    ports: frozenset[int] | None = PORTS
    """None: every port."""
    resolver: AbstractResolver | None = None
    trusted: frozenset[str] = frozenset()
    """Origins ("http://host:port") of the operator, for which address and port are not checked."""

    def refusal(self, text: str) -> str:
        """Return why a URL must not be fetched, as the end of a sentence; empty when it may be."""
        if len(text) > MAX_URL:
            return f"is longer than {MAX_URL:,} characters"
        if not text.isprintable() or any(character in text for character in ' \\<>"'):
            return "holds characters that a URL may not hold"
        try:
            url = yarl.URL(text)
            host, port = url.host, url.port  # a host like xn-- is found wrong when it is read
        except ValueError:
            return "cannot be read"
        ports = None if self.trusts(url) else self.ports
        refusals = (
            (url.scheme not in {"http", "https"}, "must begin with http:// or https://"),
            (not host, "has no host"),
            (url.raw_user is not None or url.raw_password is not None, "must not hold a user name or password"),
            (ports is not None and port not in ports, f"must use one of the ports {sorted(ports or ())}"),
        )
        return next((reason for refused, reason in refusals if refused), "")

    def trusts(self, url: yarl.URL) -> bool:
        """Return whether the URL's origin is one of `trusted`."""
        return bool(url.host) and url.scheme in {"http", "https"} and str(url.origin()) in self.trusted

    def connector(self, url: yarl.URL) -> aiohttp.TCPConnector:
        """Return a connector for one URL that checks the address of every connection."""
        factory = None if self.trusts(url) else self._socket
        return aiohttp.TCPConnector(
            socket_factory=factory, resolver=self.resolver, use_dns_cache=False, force_close=True
        )

    def _socket(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not self.allowed(str(address[0])):
            raise Refused("not a public address")
        return socket.socket(family, kind, protocol)


OPEN = Guard(allowed=lambda _address: True, ports=None)
"""Checks no address, for intranets; see the setting `allow_private_urls`."""

"""WebhookClient posts to callers' addresses, which the guard checks when they are given and at each attempt."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import yarl

from fluxvision.net.client import create_session
from fluxvision.net.ssrf_guard import Guard, Refused

PATIENCE = 15.0
"""Seconds that one attempt may take."""
LOOKUP = 5.0
"""Seconds to find the addresses of a host."""
ADDRESS_REFUSED, TIMEOUT, UNREACHABLE = "address_refused", "timeout", "unreachable"


class Undelivered(Exception):
    """An attempt failed; `kind` is a word that repeats nothing of the address or the answer."""

    def __init__(self, kind: str) -> None:
        """Store the kind."""
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class WebhookClient:
    """Posts to the addresses that `guard` allows."""

    guard: Guard
    allows_http: bool
    """Whether an address may begin with http://."""
    patience: float = PATIENCE

    def refusal(self, text: str) -> str:
        """Return why a URL must not be posted to, as the end of a sentence; empty when it may be."""
        reason = self.guard.refusal(text)
        if reason or self.allows_http or text[:8].lower() == "https://":
            return reason
        return "must begin with https://"

    async def find_refusal(self, text: str) -> str:
        """Do the same, and look up the host's addresses."""
        reason = self.refusal(text)
        url = yarl.URL() if reason else yarl.URL(text)
        if reason or self.guard.trusts(url):
            return reason
        try:
            async with asyncio.timeout(LOOKUP):
                addresses = await self._lookup(url)
        except (OSError, ValueError):  # a timeout is an OSError
            return "has a host that cannot be found"
        return "" if any(map(self.guard.allowed, addresses)) else "has a host without a public address"

    async def post(self, text: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post to a URL, without following redirects; raises `Undelivered` for all but a status of 2xx."""
        if self.refusal(text):
            raise Undelivered(ADDRESS_REFUSED)
        url = yarl.URL(text)
        session = create_session(self.patience, self.guard.connector(url))
        try:
            async with (
                asyncio.timeout(self.patience),
                session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
                response.close()  # what it says is not read
        except Refused:
            raise Undelivered(ADDRESS_REFUSED) from None
        except TimeoutError:
            raise Undelivered(TIMEOUT) from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            refused = isinstance(getattr(error, "os_error", None), Refused)
            raise Undelivered(ADDRESS_REFUSED if refused else UNREACHABLE) from None
        if not 200 <= status < 300:  # noqa: PLR2004, 2xx
            kind = f"status_{status}"
            raise Undelivered(kind)

    async def _lookup(self, url: yarl.URL) -> list[str]:
        host = url.host or ""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            resolver = self.guard.resolver or aiohttp.ThreadedResolver()
            return [found["host"] for found in await resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)]

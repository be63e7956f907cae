"""Who may ask at all: the key, and without keys the checks that keep other websites from driving a local server."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.config import Settings
from fluxvision.errors import Forbidden

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
KEYED = ("/v1/", "/openai/v1/", "/metrics")
DEFAULT_PORTS = {"http": 80, "https": 443}
LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "host.docker.internal"})
LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Gate:
    """Lets a request pass, or raises what is wrong with it, before anything of its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings) -> None:
        """Wrap `app`."""
        self._app = app
        self._keys = keys
        self._wide = not is_loopback(settings.host)
        self._public = urlsplit(settings.public_url).netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and hand it on."""
        headers = Headers(scope=scope)
        path = scope["path"]
        if not self._keys.required and path not in OPEN_PATHS:
            self._check_names(headers)
        if path.startswith(KEYED):
            raw = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            self._keys.check(raw)
        await self._app(scope, receive, send)

    def _check_names(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        origin = headers.get("origin")
        if not (host and (host == self._public or _is_local(host, wide=self._wide))):
            raise Forbidden("This server has no keys and answers local host names only; set public_url to its address.")
        if origin is not None and not _same(origin.lower(), host) and not _same(origin.lower(), self._public):
            raise Forbidden("This server has no keys and does not answer requests that other websites make.")


def is_loopback(host: str) -> bool:
    """Tell whether a name or address leads to this machine alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_local(netloc: str, *, wide: bool) -> bool:
    """Tell whether a Host header is one that no foreign DNS server can have pointed here.

    Beyond loopback (`wide`) that includes addresses, names without a dot, and the endings kept for local networks.
    """
    try:
        host = urlsplit("//" + netloc).hostname or ""
    except ValueError:
        return False
    if is_loopback(host) or host in LOCAL_NAMES:
        return True
    if not wide or not host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(LOCAL_ENDINGS)
    return True


def _same(origin: str, netloc: str) -> bool:
    """Tell whether a page of `origin` is served by `netloc`; the default port may be left out."""
    try:
        found, ours = urlsplit(origin), urlsplit("//" + netloc)
        default = DEFAULT_PORTS.get(found.scheme)
        return (
            bool(found.hostname)
            and default is not None
            and found.hostname == ours.hostname
            and (found.port or default) == (ours.port or default)
        )
    except ValueError:
        return False

"""Who may ask at all: the key, and without keys the checks that keep other websites from driving a local server."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.core.errors import AuthenticationFailed, Forbidden
from fluxvision.core.settings import Settings
from fluxvision.core.types import Caller
from fluxvision.http.playground import VISITOR, asks
from fluxvision.http.state import CALLER

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
FACTS = "/v1/page"
"""What the page asks before it knows whether there is a key."""
VISITED = frozenset({("POST", "/v1/images/edits"), ("GET", "/v1/models"), ("HEAD", "/v1/models")})
VISITED_BELOW = "/v1/models/"
KEYED = ("/v1/", "/openai/v1/", "/metrics")
DEFAULT_PORTS = {"http": 80, "https": 443}
VISITORS_WEIGHT = 0.25
"""Share of the providers' time that all who come without a key have together beside one key."""
LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "host.docker.internal"})
LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Gate:
    """Lets a request pass, or raises what is wrong with it, before anything of its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings) -> None:
        """Wrap `app`."""
        self._app = app
        self._keys = keys
        self._open: bool = settings.playground
        self._wide = not is_loopback(settings.host)
        self._visitors = Caller("visitors", VISITORS_WEIGHT, settings.playground_pixels)
        self._public = urlsplit(settings.public_url).netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and hand it on."""
        headers = Headers(scope=scope)
        path = scope["path"]
        if not self._keys.required and path not in OPEN_PATHS:
            self._check_names(headers)
        if path != FACTS and path.startswith(KEYED) and not self._visits(scope, headers):
            raw = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            scope[CALLER] = Caller(self._keys.check(raw) or "")
        await self._app(scope, receive, send)

    def _visits(self, scope: Scope, headers: Headers) -> bool:
        """Let the page in without a key, to what it needs; raises what is wrong with how it comes."""
        path, method = scope["path"], scope["method"]
        below = method in {"GET", "HEAD"} and path.startswith(VISITED_BELOW)
        if not asks(headers) or (self._keys.required and not below and (method, path) not in VISITED):
            return False
        if not self._open:
            raise AuthenticationFailed("On this server the page needs a key.")
        self._check_names(headers)
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Forbidden("Without a key this server does not answer requests that other websites make.")
        scope[VISITOR] = True
        if self._keys.required:  # otherwise the page is as good as everybody else
            scope[CALLER] = self._visitors
        return True

    def _check_names(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        origin = headers.get("origin")
        if not (host and (host == self._public or _is_local(host, wide=self._wide))):
            raise Forbidden("Without a key this server answers local host names only; set public_url to its address.")
        if origin is not None and not _same(origin.lower(), host) and not _same(origin.lower(), self._public):
            raise Forbidden("Without a key this server does not answer requests that other websites make.")


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

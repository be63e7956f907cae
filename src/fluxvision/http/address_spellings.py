"""Serves other spellings of the API's addresses as those of its routes; an unknown one gets the right one named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.core.errors import InvalidRequest, NotFound
from fluxvision.http.media import public_base
from fluxvision.http.site import wants_html
from fluxvision.http.state import DEPLOYMENT

REGULAR = re.compile(r"(?:/openai)?/v1(?!/v1/|/deployments/)(?:/[^/]+)+")
SLASHES = re.compile(r"/{2,}")
BASE = re.compile(r"(/openai)?(?:/v1(?=/))*")
AZURE = "/deployments/"
LONGEST_MODEL = 5
"""Most segments of a model in an address: a provider, and an id of up to four."""
VERSIONS = re.compile(r"(?:/(?:openai|api|v\d\w{0,9})(?=/))*")
LONGEST = 100
"""Characters of an unknown address that are compared with the known ones."""
NEAR = 0.8
EDITS = "/images/edits"
OF_PICTURES = re.compile("image|edit|upscal|enlarge", re.IGNORECASE)


class PathMiddleware:
    """Replaces the path of a request by that of the route that it means, before keys and origins are checked.

    Forgiven are repeated and trailing slashes, a base URL without /v1 or with a second one, and Azure's
    /openai/deployments/MODEL/…, whose model becomes the `DEPLOYMENT` of the scope. Pages for browsers stay where they
    are: without /v1 a browser gets the page of the models, every other client the API's list.
    """

    def __init__(self, app: ASGIApp, api: Iterable[str], site: Iterable[str]) -> None:
        """Wrap `app`; `api` are the paths of the routes below /v1, `site` those of other ones."""
        self._app = app
        self._api = [compile_path(path)[0] for path in dict.fromkeys(api)]
        self._site = [compile_path(path)[0] for path in dict.fromkeys(site)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if not REGULAR.fullmatch(scope["path"]) and not wants_html(scope):
            path, model = self.find_route(scope["path"])
            scope = {**scope, "path": path, **({DEPLOYMENT: model} if model else {})}
        await self._app(scope, receive, send)

    def find_route(self, path: str) -> tuple[str, str]:
        """Return the path of the route that is meant, as it is where there is none, and the model that it names."""
        plain = SLASHES.sub("/", path).rstrip("/")
        if any(route.match(plain) for route in self._site):
            return plain, ""
        base = BASE.match(plain)
        assert base is not None  # noqa: S101 - it matches every text
        for model, rest in _split_deployment(plain[base.end() :]):
            if any(route.match(rest) for route in self._api):
                return f"{base[1] or ''}/v1{rest}", model
        return path, ""


def _split_deployment(rest: str) -> Iterator[tuple[str, str]]:
    """Yield each model that an address of Azure's may name, with what follows it; an id may have slashes."""
    if not rest.startswith(AZURE):
        yield "", rest
        return
    named = rest.removeprefix(AZURE)
    for slash in islice(re.finditer("/", named), LONGEST_MODEL):
        yield named[: slash.start()], named[slash.start() :]


def unknown_address_error(scope: Scope, public_url: str, known: Collection[str]) -> NotFound:
    """Return the error for an unknown address, with that of the one of the `known` paths below /v1 that it may mean."""
    text, path = "There is nothing at this address.", scope["path"][:LONGEST]
    base = VERSIONS.match(path)
    near = get_close_matches(path[base.end() if base else 0 :], known, 1, NEAR)
    found = near[0] if near else EDITS if OF_PICTURES.search(path) else None
    with suppress(InvalidRequest):  # of a Host header that cannot be shown
        prefix = "/openai/v1" if path.startswith("/openai/") else "/v1"
        url = f"{public_base(public_url, scope)}{prefix}{found}"
        if found == EDITS:
            text += f" Pictures are enlarged by POST {url}"
        elif found is not None:
            text += f" Did you mean {url}?"
    return NotFound(text)

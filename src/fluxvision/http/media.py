"""GET /media/{name}: result files behind their signed links."""

from __future__ import annotations

import re
from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from fluxvision.core.errors import InvalidRequest, NotFound, RangeNotSatisfiable
from fluxvision.http.requests.conditional import is_unmodified
from fluxvision.http.requests.query import parameters
from fluxvision.http.state import Edge
from fluxvision.storage.media import GONE, MIMES

HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
RANGE = re.compile(r"bytes=(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})(?:,\s*(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})){0,9}")
BOTH_ENDS = re.compile(r"(\d+)-(\d+)")
SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "referrer-policy": "no-referrer",
}

UNMODIFIED = frozenset({"etag", "cache-control", "last-modified", *SAFE})
"""Headers of a 304: those of the file's body are left out."""


async def media(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a file of the store, whole or in ranges, while its link works."""
    name = scope["path_params"]["name"]
    query = parameters(scope)
    expires, signature = query.get("expires", ""), query.get("signature", "")
    path, left = edge.media.verify(name, expires, signature, edge.media_clock())
    try:
        facts = path.stat()
    except FileNotFoundError:  # swept in between
        raise NotFound(GONE) from None
    if not _understood(Headers(scope=scope).get("range", "")):
        # RFC 9110: a Range that cannot be understood is ignored.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
    response = FileResponse(
        path,
        stat_result=facts,
        media_type=MIMES[path.suffix[1:]],
        filename=f"upscaled{path.suffix}",
        content_disposition_type="inline",
        headers={
            **SAFE,
            "cache-control": f"private, max-age={int(left)}",
            "last-modified": formatdate(facts.st_ctime, usegmt=True),  # the file's own is the expiry, in the future
        },
    )
    if is_unmodified(Headers(scope=scope), response.headers["etag"]):
        kept = {name: value for name, value in response.headers.items() if name in UNMODIFIED}
        await Response(b"", 304, kept)(scope, receive, send)
        return

    async def sent(message: Message) -> None:
        if message.get("status") == RangeNotSatisfiable.status:  # the response's own words are no JSON
            error = RangeNotSatisfiable(f"The range lies behind the end of the file of {facts.st_size:,} bytes.")
            error.size = facts.st_size
            raise error
        await send(message)

    await response(scope, receive, sent)


def link(edge: Edge, scope: Scope, name: str, now: float) -> str:
    """Return the address of a stored file, at the public address or the one that the caller used."""
    return f"{base(edge.settings.public_url, scope)}/media/{name}?{edge.media.sign(name, now)}"


def _understood(text: str) -> bool:
    """Tell whether a Range header has ranges of bytes, none of which ends before it begins."""
    return bool(RANGE.fullmatch(text)) and all(int(first) <= int(last) for first, last in BOTH_ENDS.findall(text))


def base(public_url: str, scope: Scope) -> str:
    """Return scheme and host of links without a slash at the end."""
    if public_url:
        return public_url.rstrip("/")
    host = Headers(scope=scope).get("host", "")
    if not HOST.fullmatch(host):
        raise InvalidRequest("The Host header is not a host name.")
    return f"{scope['scheme']}://{host}"

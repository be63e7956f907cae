"""Conditional requests (RFC 9110, 13): whether the client has the current version of a file already."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def is_unmodified(headers: Headers, etag: str) -> bool:
    """Return whether If-None-Match names `etag`: weak comparison, lists and `*` (RFC 9110, 13.1.2)."""
    sent = ",".join(headers.getlist("if-none-match"))
    return sent.strip() == "*" or etag.removeprefix("W/") in ENTITY_TAG.findall(sent)

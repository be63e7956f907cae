"""HttpApi: the HTTP API of another server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
import yarl

from fluxvision.mcp.api import ApiRefusal, ApiResponse, RequestBody
from fluxvision.net.client import CHUNK, create_session

SILENCE = 300.0
"""Seconds without a byte after which a request is given up; a stream is never silent for so long."""
PREFIXES = ("/v1", "/openai")


class HttpApi:
    """The API of one server."""

    serves_links = True

    def __init__(self, server: str, key: str) -> None:
        """Call the server at an address, with a key unless that is empty."""
        self._base = server.rstrip("/")
        for ending in PREFIXES:
            self._base = self._base.removesuffix(ending)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session = create_session(SILENCE)

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def request(self, method: str, address: str, body: RequestBody | None = None) -> AsyncIterator[ApiResponse]:
        """Make a request; the key is not sent to links, which are open to whoever has them."""
        is_path = address.startswith("/")
        headers = dict(self._headers) if is_path else {}
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        url = self._base + address if is_path else address
        async with _open(self._session, method, url, headers, body) as response:
            yield response


@asynccontextmanager
async def open_link(url: str) -> AsyncIterator[ApiResponse]:
    """Open a link that the API has given, such as that of a bucket."""
    async with create_session(SILENCE) as session, _open(session, "GET", url, {}, None) as response:
        yield response


@asynccontextmanager
async def _open(
    session: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str], body: RequestBody | None
) -> AsyncIterator[ApiResponse]:
    data = None if body is None else body.chunks
    try:
        # As it is: an address with dots would otherwise become another one.
        async with session.request(method, yarl.URL(url, encoded=True), headers=headers, data=data) as response:
            kind = response.headers.get("Content-Type", "")
            yield ApiResponse(response.status, kind, response.content.iter_chunked(CHUNK))
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"The server cannot be reached ({type(error).__name__})."
        raise ApiRefusal(message) from None

"""ApiClient: files and batches of a fluxvision server over HTTP; short failures of the network are waited out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import click

from fluxvision.cli.text import safe_path
from fluxvision.jobs.batch_types import ENDPOINT
from fluxvision.net.client import create_session

SILENCE = 300.0
"""Seconds without a byte after which a request is given up."""
TRIES = 10
PAUSES = (1.0, 2.0, 5.0, 15.0)
"""Seconds between tries; the last one is used for all others."""
PASSING = frozenset({408, 429, 500, 502, 503, 504})
REFUSED = frozenset({400, 403, 404, 410, 413, 422})
BLOCK = 1 << 20


class ApiError(click.ClickException):
    """The server refuses a request, or cannot be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Show a message; `status` is that of HTTP, 0 without an answer."""
        super().__init__(message)
        self.status = status


class Refusal(ApiError):
    """The same request would be refused again."""


class ApiClient:
    """The API of one server."""

    def __init__(self, server: str, key: str) -> None:
        """Call the server at an address, with a key unless that is empty."""
        self.base = server.rstrip("/").removesuffix("/v1") + "/v1"
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

    async def upload(self, path: Path) -> str:
        """Upload an input file and return its id."""
        for_batches = {"purpose": "batch"}
        found = await self._call("POST", "/files", upload=path, data=for_batches)
        return str(found["id"])

    async def begin(self, file_id: str, key: str) -> str:
        """Begin a batch, once for each idempotency key, and return its id."""
        wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
        found = await self._call("POST", "/batches", json=wanted, headers={"Idempotency-Key": key})
        return str(found["id"])

    async def batch(self, batch_id: str) -> Mapping[str, Any]:
        """Return how a batch stands."""
        found: Mapping[str, Any] = await self._call("GET", f"/batches/{batch_id}")
        return found

    async def save_file(self, file_id: str, path: Path) -> None:
        """Write the content of a file to `path`."""
        await self._call("GET", f"{self.base}/files/{file_id}/content", save=path)

    async def save_picture(self, url: str, path: Path) -> None:
        """Write a result behind a link to `path`."""
        await self._call("GET", url, save=path, is_open=True)

    async def _call(
        self,
        method: str,
        place: str,
        *,
        upload: Path | None = None,
        save: Path | None = None,
        is_open: bool = False,
        headers: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Any:
        """Make a request until it is answered; raises `ApiError` for a refusal, and after `TRIES`."""
        url = place if place.startswith("http") else self.base + place
        sent = {**({} if is_open else self._headers), **(headers or {})}
        problem = ApiError("")
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSES[min(attempt, len(PAUSES)) - 1])
            try:
                if upload is not None:
                    with upload.open("rb") as file:
                        return await self._answer(method, url, sent, None, data={**given["data"], "file": file})
                return await self._answer(method, url, sent, save, **given)
            except ApiError as error:
                if error.status not in PASSING:
                    raise
                problem = error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(error, OSError) and error.filename is not None:  # a file of this machine
                    raise
                problem = ApiError(f"The server cannot be reached ({type(error).__name__}).")
        raise problem

    async def _answer(self, method: str, url: str, headers: Mapping[str, str], save: Path | None, **given: Any) -> Any:
        async with self._session.request(method, url, headers=headers, **given) as response:
            if response.status >= 400:  # noqa: PLR2004, the errors of HTTP
                kind = Refusal if response.status in REFUSED else ApiError
                raise kind(await _message(response), response.status)
            if save is None:
                return await response.json()
            with save.open("wb") as file:
                async for block in response.content.iter_chunked(BLOCK):
                    file.write(block)
        return None


async def _message(response: aiohttp.ClientResponse) -> str:
    """Return what the server says of an error, as it can be shown."""
    with suppress(ValueError, KeyError, TypeError, aiohttp.ClientError):
        return safe_path((await response.json())["error"]["message"])
    return f"The server answered with the status {response.status}."

"""Uploads large pictures to fal.ai's storage, each file once; keeps upload tokens and recent addresses."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import yarl

from fluxvision.core import formats
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import UpstreamError, UpstreamRefused, UpstreamUnreachable
from fluxvision.core.images import InputImage
from fluxvision.core.system import resource_error
from fluxvision.net import client
from fluxvision.net.ssrf_guard import Guard
from fluxvision.providers.fal.client import ANSWER, ASK_PATIENCE, LOST, SILENCE, FalClient, parse_fal_response
from fluxvision.providers.fal.errors import error_from_response
from fluxvision.providers.fal.queue import LIFECYCLE, SHORTEST

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    """A task, the number of waiting callers, and the time until which its result is valid."""

    task: asyncio.Task[T]
    waiting: int = 0
    until: float = float("inf")


class SingleFlight(Generic[T]):
    """Shares concurrent work by key, and caches the newest `most` results for `seconds` each, but no failures."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with an empty cache; `clock` returns seconds."""
        self._seconds, self._most, self._clock = seconds, most, clock
        self._entries: dict[Hashable, _Entry[T]] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the cached result, or that of running or new work; errors are raised for all waiting callers.

        A cancelled caller does not affect the others; when the last one is cancelled, so is the work.
        """
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._clock():
            entry = self._entries[key] = _Entry(asyncio.create_task(make()))
            entry.task.add_done_callback(partial(self._settle, key, entry))
        entry.waiting += 1
        try:
            await asyncio.wait([entry.task])
        finally:
            entry.waiting -= 1
            if not entry.waiting and not entry.task.done():
                if self._entries.get(key) is entry:
                    self.forget(key)
                entry.task.cancel()
                await asyncio.gather(entry.task, return_exceptions=True)
        return entry.task.result()

    def forget(self, key: Hashable) -> None:
        """Remove a result, so that the next caller starts new work; waiting callers still get the running one."""
        self._entries.pop(key, None)

    def _settle(self, key: Hashable, entry: _Entry[T], task: asyncio.Task[T]) -> None:
        """Cache a result as the newest, and remove a failure."""
        failed = task.cancelled() or task.exception() is not None
        if self._entries.get(key) is not entry:
            return
        self.forget(key)
        if not failed:
            entry.until = self._clock() + self._seconds
            self._entries[key] = entry
        settled = [name for name, one in self._entries.items() if one.task.done()]
        for name in settled[: -self._most]:
            self.forget(name)


MARGIN = 60.0
"""Seconds before its expiry from which a token is not used any more."""
JSON = {"Content-Type": "application/json"}


class UploadToken(msgspec.Struct, frozen=True):
    """A token that allows uploads."""

    token: str
    token_type: str
    base_url: str
    expires_at: str


class UploadTokens:
    """Caches one token for all uploads."""

    def __init__(self, fal_client: FalClient, url: str) -> None:
        """Request tokens from fal.ai at `url`."""
        self._client = fal_client
        self._url = f"{url}/storage/auth/token?storage_type=fal-cdn-v3"
        self._token: tuple[UploadToken, float] | None = None
        self._renewing = asyncio.Lock()

    async def get(self) -> UploadToken:
        """Return the token, a new one if the last has expired; raises an `Error`, or one of those in `LOST`."""
        async with self._renewing:
            if self._token is not None and self._token[1] > time.time():
                return self._token[0]
            answer = await self._client.request("POST", self._url, ASK_PATIENCE, b"{}", JSON)
            if not answer.is_success:
                raise error_from_response(answer, self._client.secrets(), {})
            try:
                token = msgspec.convert(answer.body, UploadToken)
                ends = datetime.fromisoformat(token.expires_at).timestamp() - MARGIN
            except (msgspec.MsgspecError, ValueError):
                raise UpstreamError("fal.ai's storage gave a leave that cannot be read.") from None
            self._token = token, ends
            return token

    def forget(self) -> None:
        """Request a new token the next time."""
        self._token = None


PART = 10 * 1024 * 1024
WHOLE = 100 * 1024 * 1024
"""Largest picture that is uploaded in one piece, in bytes; larger ones are uploaded in parts."""
TRIES = 3
KEPT, MOST = 1200.0, 256
"""Seconds for which an address is reused (fal.ai keeps the file longer), and most cached addresses."""


class Storage:
    """Uploads files. The versions of a picture, and concurrent callers, share one upload."""

    def __init__(self, fal_client: FalClient, guard: Guard, url: str) -> None:
        """Request tokens from `url`; `guard` must allow the storage address in the token."""
        self.url = url.rstrip("/")
        self._client, self._guard = fal_client, guard
        self._tokens = UploadTokens(fal_client, self.url)
        self._uploads = SingleFlight[str](KEPT, MOST)

    async def upload(self, image: InputImage) -> str:
        """Upload the picture's file and return the address from which fal.ai can read it."""
        return await self._uploads.get(_file_identity(image.path), lambda: self._upload(image))

    def forget(self, image: InputImage) -> None:
        """Upload the picture again the next time; a picture that is only in memory was never uploaded."""
        self._uploads.forget(_file_identity(image.file))

    async def _upload(self, image: InputImage) -> str:
        left = TRIES
        while True:
            left -= 1
            try:
                return await (self._upload_whole(image) if image.size <= WHOLE else self._upload_parts(image))
            except LOST as error:
                if not left:
                    raise resource_error(error) or UpstreamUnreachable("fal.ai's storage cannot be reached.") from None
            except UpstreamError as error:
                if not left or isinstance(error, UpstreamRefused):
                    raise
            self._tokens.forget()
            await self._client.pause(SHORTEST * 2 ** (TRIES - left))

    async def _upload_whole(self, image: InputImage) -> str:
        token = await self._tokens.get()
        url = token.base_url.rstrip("/") + "/files/upload"
        with image.path.open("rb") as file:
            said = await self._store("POST", url, token, _content_labels(image), file)
        return _text(said, "access_url")

    async def _upload_parts(self, image: InputImage) -> str:
        token = await self._tokens.get()
        url = token.base_url.rstrip("/") + "/files/upload/multipart"
        said = await self._store("POST", url, token, _content_labels(image))
        address, number = _text(said, "access_url"), _text(said, "uploadId")
        tags: list[dict[str, Any]] = []
        for index, begin in enumerate(range(0, image.size, PART), 1):
            part = await run_in_thread(_read_part, image.path, begin)
            put = await self._store("PUT", f"{address}/multipart/{number}/{index}", token, _content_labels(image), part)
            tags.append({"partNumber": index, "etag": _text(put, "etag")})
        closing = {"Content-Type": "application/json"}
        content = io.BytesIO(msgspec.json.encode({"parts": tags}))
        await self._store("POST", f"{address}/multipart/{number}/complete", token, closing, content)
        return address

    async def _store(
        self, method: str, url: str, token: UploadToken, headers: Mapping[str, str], content: Any = None
    ) -> Mapping[str, Any]:
        """Make one request to the storage in the token and return its JSON object; raises `UpstreamError`."""
        if self._guard.refusal(url):
            raise UpstreamError("fal.ai named a storage whose address is refused.")
        leave = {"Authorization": f"{token.token_type} {token.token}", "Accept": "application/json"}
        session = client.create_session(SILENCE, self._guard.connector(yarl.URL(url)))
        try:
            async with (
                session,
                session.request(
                    method, url, data=content, headers={**headers, **leave}, allow_redirects=False
                ) as response,
            ):
                said = parse_fal_response(await client.read_limited(response, ANSWER)) or {}
                if response.status // 100 != 2:  # noqa: PLR2004
                    message = f"fal.ai's storage refused the picture with {response.status}."
                    raise UpstreamError(message)
                return {"etag": response.headers.get("etag"), **said}
        except (ValueError, TypeError):  # an address or a header that cannot be sent
            raise UpstreamError("fal.ai's storage named an address that cannot be used.") from None


def _file_identity(path: Path) -> Hashable:
    """Return a key that identifies a file in its current state."""
    try:
        found = path.stat()
    except OSError:  # it is missing: reading it will raise
        return path
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _content_labels(image: InputImage) -> dict[str, str]:
    """Return an upload's headers, with a neutral file name."""
    row = formats.find_format(image.format)
    return {
        "Content-Type": row.mime,
        "X-Fal-File-Name": f"image.{row.extension}",
        "X-Fal-Object-Lifecycle": LIFECYCLE,
        "Accept-Encoding": "identity",
    }


def _read_part(path: Path, begin: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(PART)


def _text(said: Mapping[str, Any], name: str) -> str:
    found = said.get(name)
    if not isinstance(found, str) or not found:
        raise UpstreamError("fal.ai's storage did not say where the picture is.")
    return found

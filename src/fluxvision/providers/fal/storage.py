"""fal.ai's storage, where large pictures are put for its models to read: each file once, whoever asks for it."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yarl

from fluxvision.core.concurrency import to_thread
from fluxvision.core.errors import UpstreamError, UpstreamRefused, UpstreamUnreachable
from fluxvision.core.system import shortage
from fluxvision.core.types import Source
from fluxvision.imaging import formats
from fluxvision.net import client
from fluxvision.net.ssrf_guard import Guard
from fluxvision.providers.fal.answer import parsed
from fluxvision.providers.fal.client import ANSWER, LOST, SILENCE, Wire
from fluxvision.providers.fal.handover import LIFECYCLE, SHORTEST
from fluxvision.providers.fal.leave import Leave, Token
from fluxvision.providers.fal.once import Once

PART = 10 * 1024 * 1024
WHOLE = 100 * 1024 * 1024
"""Bytes up to which a picture is uploaded in one piece; larger ones go in parts."""
TRIES = 3
KEPT, MOST = 1200.0, 256
"""Seconds in which an address is given again, well within those that fal.ai keeps the file; and how many are known."""


class Storage:
    """Uploads files. The versions of a picture share one upload, and so do callers at the same time."""

    def __init__(self, wire: Wire, guard: Guard, url: str) -> None:
        """Get the leave to upload from `url`; the storage that it names must be one that `guard` allows."""
        self.url = url.rstrip("/")
        self._wire, self._guard = wire, guard
        self._leave = Leave(wire, self.url)
        self._once = Once[str](KEPT, MOST)

    async def upload(self, image: Source) -> str:
        """Put the picture where fal.ai can read it, from the disk, and return its address."""
        return await self._once.get(_identity(image.path), lambda: self._uploaded(image))

    def forget(self, image: Source) -> None:
        """Upload the picture anew the next time; one that was never written was never uploaded."""
        self._once.forget(_identity(image.file))

    async def _uploaded(self, image: Source) -> str:
        left = TRIES
        while True:
            left -= 1
            try:
                return await (self._whole(image) if image.size <= WHOLE else self._parts(image))
            except LOST as error:
                if not left:
                    raise shortage(error) or UpstreamUnreachable("fal.ai's storage cannot be reached.") from None
            except UpstreamError as error:
                if not left or isinstance(error, UpstreamRefused):
                    raise
            self._leave.forget()
            await self._wire.pause(SHORTEST * 2 ** (TRIES - left))

    async def _whole(self, image: Source) -> str:
        token = await self._leave.get()
        url = token.base_url.rstrip("/") + "/files/upload"
        with image.path.open("rb") as file:
            said = await self._store("POST", url, token, _labels(image), file)
        return _text(said, "access_url")

    async def _parts(self, image: Source) -> str:
        token = await self._leave.get()
        url = token.base_url.rstrip("/") + "/files/upload/multipart"
        said = await self._store("POST", url, token, _labels(image))
        address, number = _text(said, "access_url"), _text(said, "uploadId")
        tags: list[dict[str, Any]] = []
        for index, begin in enumerate(range(0, image.size, PART), 1):
            part = await to_thread(_read, image.path, begin)
            put = await self._store("PUT", f"{address}/multipart/{number}/{index}", token, _labels(image), part)
            tags.append({"partNumber": index, "etag": _text(put, "etag")})
        closing = {"Content-Type": "application/json"}
        content = io.BytesIO(msgspec.json.encode({"parts": tags}))
        await self._store("POST", f"{address}/multipart/{number}/complete", token, closing, content)
        return address

    async def _store(
        self, method: str, url: str, token: Token, headers: Mapping[str, str], content: Any = None
    ) -> Mapping[str, Any]:
        """Make one request to the storage that fal.ai named and return what it said; raises `UpstreamError`."""
        if self._guard.refusal(url):
            raise UpstreamError("fal.ai named a storage whose address is refused.")
        leave = {"Authorization": f"{token.token_type} {token.token}", "Accept": "application/json"}
        session = client.client(SILENCE, self._guard.connector(yarl.URL(url)))
        try:
            async with (
                session,
                session.request(
                    method, url, data=content, headers={**headers, **leave}, allow_redirects=False
                ) as response,
            ):
                said = parsed(await client.body(response, ANSWER)) or {}
                if response.status // 100 != 2:  # noqa: PLR2004
                    message = f"fal.ai's storage refused the picture with {response.status}."
                    raise UpstreamError(message)
                return {"etag": response.headers.get("etag"), **said}
        except (ValueError, TypeError):  # an address or a header that cannot be sent
            raise UpstreamError("fal.ai's storage named an address that cannot be used.") from None


def _identity(path: Path) -> Hashable:
    """Return what tells a file, as it is now, from every other."""
    try:
        found = path.stat()
    except OSError:  # it has gone: reading it will tell
        return path
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _labels(image: Source) -> dict[str, str]:
    """Return an upload's headers; the file has a name that says nothing."""
    row = formats.find(image.format)
    return {
        "Content-Type": row.mime,
        "X-Fal-File-Name": f"image.{row.extension}",
        "X-Fal-Object-Lifecycle": LIFECYCLE,
        "Accept-Encoding": "identity",
    }


def _read(path: Path, begin: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(PART)


def _text(said: Mapping[str, Any], name: str) -> str:
    found = said.get(name)
    if not isinstance(found, str) or not found:
        raise UpstreamError("fal.ai's storage did not say where the picture is.")
    return found

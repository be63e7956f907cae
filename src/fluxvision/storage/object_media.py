"""ObjectMediaStore: the media store in a bucket, whose links the bucket itself opens.

A result is deleted in the hour after its expiry: the hour is part of its key, `results/2026113008/…`, so that a sweep
asks for the hours that are over and lists nothing else. This machine keeps copies of what it stored or sent lately.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from math import ceil
from pathlib import Path

from fluxvision.core.concurrency import Once, run_in_thread
from fluxvision.core.errors import ConfigError, NotFound, Unavailable
from fluxvision.storage.bucket import Bucket
from fluxvision.storage.data_dir import SECRET_BYTES, DataDir
from fluxvision.storage.media import MediaStore
from fluxvision.storage.media_folder import GONE, STORED, MediaFolder

RESULTS = "results"
LINK_KEY = "media.key"
HOUR_SECONDS = 3600
HOUR = "%Y%m%d%H"
HOUR_NAME = re.compile(r"[0-9]{10}")
OBJECT = re.compile(r"([0-9]{10})-([A-Za-z0-9_-]{32}\.[a-z0-9]+)")
COPY_SECONDS = 900.0
"""Time for which this machine keeps a copy that nobody asks for."""


class ObjectMediaStore(MediaStore):
    """Keeps files in a bucket, which several gateways share."""

    bucket: Bucket

    def __init__(self, bucket: Bucket, copies: MediaFolder, drafts: Path, ttl: float, secret: bytes) -> None:
        """Keep files in `bucket`, copies in `copies`; downloads begin in the folder `drafts`."""
        super().__init__(copies, ttl, secret)
        self.bucket = bucket
        self._drafts = drafts
        self._swept = ""
        self._downloads: dict[str, Once[None]] = {}

    async def put(self, path: Path, mime: str, now: float, ttl: float | None = None) -> str:
        """Send a file to the bucket, and keep it as a copy."""
        end = ceil((now + (self.ttl if ttl is None else ttl)) / HOUR_SECONDS) * HOUR_SECONDS
        name = f"{_hour(end)}-{secrets.token_urlsafe(24)}.{STORED[mime]}"
        headers = {"Content-Type": mime, "Content-Disposition": f'inline; filename="upscaled.{STORED[mime]}"'}
        await self.bucket.upload(_key(name), path, headers)
        with suppress(Unavailable):  # a copy is no more than that
            self.files.add(path, name, now + COPY_SECONDS)
        return name

    async def fetch(self, name: str, now: float) -> Path:
        """Return the path of a copy, which is downloaded where it is missing, once for all who wait for it."""
        if not OBJECT.fullmatch(name):
            raise NotFound(GONE)
        if not self.files.renew(name, now + COPY_SECONDS):
            await self._downloads.setdefault(name, Once(partial(self._download, name, now))).get()
        elif not await self.exists(name):
            raise NotFound(GONE)
        return self.files.path(name)

    async def _download(self, name: str, now: float) -> None:
        try:
            with self._draft() as draft:
                await self.bucket.download(_key(name), draft)
                self.files.add(draft, name, now + COPY_SECONDS)
        finally:
            del self._downloads[name]

    async def exists(self, name: str) -> bool:
        """Return whether the bucket has a file; another gateway may have deleted it."""
        return bool(OBJECT.fullmatch(name)) and await self.bucket.exists(_key(name))

    async def delete(self, name: str) -> None:
        """Delete a file, its copy and its tiles."""
        await run_in_thread(self.files.delete, name)
        if OBJECT.fullmatch(name):  # otherwise it is of before this store
            await self.bucket.delete([_key(name)])

    async def link(self, name: str, now: float) -> str:
        """Return an address that the bucket opens, at most until the file is deleted."""
        left = self.expiry(name) - now
        if left <= 0:
            raise NotFound(GONE)
        return await self.bucket.sign(_key(name), min(self.ttl, left))

    async def sweep(self, now: float) -> int:
        """Delete expired copies; once in every hour also what has expired in the bucket."""
        count, hour = 0, _hour(now)
        try:
            if hour != self._swept:
                for due in await self.bucket.folders(RESULTS):
                    if HOUR_NAME.fullmatch(due) and due <= hour:
                        async for page in self.bucket.list(f"{RESULTS}/{due}"):
                            await self.bucket.delete([*page])
                            count += len(page)
                self._swept = hour
        finally:
            count += await run_in_thread(self.files.sweep, now)
        return count

    def expiry(self, name: str) -> float:
        """Return the end of the hour in which a file is deleted."""
        found = OBJECT.fullmatch(name)
        if not found:
            raise NotFound(GONE)
        try:
            return datetime.strptime(found[1], HOUR).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise NotFound(GONE) from None

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        draft = self._drafts / f"copy-{secrets.token_hex(8)}"
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def open_store(url: str, ttl: float, data_dir: DataDir) -> ObjectMediaStore:
    """Open the store at `url`; raises `ConfigError` where it cannot be used.

    The secret of the links to Deep Zoom tiles is an object, because any gateway may be asked for them.
    """
    bucket = Bucket(url)
    secret = bucket.read_or_create(LINK_KEY, secrets.token_bytes(SECRET_BYTES))
    if len(secret) != SECRET_BYTES:
        message = f"media_url: the object {LINK_KEY} is damaged; delete it, and a new one is made"
        raise ConfigError(message)
    return ObjectMediaStore(bucket, MediaFolder(data_dir.media, COPY_SECONDS), data_dir.run, ttl, secret)


def _hour(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime(HOUR)


def _key(name: str) -> str:
    hour, _, file = name.partition("-")
    return f"{RESULTS}/{hour}/{file}"

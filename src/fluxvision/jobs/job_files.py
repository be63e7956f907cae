"""The input of a stored job: its pictures as files and in the object store, all other facts as JSON."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import NotFound, Unavailable
from fluxvision.core.images import InputImage, LazyFile
from fluxvision.core.types import Job
from fluxvision.storage.data_dir import folder_unusable, make_private

if TYPE_CHECKING:  # not imported at run time, because it needs an extra
    from fluxvision.storage.bucket import Bucket

PICTURES = ("image", "mask")
JOBS = "jobs"
BLOCK = 1 << 20
ENTERING_SECONDS = 600.0
"""Time within which a job whose pictures are kept is in the database."""
FOREIGN_SECONDS = 7 * 86_400.0
"""Time after which a picture in the object store goes whose job this database does not have; another one might."""
LOST = "The picture of this job is not on this machine any more."


class JobFiles:
    """The pictures of unfinished jobs: a folder for each below `folder`, and objects that other gateways can load."""

    def __init__(self, folder: Path, bucket: Bucket | None = None) -> None:
        """Use `folder`, which is created when it is needed, and objects below `jobs/` in `bucket`."""
        self.folder = folder
        self._bucket = bucket

    async def save(self, job: Job) -> Mapping[str, Any]:
        """Keep a job's pictures and return all its facts as JSON; raises `Unavailable` where they cannot be kept."""
        facts = await run_in_thread(self._save, job)
        if self._bucket is not None:
            try:
                for name in _pictures(job):
                    await self._bucket.upload(_key(job.id, name), self.folder / job.id / name)
            except BaseException:
                await self.delete(job.id)
                raise
        return facts

    def _save(self, job: Job) -> Mapping[str, Any]:
        own = self.folder / job.id
        try:
            make_private(own)
            pictures: dict[str, Any] = {name: _keep(found, own / name) for name, found in _pictures(job).items()}
        except OSError as error:
            shutil.rmtree(own, ignore_errors=True)
            raise folder_unusable(error) from error
        facts: dict[str, Any] = msgspec.to_builtins(replace(job, **pictures), enc_hook=str)
        return facts

    async def load(self, facts: Mapping[str, Any]) -> Job:
        """Return a stored job, whose pictures are downloaded where another machine has them.

        Raises `Unavailable` when they are nowhere.
        """
        job: Job = msgspec.convert(facts, Job, dec_hook=_decode)
        pictures: dict[str, Any] = {name: await self._find(job, name, found) for name, found in _pictures(job).items()}
        return replace(job, **pictures)

    async def _find(self, job: Job, name: str, picture: InputImage) -> InputImage:
        if picture.file.is_file():
            return picture
        if self._bucket is None:
            raise Unavailable(LOST)
        own = self.folder / job.id
        try:
            await run_in_thread(make_private, own)
            draft = own / f"{name}.{secrets.token_hex(8)}"
            await self._bucket.download(_key(job.id, name), draft)
            draft.replace(own / name)
        except NotFound:
            raise Unavailable(LOST) from None
        except OSError as error:
            raise folder_unusable(error) from error
        return replace(picture, file=own / name)

    async def sweep(self, unfinished: Collection[str]) -> None:
        """Delete the pictures of all jobs but the unfinished ones, except those that are just being entered.

        In the object store only old ones are deleted: gateways with another database may use it. Raises `Unavailable`.
        """
        await run_in_thread(self._sweep, unfinished)
        if self._bucket is not None:
            before = time.time() - FOREIGN_SECONDS
            async for page in self._bucket.list(JOBS):
                old = [key for key, stored in page.items() if stored < before and key.split("/")[1] not in unfinished]
                await self._bucket.delete(old)

    def _sweep(self, unfinished: Collection[str]) -> None:
        for own in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):  # its job ends meanwhile
                if own.name not in unfinished and time.time() - own.stat().st_mtime > ENTERING_SECONDS:
                    shutil.rmtree(own, ignore_errors=True)

    async def delete(self, request_id: str) -> None:
        """Delete a job's pictures; what cannot be deleted now goes with a later sweep."""
        await self.delete_folder(request_id)
        await self.delete_objects(request_id)

    async def delete_folder(self, request_id: str) -> None:
        """Delete a job's pictures on this machine."""
        await run_in_thread(partial(shutil.rmtree, self.folder / request_id, ignore_errors=True))

    async def delete_objects(self, request_id: str) -> None:
        """Delete a job's pictures in the object store, which may take long."""
        if self._bucket is not None:
            with suppress(Unavailable):
                await self._bucket.delete([_key(request_id, name) for name in PICTURES])


def fingerprint(job: Job, webhook_url: str | None = None) -> str:
    """Return a digest of all that a caller asked for: pictures, model, parameters and webhook."""
    digest = blake2b(digest_size=32)
    for picture in (job.image, job.mask):
        if picture is None:
            continue
        digest.update(b"%d:" % picture.size)
        if picture.content is not None:
            digest.update(picture.content)
            continue
        with picture.path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    asked = [job.model, job.pin, sorted(job.values.items()), sorted(job.extras.items()), job.prefers_base64]
    asked += [] if webhook_url is None else [webhook_url]
    digest.update(msgspec.json.encode(asked, enc_hook=str))
    return digest.hexdigest()


def _keep(picture: InputImage, target: Path) -> InputImage:
    """Copy a picture to `target`, without copying its bytes where the file system can."""
    source: LazyFile = picture
    if source.content is not None:
        target.write_bytes(source.content)
    else:
        try:
            os.link(source.path, target)
        except OSError:  # another file system
            shutil.copyfile(source.path, target)
    return replace(picture, file=target, content=None)


def _pictures(job: Job) -> Mapping[str, InputImage]:
    return {name: found for name in PICTURES if (found := getattr(job, name)) is not None}


def _key(request_id: str, name: str) -> str:
    return f"{JOBS}/{request_id}/{name}"


def _decode(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value

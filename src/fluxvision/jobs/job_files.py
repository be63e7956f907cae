"""The input of a stored job: its pictures as files, all other facts as JSON."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from fluxvision.core.errors import Unavailable
from fluxvision.core.types import InputImage, Job, LazyFile
from fluxvision.storage.workspace import folder_unusable, make_private

PICTURES = ("image", "mask")
BLOCK = 1 << 20
ENTERING_SECONDS = 600.0
"""Time within which a job whose pictures are kept is in the database."""


class JobFiles:
    """The pictures of unfinished jobs: a folder for each below `folder`."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is created when it is needed."""
        self.folder = folder

    def save(self, job: Job) -> Mapping[str, Any]:
        """Keep a job's pictures and return all its facts as JSON; raises `Unavailable` without disk space."""
        own = self.folder / job.id
        try:
            make_private(own)
            pictures = {name: _keep(found, own / name) for name in PICTURES if (found := getattr(job, name))}
        except OSError as error:
            shutil.rmtree(own, ignore_errors=True)
            raise folder_unusable(error) from error
        stored = replace(job, image=pictures["image"], mask=pictures.get("mask"))
        facts: dict[str, Any] = msgspec.to_builtins(stored, enc_hook=str)
        return facts

    def load(self, facts: Mapping[str, Any]) -> Job:
        """Return a stored job; raises `Unavailable` when its pictures are not on this machine."""
        job: Job = msgspec.convert(facts, Job, dec_hook=_decode)
        if not all(picture.file.is_file() for picture in (job.image, job.mask) if picture is not None):
            raise Unavailable("The picture of this job is not on this machine any more.")
        return job

    def sweep(self, unfinished: Collection[str]) -> None:
        """Delete the pictures of all jobs but the unfinished ones, except those that are just being entered."""
        for own in self.folder.iterdir() if self.folder.is_dir() else ():
            if own.name not in unfinished and time.time() - own.stat().st_mtime > ENTERING_SECONDS:
                self.delete(own.name)

    def delete(self, request_id: str) -> None:
        """Delete a job's pictures."""
        shutil.rmtree(self.folder / request_id, ignore_errors=True)


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


def _decode(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value

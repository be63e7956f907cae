"""Downloads the picture of a remote provider's response, and checks that it is a complete picture file."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from fluxvision import imaging
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import ClientError, UpstreamError
from fluxvision.core.images import InputImage
from fluxvision.core.system import delete_file
from fluxvision.net import fetch
from fluxvision.net.ssrf_guard import Guard

PAUSE = 0.5
PIXELS = 400_000_000
TAIL = 65_536
RIFF_HEAD = 8


async def fetch_result(
    reference: str,
    folder: Path,
    *,
    guard: Guard,
    limit: int,
    patience: float,
    tries: int = 3,
    pixels: int = PIXELS,
    pause: float = PAUSE,
) -> Path:
    """Write the picture of an http(s) URL or data URI in a provider's response to a new file in `folder`.

    It is a picture of at most `limit` bytes and `pixels`, complete by its header and its end. Transient failures are
    retried after a growing pause, with `patience` seconds for each attempt. Raises `UpstreamError` with `billed`; the
    file is removed then.
    """
    path = folder / uuid4().hex
    is_data = reference[:5].lower() == "data:"
    left = 0 if is_data else tries - 1

    async def load() -> None:
        if is_data:
            await run_in_thread(fetch.decode_data_uri, reference, path, limit)
        else:
            await fetch.download(reference, path, guard=guard, limit=limit, patience=patience)
        await run_in_thread(partial(probe_result, path, limit=limit, pixels=pixels))

    try:
        failure = await _fetch_failure(load())
        while failure is not None and failure.transient and left > 0:
            await asyncio.sleep(pause)
            left, pause = left - 1, pause * 2
            failure = await _fetch_failure(load())
    except BaseException:
        delete_file(path)
        raise
    if failure is not None:
        delete_file(path)
        raise UpstreamError(failure.reason, billed=True)
    return path


async def _fetch_failure(loading: Coroutine[Any, Any, None]) -> fetch.Unfetched | None:
    """Return why a picture could not be loaded, None when it was. Damage counts as transient too."""
    try:
        await loading
    except fetch.Unfetched as failure:
        reason = f"The provider's picture could not be had: {failure.reason}."
        return fetch.Unfetched(reason, transient=failure.transient)
    except UpstreamError as failure:
        return fetch.Unfetched(failure.message, transient=True)
    return None


def probe_result(path: Path, *, limit: int, pixels: int = PIXELS, content: bytes | None = None) -> InputImage:
    """Read the header and end of a paid picture; `content` is the file if it is in memory.

    Raises `UpstreamError` with `billed` when it cannot be used.
    """
    try:
        found = imaging.probe(path, imaging.Limits(bytes=limit, pixels=pixels), content=content)
    except ClientError:
        raise UpstreamError("The provider's file is not a picture of a usable size.", billed=True) from None
    if not _is_complete(path, found):
        raise UpstreamError("The provider's picture is cut off.", billed=True)
    return found


def _is_complete(path: Path, found: InputImage) -> bool:
    """Return False for a truncated JPEG or WebP file; `probe` has checked the end of a PNG file."""
    if found.format not in {"webp", "jpeg"}:
        return True
    with path.open("rb") as file:
        if found.format == "webp":
            return found.size >= int.from_bytes(file.read(RIFF_HEAD)[4:], "little") + RIFF_HEAD
        file.seek(max(0, found.size - TAIL))
        return b"\xff\xd9" in file.read()

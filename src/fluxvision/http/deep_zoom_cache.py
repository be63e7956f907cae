"""DeepZoomCache makes the Deep Zoom tiles of a stored result when they are first asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fluxvision.imaging.deep_zoom import write_pyramid
from fluxvision.storage.media import MediaStore


class DeepZoomCache:
    """The Deep Zoom tiles of results, each made once, one result at a time."""

    def __init__(self, media: MediaStore) -> None:
        """Store tiles beside the files that `media` has on this machine."""
        self._media = media
        self._turn = asyncio.Semaphore(1)
        self._making: dict[str, asyncio.Task[None]] = {}

    async def of(self, name: str, now: float) -> Path:
        """Return the folder with a file's tiles; concurrent callers wait for the same work."""
        folder = self._media.files.tiles(name)
        if not folder.is_dir():
            task = self._making.get(name)
            if task is None:
                task = self._making[name] = asyncio.ensure_future(self._make(name, now))
                task.add_done_callback(lambda _task: self._making.pop(name, None))
            await asyncio.shield(task)
        return folder

    async def _make(self, name: str, now: float) -> None:
        async with self._turn:
            await self._media.fetch(name, now)
            await asyncio.to_thread(self._media.files.add_tiles, name, write_pyramid)

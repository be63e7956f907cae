"""The tiles of large results: made when somebody first looks, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fluxvision.imaging.deep_zoom import pyramid
from fluxvision.storage.media import MediaStore


class Pyramids:
    """The tiles of results, each made once, one result at a time."""

    def __init__(self, media: MediaStore) -> None:
        """Keep tiles beside the files of `media`."""
        self._media = media
        self._turn = asyncio.Semaphore(1)
        self._making: dict[str, asyncio.Task[None]] = {}

    async def of(self, name: str) -> Path:
        """Return the folder with a file's tiles; whoever asks while they are made waits for the same work."""
        folder = self._media.tiles(name)
        if not folder.is_dir():
            task = self._making.get(name)
            if task is None:
                task = self._making[name] = asyncio.ensure_future(self._make(name))
                task.add_done_callback(lambda _task: self._making.pop(name, None))
            await asyncio.shield(task)
        return folder

    async def _make(self, name: str) -> None:
        async with self._turn:
            await asyncio.to_thread(self._media.add_tiles, name, pyramid)

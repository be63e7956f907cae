"""FileMediaStore: the media store in a folder, whose links this server opens."""

from __future__ import annotations

import secrets
from pathlib import Path

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import NotFound
from fluxvision.storage.data_dir import DataDir
from fluxvision.storage.media import MediaStore
from fluxvision.storage.media_folder import GONE, STORED, MediaFolder


class FileMediaStore(MediaStore):
    """Keeps files in a folder, which several servers may share."""

    async def put(self, path: Path, mime: str, now: float, ttl: float | None = None) -> str:
        """Move a file into the folder, which takes less time than switching to a thread."""
        name = f"{secrets.token_urlsafe(24)}.{STORED[mime]}"
        self.files.add(path, name, now + (self.ttl if ttl is None else ttl))
        return name

    async def fetch(self, name: str, now: float) -> Path:
        """Return the path of a file in the folder."""
        del now
        if not await self.exists(name):
            raise NotFound(GONE)
        return self.files.path(name)

    async def exists(self, name: str) -> bool:
        """Return whether a file is in the folder."""
        return self.files.path(name).is_file()

    async def delete(self, name: str) -> None:
        """Delete a file and its tiles."""
        await run_in_thread(self.files.delete, name)

    async def link(self, name: str, now: float) -> None:
        """Return None: this server sends the files."""

    async def sweep(self, now: float) -> int:
        """Delete expired files and their tiles."""
        return await run_in_thread(self.files.sweep, now)

    def expiry(self, name: str) -> float:
        """Return the time at which a file expires."""
        return self.files.expiry(name)


def open_store(_url: str, ttl: float, data_dir: DataDir) -> FileMediaStore:
    """Open the store in the data folder."""
    return FileMediaStore(MediaFolder(data_dir.media, ttl), ttl, data_dir.secret)

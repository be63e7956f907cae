"""MediaStore: keeps result files, signs links that expire, deletes expired files; STORES lists the kinds of store."""

from __future__ import annotations

import hashlib
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fluxvision.core.errors import ConfigError, NotFound
from fluxvision.storage.data_dir import DataDir
from fluxvision.storage.media_folder import GONE, NAME, MediaFolder

if TYPE_CHECKING:  # not imported at run time, because it needs an extra
    from fluxvision.storage.bucket import Bucket

EXPIRES = re.compile(r"[0-9]{1,12}")
LONGEST_LINK = 604_800.0
"""Seconds; S3 and Google Cloud Storage sign for no longer."""
MISSING_EXTRA = "media_url: an object store needs the extra s3: pip install 'fluxvision[s3]'"


class MediaStore(ABC):
    """Keeps files for `ttl` seconds. A file's id is its name: random letters and the extension of its format."""

    bucket: Bucket | None = None
    """The object store that other gateways share, None where the files are in a folder."""

    def __init__(self, files: MediaFolder, ttl: float, secret: bytes) -> None:
        """Have the files, or copies of them, in `files`; `secret` signs the links that this server opens."""
        self.files = files
        self.ttl = ttl
        self._secret = secret

    @abstractmethod
    async def put(self, path: Path, mime: str, now: float, ttl: float | None = None) -> str:
        """Move a finished file into the store and return its name; raises `Unavailable`.

        It is deleted after `ttl` seconds (None: those of the store), although links to it may end before.
        """

    @abstractmethod
    async def fetch(self, name: str, now: float) -> Path:
        """Return the path of a stored file on this machine; raises `NotFound` or `Unavailable`."""

    @abstractmethod
    async def exists(self, name: str) -> bool:
        """Return whether a file is stored; raises `Unavailable`."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Delete a stored file and its tiles; nothing happens where it is gone. Raises `Unavailable`."""

    @abstractmethod
    async def link(self, name: str, now: float) -> str | None:
        """Return an address at which the store itself sends a file for `ttl` seconds; None: this server sends it."""

    @abstractmethod
    async def sweep(self, now: float) -> int:
        """Delete expired files; return how many were deleted."""

    @abstractmethod
    def expiry(self, name: str) -> float:
        """Return the time after which a file is deleted; raises `NotFound` where there cannot be such a file."""

    def is_kept(self, name: str, now: float) -> bool:
        """Return whether a file has not expired, without asking an object store whether it was deleted before."""
        try:
            return self.expiry(name) > now
        except NotFound:
            return False

    def sign(self, name: str, now: float) -> str:
        """Return the query string of a link to this server that is valid until `ttl` seconds after `now`."""
        expires, signature = self.signed(name, now)
        return f"expires={expires}&signature={signature}"

    def signed(self, name: str, now: float) -> tuple[str, str]:
        """Return the expiry and signature of a link that is valid until `ttl` seconds after `now`."""
        expires = str(int(now + self.ttl))
        return expires, self._signature(name, expires)

    def verify(self, name: str, expires: str, signature: str, now: float) -> float:
        """Return the seconds until a link expires; raises `NotFound` for an invalid or expired one."""
        well_formed = NAME.fullmatch(name) and EXPIRES.fullmatch(expires)
        expected = self._signature(name, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")) or not well_formed:
            raise NotFound(GONE)
        left = min(int(expires), self.expiry(name)) - now
        if left <= 0:
            raise NotFound(GONE)
        return left

    def _signature(self, name: str, expires: str) -> str:
        message = f"{name}\n{expires}".encode(errors="replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


STORES: Mapping[str, str] = {
    "": "file_media",
    "s3": "object_media",
    "gs": "object_media",
    "az": "object_media",
}
"""Modules of the stores by the scheme of their address; each has `open_store`."""


def open_media_store(url: str, ttl: float, data_dir: DataDir) -> MediaStore:
    """Open the store at an address, empty for a folder of the data folder; raises `ConfigError`."""
    check_media_store(url, ttl)
    row = STORES[url.partition("://")[0]]
    store: MediaStore = import_module(f"fluxvision.storage.{row}").open_store(url, ttl, data_dir)
    return store


def check_media_store(url: str, ttl: float) -> None:
    """Raise `ConfigError` for a store that no server with these settings can open."""
    if url and find_spec("obstore") is None:
        raise ConfigError(MISSING_EXTRA, param="media_url")
    if url and ttl > LONGEST_LINK:
        message = f"media_ttl: links of an object store work for at most {LONGEST_LINK:.0f} seconds"
        raise ConfigError(message, param="media_ttl")

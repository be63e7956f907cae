"""MediaStore: keeps result files, signs links that expire, deletes expired files.

The modification time of a stored file is the time at which it expires, so several servers with different `media_ttl`
can share a folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fluxvision.core.errors import NotFound
from fluxvision.core.formats import FORMATS
from fluxvision.storage.workspace import folder_unusable, make_private

_ROWS = [row for row in FORMATS if row.writable]
EXTENSIONS: Mapping[str, str] = {row.mime: row.extension for row in _ROWS}
MIMES: Mapping[str, str] = {extension: row.mime for row in _ROWS for extension in (row.extension, *row.aliases)}
"""Types of the stored files by extension; older releases stored results under an alias, such as "tif"."""
NAME = re.compile(r"[A-Za-z0-9_-]{32}\.(?:" + "|".join(MIMES) + ")")
EXPIRES = re.compile(r"[0-9]{1,12}")
TILES = ".tiles"
SKEW = 300.0
"""Seconds by which the clocks of this machine and of a shared disk may differ."""
GONE = "There is no such file, or its link has expired."


class MediaStore:
    """Keeps files for `ttl` seconds. A file's id is its name: random letters and the extension of its format."""

    def __init__(self, folder: Path, ttl: float, secret: bytes) -> None:
        """Use `folder`, which is created if missing and must hold nothing else; `secret` signs the links."""
        make_private(folder)
        self.folder = folder
        self.ttl = ttl
        self._secret = secret

    def put(self, path: Path, mime: str, now: float, ttl: float | None = None) -> str:
        """Move a finished file atomically into the store and return its id; raises `Unavailable`.

        It is deleted after `ttl` seconds (None: those of the store), although links to it may end before.
        """
        name = f"{secrets.token_urlsafe(24)}.{EXTENSIONS[mime]}"
        try:
            os.utime(path, (now + (self.ttl if ttl is None else ttl),) * 2)
            make_private(self.folder)  # it may have been deleted since
            path.replace(self.folder / name)
        except OSError as error:
            raise folder_unusable(error) from error
        return name

    def delete(self, name: str) -> None:
        """Delete a stored file and its tiles; nothing happens where it is gone."""
        self.path(name).unlink(missing_ok=True)
        shutil.rmtree(self.tiles(name), ignore_errors=True)

    def path(self, name: str) -> Path:
        """Return the path of a stored file."""
        return self.folder / name

    def tiles(self, name: str) -> Path:
        """Return the folder of a file's Deep Zoom tiles, which exists once they are made."""
        return self.folder / f"{name}{TILES}"

    def add_tiles(self, name: str, make: Callable[[Path, Path], None]) -> None:
        """Call `make(file, folder)` to make a file's tiles, then move them atomically into the store.

        The tiles are deleted with their file. Raises `NotFound` when the file is gone.
        """
        draft = self.folder / f"{name}{TILES}-{secrets.token_hex(8)}"
        try:
            make_private(draft)
            make(self.folder / name, draft)
            with suppress(OSError):  # another process was faster
                draft.rename(self.tiles(name))
        except Exception:
            if not (self.folder / name).is_file():
                raise NotFound(GONE) from None
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def sign(self, name: str, now: float) -> str:
        """Return the query string of a link that is valid until `ttl` seconds after `now`."""
        expires, signature = self.signed(name, now)
        return f"expires={expires}&signature={signature}"

    def signed(self, name: str, now: float) -> tuple[str, str]:
        """Return the expiry and signature of a link that is valid until `ttl` seconds after `now`."""
        expires = str(int(now + self.ttl))
        return expires, self._signature(name, expires)

    def verify(self, name: str, expires: str, signature: str, now: float) -> tuple[Path, float]:
        """Return the file and the seconds until its link expires; raises `NotFound` for an invalid or expired link."""
        well_formed = NAME.fullmatch(name) and EXPIRES.fullmatch(expires)
        expected = self._signature(name, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")) or not well_formed:
            raise NotFound(GONE)
        path = self.folder / name
        try:
            left = min(int(expires), path.stat().st_mtime) - now
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(GONE) from None
        if left <= 0:
            raise NotFound(GONE)
        return path, left

    def sweep(self, now: float) -> int:
        """Delete expired files, and tiles whose file is gone; return the number of deleted files.

        Only names that this store creates are deleted. An error on one file is raised after all others are deleted.
        """
        count = 0
        failure: OSError | None = None
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else []  # a file comes before its tiles
        for path in found:
            name, tiled, _ = path.name.partition(TILES)
            if not NAME.fullmatch(name):
                continue
            try:
                if not tiled:
                    count += self._expire(path, now)
                elif not (self.folder / name).is_file():
                    shutil.rmtree(path, ignore_errors=True)
            except FileNotFoundError:  # another process swept it
                continue
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        return count

    def _expire(self, path: Path, now: float) -> bool:
        """Delete a file if it has expired; return whether it was deleted.

        A file that expires too far in the future was stored while the clock was wrong: it gets `ttl` seconds from now.
        """
        facts = path.stat()
        if facts.st_mtime <= now:
            path.unlink()
            return True
        if facts.st_ctime > now + SKEW and facts.st_mtime > now + self.ttl:
            os.utime(path, (now + self.ttl,) * 2)
        return False

    def _signature(self, name: str, expires: str) -> str:
        message = f"{name}\n{expires}".encode(errors="replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

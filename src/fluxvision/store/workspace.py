"""The folders of one server: results, the secret of their links, and uploads that outlive no request and no crash."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fluxvision.config import ConfigError

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Workspace:
    """An opened data folder. `uploads` belongs to this process alone for as long as `lock` is open."""

    media: Path
    uploads: Path
    secret: bytes
    lock: int

    def close(self) -> None:
        """Remove the uploads folder and release it."""
        shutil.rmtree(self.uploads, ignore_errors=True)
        os.close(self.lock)


def open_workspace(data_dir: str) -> Workspace:
    """Open the data folder, or a private folder under the system's temporary one where `data_dir` is empty.

    Uploads that a crashed process left behind are removed; those of living processes stay. The secret lasts as long
    as a configured folder does, so that links survive a restart. Raises `ConfigError` for a folder that cannot be used.
    """
    root = (
        Path(data_dir).expanduser().absolute() if data_dir else Path(tempfile.gettempdir(), f"fluxvision-{os.getuid()}")
    )
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = root.lstat()
        if not data_dir and (facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077 or root.is_symlink()):
            raise ConfigError("the temporary data folder belongs to somebody else; set data_dir", param="data_dir")
        runs = root / "uploads"
        runs.mkdir(exist_ok=True, mode=0o700)
        uploads, lock = _open_run(runs)
        secret = _secret(root / "media.key") if data_dir else secrets.token_bytes(SECRET_BYTES)
    except OSError as error:
        message = f"data_dir: the folder cannot be used ({error.strerror})"
        raise ConfigError(message, param="data_dir") from None
    return Workspace(media=root / "media", uploads=uploads, secret=secret, lock=lock)


def _open_run(runs: Path) -> tuple[Path, int]:
    """Sweep, make a folder and lock it, while no other process does the same."""
    door = _lock_file(runs / "lock")
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        for run in runs.glob("run-*"):
            _remove_if_dead(run)
        uploads = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
        lock = _lock_file(uploads / "lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(door)
    return uploads, lock


def _remove_if_dead(run: Path) -> None:
    lock = _lock_file(run / "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(run, ignore_errors=True)
    except BlockingIOError:  # its process lives
        pass
    finally:
        os.close(lock)


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _secret(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) < SECRET_BYTES:
            raise ConfigError("media.key in data_dir is damaged; delete it", param="data_dir") from None
        return secret
    with os.fdopen(handle, "wb") as file:
        secret = secrets.token_bytes(SECRET_BYTES)
        file.write(secret)
    return secret

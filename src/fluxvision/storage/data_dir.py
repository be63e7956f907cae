"""DataDir: the data folder of one server, with results, the secret of their links, and a folder per request."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fluxvision.core.errors import CallerGone, Cancelled, ConfigError, Unavailable
from fluxvision.core.system import resource_error

LOCK = "lock"
DATABASE_FILE = "fluxvision.db"
UNUSABLE = "The server's data folder was removed or cannot be written to; try again in a moment."


def folder_unusable(error: Exception | None) -> Unavailable:
    """Return the error for the caller when the data folder cannot be used."""
    found = resource_error(error) if error is not None else None
    return found or Unavailable(UNUSABLE, retry_after=5.0)


def make_private(folder: Path) -> None:
    """Create a folder and missing parents, accessible to this user only."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


def create_empty_folder(folder: Path) -> bool:
    """Remove the files of a folder; returns False when something cannot be removed, such as a subfolder."""
    try:
        for name in os.listdir(folder):  # noqa: PTH208, for every request: half the time of paths
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
    except OSError:
        return False
    return True


def lock_folder(folder: Path) -> int:
    """Mark a folder as used by this process while the returned file descriptor is open.

    The lock file appears atomically and already locked, so other processes never see it unlocked. Raises `OSError` when
    the file system does not support locks.
    """
    draft = folder / f"{LOCK}.new"
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.replace(folder / LOCK)
    except OSError:
        os.close(handle)
        with suppress(OSError):
            draft.unlink()
        raise
    return handle


def is_locked(folder: Path) -> bool:
    """Return whether a folder belongs to a process that has not ended."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    else:
        return False
    finally:
        os.close(handle)


def remove_if_abandoned(folder: Path) -> bool | None:
    """Remove a folder whose process has ended; return whether it was removed, None where it has no lock."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:  # it belongs to another user
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process is running
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(handle)


SECRET_BYTES = 32
RUN = re.compile(r"run-[a-z0-9_]{8}")
TRIES = 3
"""Attempts to create a folder that another program deletes meanwhile."""
SPARE = 64
"""Empty request folders kept for reuse, because creating and removing one takes half a millisecond."""
OTHER_OWNER = "the temporary data folder belongs to another user; set data_dir"


@dataclass(slots=True)
class DataDir:
    """An opened data folder."""

    root: Path
    temporary: bool
    """Whether no data folder is configured, so that results are deleted when the server ends."""
    media: Path
    """Results; inside `run` if `temporary`."""
    run: Path
    """The folder of this process, which is locked while `lock` is open."""
    secret: bytes
    """Signs links to results."""
    lock: int
    """File descriptor of the lock on `run`."""
    hold: int
    """File descriptor of the lock on `root`."""
    spare: list[Path] = field(default_factory=list)
    """Empty request folders for reuse."""
    made: int = 0
    """Number of request folders created so far."""

    def folder(self) -> Path:
        """Return an empty folder for one request; missing parents are created again.

        Raises `Unavailable` when it cannot be created.
        """
        while self.spare:
            path = self.spare.pop()
            if path.is_dir():
                return path
        path = self.run / f"work-{self.made}"
        self.made += 1
        failure: Exception | None = None
        for _ in range(TRIES):
            try:
                if failure is not None:
                    self._restore()
                path.mkdir(mode=0o700)
            except (OSError, ConfigError) as error:
                failure = error
            else:
                return path
        raise folder_unusable(failure) from None

    @contextmanager
    def watch(self, path: Path) -> Iterator[None]:
        """Replace an error inside the block by `Unavailable` when the request's folder was deleted meanwhile."""
        try:
            yield
        except (CallerGone, Cancelled, Unavailable):
            raise
        except Exception as error:
            lost = isinstance(error, FileNotFoundError) and str(error.filename).startswith(f"{path}/")
            if path.is_dir() and not lost:  # files are deleted before their folder
                raise
            raise folder_unusable(error) from error

    def release(self, path: Path, *, whole: bool) -> None:
        """Delete the files of a request that has ended.

        The empty folder of a complete (`whole`) request is reused. That of an aborted request is removed and its name
        is not used again, because a thread may still write to it.
        """
        if whole and create_empty_folder(path) and len(self.spare) < SPARE:
            self.spare.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove this process's own folder and release it."""
        shutil.rmtree(self.run, ignore_errors=True)
        os.close(self.lock)
        os.close(self.hold)

    def _restore(self) -> None:
        hold = _open_root(self.root, temporary=self.temporary)
        os.close(self.hold)
        self.hold = hold
        with _lock_root(self.run.parent):
            self.run.mkdir(mode=0o700, exist_ok=True)
            lock = lock_folder(self.run)
        os.close(self.lock)
        self.lock = lock
        if not self.temporary:
            _write_new(self.root / "media.key", self.secret)


def open_data_dir(data_dir: str) -> DataDir:
    """Open the data folder, or a private folder under the system's temporary one when `data_dir` is empty.

    Folders of crashed processes are removed, those of running ones are kept. A configured folder keeps its secret, so
    that links survive a restart. Raises `ConfigError` for a folder that cannot be used.
    """
    root = (
        Path(data_dir).expanduser().absolute() if data_dir else Path(tempfile.gettempdir(), f"fluxvision-{os.getuid()}")
    )
    try:
        hold = _open_root(root, temporary=not data_dir)
        with _lock_root(root / "uploads") as runs:
            for old in runs.glob("run-*"):
                if RUN.fullmatch(old.name) and remove_if_abandoned(old) is None:
                    with suppress(OSError):  # its process ended before it had a lock, or it is not a server's folder
                        old.rmdir()
            run = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
            lock = lock_folder(run)
        secret = _read_secret(root / "media.key") if data_dir else secrets.token_bytes(SECRET_BYTES)
    except OSError as error:
        message = f"data_dir: the folder cannot be used ({error.strerror})"
        raise ConfigError(message, param="data_dir") from None
    media = root / "media" if data_dir else run / "media"
    return DataDir(root, not data_dir, media, run, secret, lock, hold)


def _open_root(root: Path, *, temporary: bool) -> int:
    """Create the root and take a shared lock on it, because systemd-tmpfiles does not clean locked folders."""
    make_private(root)
    facts = root.lstat()
    foreign = facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077 or root.is_symlink()
    if temporary and foreign:
        raise ConfigError(OTHER_OWNER, param="data_dir")
    hold = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if temporary:
        fcntl.flock(hold, fcntl.LOCK_SH)
    return hold


@contextmanager
def _lock_root(runs: Path) -> Iterator[Path]:
    """Yield the folder of all processes, locked so that no other process removes abandoned folders meanwhile."""
    make_private(runs)
    door = os.open(runs / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield runs
    finally:
        os.close(door)


def _read_secret(path: Path) -> bytes:
    secret = secrets.token_bytes(SECRET_BYTES)
    if not _write_new(path, secret):
        secret = path.read_bytes()
        if len(secret) < SECRET_BYTES:
            raise ConfigError("media.key in data_dir is damaged; delete it", param="data_dir") from None
    return secret


def _write_new(path: Path, content: bytes) -> bool:
    """Write a file that only this user can read; return False when it already exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return True

"""Folders that nobody else may look into."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and those above it where they do not exist, each for this user alone."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


def remove(folder: Path) -> None:
    """Remove a folder with everything in it, as far as that is possible. One of plain files goes at a stroke."""
    try:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)

"""Finds the networks of a folder that the setting `models_dir` names: each is an engine of its file's name."""

from __future__ import annotations

import re
from pathlib import Path

from fluxvision.core.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What the name of an engine can be."""
NCNN = ".param"
SUFFIXES = (NCNN, ".safetensors", ".pth")
"""Of a network of ncnn, whose weights are in a .bin file beside it, and of PyTorch."""


def network_parts(path: Path) -> tuple[Path, ...]:
    """Return the files of a network."""
    return (path, path.with_suffix(".bin")) if path.suffix == NCNN else (path,)


def find_networks(folder: str) -> dict[str, Path]:
    """Return the networks of a folder with all their files, by name; none for "", one for a file.

    Raises `ConfigError` for a folder that cannot be read, and for a file whose name cannot be an engine's.
    """
    if not folder:
        return {}
    root = Path(folder).expanduser().absolute()
    try:
        every = [root] if root.is_file() else sorted(root.iterdir())
        files = [
            path for path in every if path.suffix in SUFFIXES and all(part.is_file() for part in network_parts(path))
        ]
    except OSError as error:
        message = f"models_dir: the folder cannot be read ({error.strerror})"
        raise ConfigError(message, param="models_dir") from None
    wrong = next((path.stem for path in files if not NAME.fullmatch(path.stem)), None)
    if wrong is not None:
        message = f"models_dir: {wrong!r} cannot be an engine's name; use letters, digits, dots, - and _"
        raise ConfigError(message, param="models_dir")
    names = [path.stem for path in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"models_dir: {twice} is the name of two networks; rename one of the files"
        raise ConfigError(message, param="models_dir")
    return {path.stem: path for path in files}

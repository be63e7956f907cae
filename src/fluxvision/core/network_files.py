"""Finds the networks of a folder that the setting `models_dir` names: each is an engine of its file's name."""

from __future__ import annotations

import re
from pathlib import Path

from fluxvision.core.upstream import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What the name of an engine can be."""
SUFFIX = ".param"


def find_networks(folder: str) -> dict[str, Path]:
    """Return the .param files of a folder that have a .bin file beside them, by name; none for "", one for a file.

    Raises `ConfigError` for a folder that cannot be read, and for a file whose name cannot be an engine's.
    """
    if not folder:
        return {}
    root = Path(folder).expanduser().absolute()
    try:
        every = [root] if root.is_file() else sorted(root.iterdir())
        files = [path for path in every if path.suffix == SUFFIX and path.with_suffix(".bin").is_file()]
    except OSError as error:
        message = f"models_dir: the folder cannot be read ({error.strerror})"
        raise ConfigError(message, param="models_dir") from None
    wrong = next((path.stem for path in files if not NAME.fullmatch(path.stem)), None)
    if wrong is not None:
        message = f"models_dir: {wrong!r} cannot be an engine's name; use letters, digits, dots, - and _"
        raise ConfigError(message, param="models_dir")
    return {path.stem: path for path in files}

"""Loads models from a complete folder onto the CPU, and chooses the device and the number format."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fluxvision.engine.flux.registry import FluxRow
from fluxvision.engine.flux.weights import CONTROL, PARTS, Part, control_folder, incomplete_error

UNUSED = "lm_head."
"""The text encoder's head, which says the next word: it is never run."""


def pick_device(wish: str) -> torch.device:
    """Return the torch device of a name. Raises ValueError for an unknown kind."""
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.device(wish)
    except RuntimeError as reason:
        message = f"There is no device {wish}."
        raise ValueError(message) from reason


def list_devices(wish: str) -> tuple[str, ...]:
    """Return the devices of a name, each of which gets its own networks: every GPU for "auto" and "cuda"."""
    if wish in {"auto", "cuda"} and torch.cuda.device_count() > 1:
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return tuple(name.strip() for name in wish.split(",") if name.strip()) or ("auto",)


def pick_dtype(wish: str, device: torch.device) -> torch.dtype:
    """Return the torch number format of a name. Raises ValueError for an unknown one."""
    if wish == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found = getattr(torch, wish, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        message = f"There is no number format {wish}."
        raise ValueError(message)
    return found


@contextmanager
def silence_loaders() -> Iterator[None]:
    """Disable the progress bars of transformers and the warnings of diffusers while models are read."""
    logging: Any = import_module("transformers.utils.logging")
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def read_parts(row: FluxRow, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Read every part from its sub-folder, onto the CPU: safetensors only, no code from the folder.

    Raises `Unavailable` when a tensor is missing, which the libraries would fill with random numbers.
    """
    places = {name: (folder / name, part) for name, part in PARTS[row.architecture].items()}
    if row.control is not None:
        places["control"] = control_folder(row, folder), CONTROL
    with silence_loaders():
        return {name: _read_part(row, name, place, part, dtype) for name, (place, part) in places.items()}


def _read_part(row: FluxRow, name: str, place: Path, part: Part, dtype: torch.dtype) -> Any:
    package, kind = part
    wanted: dict[str, Any] = {"local_files_only": True}
    if package == "diffusers":
        wanted |= {"torch_dtype": dtype, "use_safetensors": True}
    elif not name.startswith("tokenizer"):
        wanted |= {"dtype": dtype, "use_safetensors": True}
    load = getattr(import_module(package), kind).from_pretrained
    if name.startswith("tokenizer"):
        return load(str(place), **wanted)
    made, info = load(str(place), output_loading_info=True, **wanted)
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(UNUSED))
    if missing:
        raise incomplete_error(row, f"{missing[0]} of {name}")
    return made.eval().requires_grad_(False)

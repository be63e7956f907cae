"""Where weight files lie: in this package, or in an installed data package whose code is never imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

OWN = Path(__file__).parent / "data"


def files(network: str, package: str | None) -> tuple[Path, Path]:
    """Return the .param and .bin files of a network; raises FileNotFoundError when one is missing."""
    folder = OWN
    if not (OWN / f"{network}.param").is_file() and package is not None:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(network)
        folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    pair = folder / f"{network}.param", folder / f"{network}.bin"
    for path in pair:
        if not path.is_file():
            raise FileNotFoundError(path.name)
    return pair

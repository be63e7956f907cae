"""Where weight files lie: in this package, or in an installed data package whose code is never imported."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

OWN = Path(__file__).parents[1] / "data"
DIGESTS = {
    "4xSPANkendata.bin": "c99c32dbccaa5db7a8d2809ba6e693ec0ac9449b00f4be6a88135b5265b117d9",
    "4xSPANkendata.param": "2698dadcd5d71296fe5354450eccf716d03808775dd398f81fe39a5ae2dc0fd3",
    "spanx4_ch48.bin": "ca85ff72fbab3cfc244190b482d05b3abde8df7b661ed12db3c9dedd21e42d51",
    "spanx4_ch48.param": "d2a0eef1f46be4a76611bdf828305081642c2f004d40c844081d5af0a9633bd8",
}
"""The sha256 of the files in this package."""


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


def verify(path: Path) -> None:
    """Raise ValueError for a file of this package that is not as it was made; others are not known here."""
    if path.parent == OWN and sha256(path.read_bytes()).hexdigest() != DIGESTS.get(path.name):
        raise ValueError(path.name)

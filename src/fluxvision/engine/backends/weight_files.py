"""The files of networks: where they are, and that those of this package are what they were."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

OWN = Path(__file__).parents[1] / "data"
DIGESTS = {
    "4xSPANkendata.bin": "c99c32dbccaa5db7a8d2809ba6e693ec0ac9449b00f4be6a88135b5265b117d9",
    "4xSPANkendata.param": "2698dadcd5d71296fe5354450eccf716d03808775dd398f81fe39a5ae2dc0fd3",
    "4xSPANkendata_restored.bin": "f8b0e955b73790916a9136539a893b1d134c860c81afcbf00489246b1c267395",
    "4xSPANkendata_restored.param": "2698dadcd5d71296fe5354450eccf716d03808775dd398f81fe39a5ae2dc0fd3",
    "noise.npz": "82b2e39704930172c7ba2c2f02986b9011b898fd43cf3ba01b634ae53e43aba2",
    "restore.bin": "f4ca41e58ffa9b00ed2f82332845538a168ecb1621d3d91a56b719192e26ea11",
    "restore.param": "700a79767d30ba12ca280dc8c52550115d1d33051a83d590e5eb0ad90b7dafe7",
    "span_x2.bin": "d4c56693d1e6ea368ecd658fddc7b9556bc554f67a9fef488779a3f9f1c37917",
    "span_x2.param": "80793828e2e05126d7072e56c408cf09bedb444f6f0d3b63117dfccf8ec557fb",
    "span_x2_restored.bin": "5f7ef070d6f5a9a533440eb3abda749a88ced9c89735b1850f8d057fc9ae38f7",
    "span_x2_restored.param": "80793828e2e05126d7072e56c408cf09bedb444f6f0d3b63117dfccf8ec557fb",
    "spanx4_ch48.bin": "ca85ff72fbab3cfc244190b482d05b3abde8df7b661ed12db3c9dedd21e42d51",
    "spanx4_ch48.param": "d2a0eef1f46be4a76611bdf828305081642c2f004d40c844081d5af0a9633bd8",
}
"""The sha256 of the files in this package."""


def find(network: str, package: str | None) -> tuple[Path, Path]:
    """Return the .param and .bin files of a network; raises FileNotFoundError when one is missing.

    A network of one's own is named by the absolute path of its .param file.
    """
    if Path(network).is_absolute():
        return Path(network), Path(network).with_suffix(".bin")
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
    """Raise `ValueError` for a file of this package whose SHA-256 has changed; other files are not checked."""
    if path.parent == OWN and sha256(path.read_bytes()).hexdigest() != DIGESTS.get(path.name):
        raise ValueError(path.name)

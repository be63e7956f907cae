"""The HEIC files of tests/pictures, which tests/pictures/make.py made."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pictures"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.heic")))


def heic(name: str) -> bytes:
    """Return a file by its name."""
    return (FOLDER / f"{name}.heic").read_bytes()

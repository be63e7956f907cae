"""Makes the pictures of this folder anew: the sources from scikit-image's CC0 photographs, the rest with fluxvision.

Run as `python examples/make.py`; needs the development tools (Pillow, scikit-image).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import skimage
from PIL import Image

HERE = Path(__file__).parent
PHOTOS = Path(skimage.__file__).parent / "data"
SOURCES = ("coffee", "chelsea")
SHOWN = "chelsea"
FACTOR = 4
BOX = (560, 250, 1360, 783)
"""The part of the enlarged picture that is shown, pixel for pixel: left, top, right, bottom."""


def main() -> None:
    """Write the sources, then the same part of one of them plainly enlarged and enlarged by the engine."""
    for name in SOURCES:
        Image.open(PHOTOS / f"{name}.png").convert("RGB").save(HERE / f"{name}.jpg", quality=95, subsampling=0)
    source = HERE / f"{SHOWN}.jpg"
    with TemporaryDirectory() as folder:
        result = Path(folder, "result.png")
        command = ("upscale", str(source), "--scale", str(FACTOR), "--out", str(result))
        subprocess.run([sys.executable, "-m", "fluxvision", *command], check=True)
        _save(Image.open(result).convert("RGB"), "after")
    picture = Image.open(source)
    _save(picture.resize((picture.width * FACTOR, picture.height * FACTOR), Image.Resampling.BICUBIC), "before")


def _save(picture: Image.Image, word: str) -> None:
    picture.crop(BOX).save(HERE / f"{SHOWN}-{word}.jpg", quality=88)


if __name__ == "__main__":
    main()

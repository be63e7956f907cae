"""Makes this folder anew: the sources from scikit-image's CC0 photographs, pictures and figures with fluxvision.

Run as `python examples/make.py`; needs the development tools (Pillow, scikit-image).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage
from PIL import Image

from fluxvision.catalog.params import BY_NAME

HERE = Path(__file__).parent
PHOTOS = Path(skimage.__file__).parent / "data"
SOURCES = ("coffee", "chelsea")
SHOWN = "chelsea"
FACTOR = 4
CREATIVITIES = (0, 0.1, 0.3, 0.6, 1)
BOX = (560, 250, 1360, 783)
"""The part of the enlarged picture that is shown, pixel for pixel: left, top, right, bottom."""


def main() -> None:
    """Write the sources, the same part of one of them before and after, and the figures of some creativities."""
    for name in SOURCES:
        Image.open(PHOTOS / f"{name}.png").convert("RGB").save(HERE / f"{name}.jpg", quality=98, subsampling=0)
    source = HERE / f"{SHOWN}.jpg"
    picture = Image.open(source)
    plain = picture.resize((picture.width * FACTOR, picture.height * FACTOR), Image.Resampling.BICUBIC)
    _save(plain, "before")
    rows = [f"| plain cubic enlargement | | {fineness(plain):.2f} |"]
    for creativity in CREATIVITIES:
        result, fidelity = enlarged(source, creativity)
        rows.append(f"| `creativity={creativity:g}` | {fidelity:.1f} dB | {fineness(result):.2f} |")
        if creativity == BY_NAME["creativity"].default:
            _save(result, "after")
    head = "| `chelsea.jpg`, ×4 | fidelity | fine detail |\n| --- | --- | --- |\n"
    (HERE / "creativity.md").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


def enlarged(source: Path, creativity: float) -> tuple[Image.Image, float]:
    """Return a picture enlarged by the engine, and how well it agrees with its source, in dB."""
    with TemporaryDirectory() as folder:
        result = Path(folder, "result.png")
        flags = ("--scale", str(FACTOR), "--creativity", str(creativity), "--out", str(result), "--json")
        command = [sys.executable, "-m", "fluxvision", "upscale", str(source), *flags]
        facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return Image.open(result).convert("RGB"), facts["fidelity"]["lr_psnr_db"]


def fineness(picture: Image.Image) -> float:
    """Return the mean difference of neighbouring pixels in grey levels: how much fine detail there is."""
    grey = np.asarray(picture.convert("L"), np.float32)
    return float((np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2)


def _save(picture: Image.Image, word: str) -> None:
    picture.crop(BOX).save(HERE / f"{SHOWN}-{word}.jpg", quality=88)


if __name__ == "__main__":
    main()

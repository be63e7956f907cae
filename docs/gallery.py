"""Makes the pictures that come with the page anew: examples to begin with, and a gallery of before and after.

The examples are CC0 or public-domain photographs that scikit-image distributes. The gallery is made of them by the
engine on the CPU, with the commands that it shows. Run as `python docs/gallery.py`; needs the development tools.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import skimage
from PIL import Image

from fluxvision.catalog.catalog import CATALOG

FOLDER = Path(__file__).parents[1] / "src" / "fluxvision" / "http" / "page-data"
PHOTOS = Path(skimage.__file__).parent / "data"
MOST_BYTES = 60_000
PROVIDER = "embedded"


@dataclass(frozen=True, slots=True)
class Example:
    """A photograph: the file of scikit-image, the part that is taken (left, top, right, bottom), and who gave it."""

    name: str
    title: str
    file: str
    box: tuple[int, int, int, int]
    credit: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the gallery: the settings, and the part of the result that is shown."""

    title: str
    example: str
    box: tuple[int, int, int, int]
    settings: dict[str, float] = field(default_factory=dict)


EXAMPLES = (
    Example("chelsea", "A cat", "chelsea.png", (0, 0, 451, 300), "Stefan van der Walt, CC0"),
    Example("coffee", "A cup of coffee", "coffee.png", (90, 20, 560, 380), "Rachel Michetti, CC0"),
    Example("astronaut", "An astronaut", "astronaut.png", (40, 0, 424, 330), "NASA, public domain"),
    Example("rocket", "A rocket", "rocket.jpg", (180, 60, 560, 427), "SpaceX, public domain"),
)
GALLERY = (
    Shown("Fur and whiskers", "chelsea", (560, 640, 1200, 1120), {"scale_factor": 4}),
    Shown("An eye, true to the source", "chelsea", (340, 220, 980, 700), {"scale_factor": 4, "creativity": 0}),
    Shown("An eye, with detail of its own", "chelsea", (340, 220, 980, 700), {"scale_factor": 4, "creativity": 0.8}),
    Shown("A spoon that shines", "coffee", (840, 820, 1480, 1300), {"scale_factor": 4}),
    Shown("A face", "astronaut", (460, 200, 1100, 680), {"scale_factor": 4}),
    Shown("A space suit", "astronaut", (380, 800, 1020, 1280), {"scale_factor": 4}),
    Shown("Lights at dusk", "rocket", (260, 860, 900, 1340), {"scale_factor": 4}),
)
FLAGS = {"scale_factor": "--scale", "creativity": "--creativity"}


def main() -> None:
    """Write the examples, the gallery, and what is said of both."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    rows = [_example(row) for row in EXAMPLES]
    _write("examples.json", rows)
    served = next(model.id for model in CATALOG if any(offer.provider == PROVIDER for offer in model.offers))
    shown = [_shown(number, row) for number, row in enumerate(GALLERY, 1)]
    _write("gallery.json", {model.id: shown if model.id == served else [] for model in CATALOG})
    credits_ = "\n".join(f"- `{row.name}.jpg`: {row.title.lower()}. {row.credit}." for row in EXAMPLES)
    (FOLDER / "README.md").write_text(
        "# Pictures of the page\n\n"
        "Photographs that scikit-image distributes, under the terms that its module `data` names,\n"
        f"cut and saved as JPEG:\n\n{credits_}\n\n"
        "`gallery-*.webp` are parts of what fluxvision and plain cubic resampling made of them, under the same terms.\n"
        "`python docs/gallery.py` makes this folder anew.\n",
        encoding="utf-8",
    )


def _example(row: Example) -> dict[str, Any]:
    picture = Image.open(PHOTOS / row.file).convert("RGB").crop(row.box)
    path = FOLDER / f"{row.name}.jpg"
    for quality in range(95, 60, -1):
        picture.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break
    size = {"width": picture.width, "height": picture.height}
    return {"name": row.name, "title": row.title, "url": f"/examples/{path.name}", **size, "credit": row.credit}


def _shown(number: int, row: Shown) -> dict[str, Any]:
    source = FOLDER / f"{row.example}.jpg"
    flags = [word for name, value in row.settings.items() for word in (FLAGS[name], f"{value:g}")]
    words = ["upscale", source.name, "--provider", PROVIDER, *flags, "--out", "result.png"]
    with TemporaryDirectory() as folder:
        Path(folder, source.name).write_bytes(source.read_bytes())
        command = [sys.executable, "-m", "fluxvision", *words, "--json"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603, our own
        fidelity = json.loads(done.stdout)["fidelity"]["lr_psnr_db"]
        after = Image.open(Path(folder, "result.png")).convert("RGB")
    plain = Image.open(source).resize(after.size, Image.Resampling.BICUBIC)
    for name, picture in (("before", plain), ("after", after)):
        picture.crop(row.box).save(FOLDER / f"gallery-{number}-{name}.webp", quality=82, method=6)
    left, top, right, bottom = row.box
    return {
        "title": row.title,
        "before": f"/examples/gallery-{number}-before.webp",
        "after": f"/examples/gallery-{number}-after.webp",
        "width": right - left,
        "height": bottom - top,
        "settings": row.settings,
        "fidelity": round(fidelity, 1),
        "command": shlex.join(["fluxvision", *words]),
    }


def _write(name: str, value: Any) -> None:
    (FOLDER / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

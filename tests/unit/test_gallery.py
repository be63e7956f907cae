"""The gallery of the page: what it says of a picture is what the engine makes of it."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NUMBER = 4
"""The picture that is made anew."""


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    """The program that makes the gallery, writing elsewhere."""
    spec = spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = sys.modules["gallery"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copytree(module.FOLDER, tmp_path / "page-data")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "page-data")
    return module


@pytest.mark.slow
def test_the_gallery_is_what_the_engine_makes(gallery):
    """The same command makes the same picture with the same fidelity; after another engine: `make gallery`."""
    kept = {name: np.asarray(opened(gallery.FOLDER / f"gallery-{NUMBER}-{name}.webp")) for name in ("before", "after")}
    rows = json.loads((gallery.FOLDER / "gallery.json").read_text())["flux-vision-upscaler"]
    made = gallery._shown(NUMBER, gallery.GALLERY[NUMBER - 1])
    assert made["fidelity"] == pytest.approx(rows[NUMBER - 1]["fidelity"], abs=0.3)
    assert {**made, "fidelity": None} == {**rows[NUMBER - 1], "fidelity": None}
    for name, pixels in kept.items():
        now = np.asarray(opened(gallery.FOLDER / f"gallery-{NUMBER}-{name}.webp"))
        assert np.abs(pixels.astype(float) - now).mean() < 1


def test_every_example_is_as_scikit_image_has_it(gallery):
    """The photographs are the parts of the files that the credits speak of."""
    for row in gallery.EXAMPLES:
        kept = np.asarray(opened(gallery.FOLDER / f"{row.name}.jpg"), float)
        source = np.asarray(opened(gallery.PHOTOS / row.file).convert("RGB").crop(row.box), float)
        assert np.abs(kept - source).mean() < 6


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return picture

"""The last steps write the file that was asked for, and leave nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fluxvision import imaging
from fluxvision.postprocess import Work, finish
from fluxvision.types import Fit, Plan, Raster


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "pixels.raw"
    np.full((20, 30, 3), (10, 120, 230), np.uint8).tofile(path)
    return Raster(path, 30, 20, 3, 8)


@pytest.fixture
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "in.png"
    Image.new("RGB", (15, 10), (10, 120, 230)).save(path)
    return imaging.probe(path, imaging.Limits())


def test_a_neutral_plan_encodes_and_nothing_more(raster, source, tmp_path):
    """The pixels come out as they are, as PNG; the raw file is gone."""
    picture = finish(Work(raster, Plan(), source, tmp_path))
    with Image.open(picture.path) as opened:
        assert np.asarray(opened).reshape(-1, 3).tolist() == [[10, 120, 230]] * 600
    assert [picture.path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "gif", "tiff"])
def test_every_format_has_the_size_that_is_told(raster, source, tmp_path, name):
    """Size and type of the file are those of the returned picture, after fitting."""
    picture = finish(Work(raster, Plan(fit=Fit(16, 16, "cover"), output_format=name), source, tmp_path))
    with Image.open(picture.path) as opened:
        assert opened.size == (picture.width, picture.height) == (16, 16)
        assert picture.mime == Image.MIME[opened.format]
    assert [picture.path] == list(tmp_path.iterdir())


def test_a_providers_own_file_is_taken_as_it_is(source, tmp_path):
    """A finished file goes through the same steps and is replaced by the result."""
    path = tmp_path / "sent.png"
    Image.new("RGB", (12, 9), (3, 2, 1)).save(path)
    picture = finish(Work(path, Plan(output_format="webp"), source, tmp_path))
    assert (picture.width, picture.height, picture.format) == (12, 9, "webp")
    assert not path.exists()

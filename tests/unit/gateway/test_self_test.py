"""A small picture goes all the way through, or the stage that fails is named."""

from __future__ import annotations

import pytest
from PIL import Image

from fluxvision.core.errors import Unavailable
from fluxvision.engine.backends import registry, weight_files
from fluxvision.gateway import self_test


@pytest.fixture
def unloaded():
    """No network is loaded, before and after."""
    registry.load_backend.cache_clear()
    yield
    registry.load_backend.cache_clear()


def test_a_small_picture_is_read_enlarged_and_written(tmp_path):
    """The result lies in the folder, twice as large and of the same grey."""
    self_test.run_self_test(tmp_path)
    with Image.open(tmp_path / "large.png") as large:
        assert (large.size, large.convert("L").resize((1, 1)).getpixel((0, 0)) // 8) == ((16, 16), 16)


def test_reading_fails(tmp_path, monkeypatch):
    """A picture that cannot be read is told as such."""
    monkeypatch.setattr(self_test, "PICTURE", self_test.PICTURE[:-20])
    with pytest.raises(Unavailable, match=r"^a small picture cannot be read$"):
        self_test.run_self_test(tmp_path)


@pytest.mark.usefixtures("unloaded")
def test_enlarging_fails(tmp_path, monkeypatch):
    """An engine without its weights is told as such, with the reason as the cause."""
    monkeypatch.setattr(weight_files, "OWN", tmp_path)
    with pytest.raises(Unavailable, match=r"^a small picture cannot be enlarged$") as caught:
        self_test.run_self_test(tmp_path)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(("grey", "fails"), [(128, False), (90, True)])
def test_wrong_pixels_are_no_success(grey, fails, tmp_path, monkeypatch):
    """An engine that makes another picture of it has failed."""
    made = self_test.enlarge_to_raster

    def painted(request, folder):
        raster, result = made(request, folder)
        raster.path.write_bytes(bytes([grey]) * raster.path.stat().st_size)
        return raster, result

    monkeypatch.setattr(self_test, "enlarge_to_raster", painted)
    if fails:
        with pytest.raises(Unavailable):
            self_test.run_self_test(tmp_path)
    else:
        self_test.run_self_test(tmp_path)


def test_writing_fails(tmp_path):
    """A result that cannot be written is told as such."""
    (tmp_path / "large.png").mkdir()
    with pytest.raises(Unavailable, match=r"^a small picture cannot be written$"):
        self_test.run_self_test(tmp_path)

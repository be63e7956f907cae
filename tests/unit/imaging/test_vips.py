"""libvips is set up for pictures from strangers."""

import re

import pytest
import pyvips

import fluxvision.imaging
from fluxvision.errors import InternalError
from fluxvision.imaging.vips import translated


def test_untrusted_loaders_are_blocked(tmp_path):
    """A loader that libvips calls untrusted does not run."""
    path = tmp_path / "table.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(pyvips.Error, match="blocked"):
        pyvips.Image.csvload(str(path))


def test_errors_are_ours():
    """A libvips error becomes the given one, with its cause kept."""
    ours = InternalError("It broke.")
    with pytest.raises(InternalError, match=r"^It broke\.$") as caught, translated(ours):
        pyvips.Image.pngload("/nowhere.png")
    assert isinstance(caught.value.__cause__, pyvips.Error)


def test_public_names():
    """Every public name exists, and the list is sorted."""
    names = fluxvision.imaging.__all__
    assert all(hasattr(fluxvision.imaging, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not re.match("[A-Z]", name), name))

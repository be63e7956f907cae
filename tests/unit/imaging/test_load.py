"""libvips is set up for pictures from strangers."""

import re
import sys
from pathlib import Path

import pytest
import pyvips

import fluxvision.imaging
from fluxvision.core.errors import InternalError
from fluxvision.imaging.load import clear_error_log, translate_vips_errors


def test_untrusted_loaders_are_blocked(tmp_path):
    """A loader that libvips calls untrusted does not run."""
    path = tmp_path / "table.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(pyvips.Error, match="blocked"):
        pyvips.Image.csvload(str(path))


def test_errors_are_ours():
    """A libvips error becomes the given one, with its cause kept."""
    ours = InternalError("It broke.")
    with pytest.raises(InternalError, match=r"^It broke\.$") as caught, translate_vips_errors(ours):
        pyvips.Image.pngload("/nowhere.png")
    assert isinstance(caught.value.__cause__, pyvips.Error)


BINDING = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] == "pyvips"]


@pytest.mark.parametrize("name", ["_to_string", "_to_string_copy"])
def test_strings_of_c_are_text_whatever_their_bytes_are(name):
    """Every module of pyvips that turns C strings into text does it without an error."""
    turning = [module for module in BINDING if hasattr(module, name)]
    assert turning
    for module in turning:
        string = pyvips.glib_lib.g_malloc(3)
        pyvips.ffi.memmove(string, b"a\xdf\0", 3)
        assert getattr(module, name)(pyvips.ffi.cast("char*", string)) == "a\ufffd"
        assert getattr(module, name)(pyvips.ffi.NULL) == "NULL"


def test_pyvips_decodes_in_one_place():
    """No module of pyvips turns bytes into text but by the function that is replaced here."""
    sources = {Path(str(module.__file__)) for module in BINDING}
    found = [line.strip() for path in sources for line in path.read_text("utf-8").splitlines() if "decode(" in line]
    assert found == ["x = x.decode('utf-8')"]


def test_an_error_text_that_is_no_utf8_does_not_outlive_its_call(saved, gradient, decoded):
    """After a call that fails with such a text the next call works."""
    for _ in range(2):
        with pytest.raises(pyvips.Error, match="no\ufffdwhere"):
            pyvips.Operation.call("pngload", b"/no\xdfwhere.png")
        assert decoded(saved(gradient, "TIFF")).color.shape == gradient.shape


def test_metadata_that_is_no_utf8_is_read():
    """A text among the fields, and the name of a field, may have any bytes."""
    image = pyvips.Image.black(1, 1).copy()
    image.set_type(pyvips.GValue.gstr_type, "png-comment-0-a", b"caf\xe9")
    image.set_type(pyvips.GValue.refstr_type, "exif-ifd0-Artist", b"\xff\xfe")
    image.set_type(pyvips.GValue.gstr_type, b"a\xdf", "b")
    assert image.get("png-comment-0-a") == "caf\ufffd"
    assert image.get("exif-ifd0-Artist") == "\ufffd\ufffd"
    assert "a\ufffd" in image.get_fields()


def test_what_an_earlier_call_left_is_forgotten():
    """An error text has nothing of what was in the buffer before."""
    pyvips.vips_lib.vips_source_new_from_file(b"/earlier.png")
    clear_error_log()
    with pytest.raises(pyvips.Error) as caught:
        pyvips.Image.pngload("/later.png")
    assert "later" in str(caught.value)
    assert "earlier" not in str(caught.value)


def test_public_names():
    """Every public name exists, and the list is sorted."""
    names = fluxvision.imaging.__all__
    assert all(hasattr(fluxvision.imaging, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not re.match("[A-Z]", name), name))

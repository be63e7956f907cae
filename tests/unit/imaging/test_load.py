"""libvips is set up for pictures from strangers."""

import re
import sys
from pathlib import Path

import pytest
import pyvips
from PIL import ImageCms

import fluxvision.imaging
from fluxvision.core.errors import InternalError
from fluxvision.imaging import load
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


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
CMYK = pyvips.Operation.call("profile_load", "cmyk")


def made(space, tags):
    """Return a profile of a colour space with the given tags, each with its content."""
    body, table = b"", len(tags).to_bytes(4, "big")
    for name, content in tags.items():
        table += name + (132 + 12 * len(tags) + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    white = b"\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"
    head = b"\0\0\0\0lcms\x02\x10\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    return (len(head + table + body)).to_bytes(4, "big") + (head + table + body)[4:]


WHITE = b"XYZ \0\0\0\0\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"
GREY = made(b"GRAY", {b"wtpt": WHITE, b"kTRC": b"curv\0\0\0\0\0\0\0\1\2\0"})


def changed(at, data, whole=SRGB):
    """Return a profile with other bytes at a place."""
    return whole[:at] + data + whole[at + len(data) :]


def test_whole_profiles():
    """A profile is usable for its own colour space only."""
    for icc, own in ((SRGB, "rgb"), (GREY, "grey"), (CMYK, "cmyk")):
        assert [space for space in ("rgb", "grey", "cmyk") if load.is_usable_profile(icc, space)] == [own]
    assert [load.profile_space(SRGB), load.profile_space(LAB)] == ["rgb", None]


def test_what_stands_behind_a_profile_is_no_part_of_it():
    """It is usable, and whole without that."""
    assert load.is_usable_profile(SRGB + b"padding", "rgb")
    assert load.trim_profile(SRGB + b"padding") == SRGB


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        b"",
        b"rubbish",
        bytes(500),
        SRGB[:128],
        SRGB[:200],
        SRGB[:128] + b"\xff" * 400,
        SRGB[:300] + bytes(len(SRGB) - 300),
        made(b"RGB ", {b"rXYZ": WHITE}),
        made(b"CMYK", {b"A2B0": b"????" + bytes(60)}),
        SRGB + bytes(16_000_000),
        SRGB[:-4],
        changed(0, b"\0\0\0\x80"),
        changed(0, b"\0\xff\xff\xff"),
        changed(12, b"link"),
        changed(20, b"RGB "),
        changed(16, b"GRAY", CMYK),
    ],
)
def test_damaged_profiles(damaged):
    """Cut, empty, huge and incomplete profiles are of no use."""
    assert not any(load.is_usable_profile(damaged, space) for space in ("rgb", "grey", "cmyk"))


def test_verdicts_are_remembered_and_profiles_are_not():
    """The same bytes are judged once, and what remembers the verdicts stays small."""
    judged = []
    judge = load.cache_by_digest(lambda icc: judged.append(icc) is None)
    assert [judge(b"a"), judge(b"a"), judge(b"b")] == [True, True, True]
    assert judged == [b"a", b"b"]
    for number in range(1000):
        judge(bytes([number % 256, number // 256]))
    (known,) = [cell.cell_contents for cell in judge.__closure__ if isinstance(cell.cell_contents, dict)]
    assert len(known) <= 256
    assert {len(digest) for digest in known} == {32}

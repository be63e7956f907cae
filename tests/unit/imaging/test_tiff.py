"""Tag directories survive a round trip in every layout, and EXIF comes in and out of TIFF files."""

import io
import random

import pytest
import pyvips
from PIL import Image

from fluxvision.imaging import metadata, tiff
from fluxvision.imaging.tiff import Layout, Value

LAYOUTS = [Layout("little"), Layout("big"), Layout("little", wide=True), Layout("big", wide=True)]
HEADS = [
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"II+\0\x08\0\0\0\x10" + bytes(7),
    b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10",
]
VALUES = {
    1: Value(3, b"\x07\0"),
    2: Value(3, b"\x01\0\x02\0\x03\0\x04\0\x05\0"),
    3: Value(2, b"odd\0!"),
    4: Value(5, bytes(range(16))),
    5: Value(12, bytes(range(8))),
    6: Value(7, b"x"),
    7: Value(4, b"\x01\x02\x03\x04"),
}


@pytest.mark.parametrize(("layout", "head"), list(zip(LAYOUTS, HEADS, strict=True)))
def test_round_trip(layout, head):
    """What was written in any byte order and width is read again."""
    file = io.BytesIO(head + tiff.write_directory({**VALUES, 9: {1: VALUES[1], 4: VALUES[4]}}, layout, len(head)))
    assert (layout, len(head)) == tiff.read_header(file)
    found = tiff.read_entries(file, layout, len(head))
    values = {tag: tiff.read_value(file, layout, entry) for tag, entry in found.items()}
    assert {tag: values[tag] for tag in VALUES} == VALUES
    below = tiff.read_entries(file, layout, values[9].first)
    assert [VALUES[1], VALUES[4]] == [tiff.read_value(file, layout, entry) for entry in below.values()]


def test_entries_are_kept_as_they_are():
    """An entry that was read whole is written whole."""
    layout = Layout("big")
    entry = bytes(range(12))
    assert entry in tiff.write_directory({1: entry}, layout, 8)


def test_first_number():
    """Only whole numbers count as one."""
    assert [VALUES[1].first, VALUES[7].first, VALUES[4].first] == [7, 0x04030201, None]


def test_no_header():
    """A file that is no TIFF has no directory."""
    assert tiff.read_header(io.BytesIO(b"GIF89a")) is None


def test_rubbish_is_survived(store):
    """No directory, however broken, raises or asks for more than a megabyte."""
    for seed in range(100):
        noise = random.Random(seed).randbytes(200)  # noqa: S311
        for head in HEADS:
            tiff.read_exif(store(head + noise))


@pytest.mark.parametrize("offset", [2**41, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_offset_behind_the_end_is_survived(offset, tmp_path):
    """A directory or a value at an offset that no file has is read as nothing, from a file and from memory."""
    head = b"II+\0\x08\0\0\0"
    path = tmp_path / "file"
    entry = (259).to_bytes(2, "little") + b"\4\0" + (9).to_bytes(8, "little") + offset.to_bytes(8, "little")
    for data in (head + offset.to_bytes(8, "little"), head + bytes([16, *bytes(7), 1, *bytes(7)]) + entry):
        path.write_bytes(data)
        assert not tiff.is_camera_raw(path)
        assert tiff.exif_orientation(data.replace((259).to_bytes(2, "little"), (274).to_bytes(2, "little"))) == 1


def test_a_loop_ends(store):
    """A directory that points to itself is read once."""
    data = b"II*\0\x08\0\0\0" + tiff.write_directory({0x8769: Value(4, b"\x08\0\0\0")}, Layout("little"), 8)
    assert tiff.read_exif(store(data)) is not None


@pytest.fixture
def block():
    """Return an EXIF block with texts, a date and a place."""
    made = Image.Exif()
    made[0x010F], made[0x0112], made[0x8298] = "Maker", 6, "Mine"
    made[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x829A: (1, 50), 0xA002: 9999}
    made[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return made.tobytes()


RECORDS = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x78\x00\x05hello"


@pytest.mark.parametrize("wide", [False, True])
def test_exif_and_iptc_are_added(wide, block, tmp_path):
    """Pillow reads the fields that were added to a finished file; the picture stays what it was."""
    path = tmp_path / "picture"
    picture = pyvips.Image.xyz(40, 30)[0].cast("uchar")
    picture.tiffsave(str(path), bigtiff=wide, compression="lzw")
    tiff.add_directories(path, block, RECORDS)
    with Image.open(path) as image:
        found = image.getexif()
        assert (found[0x010F], found[0x0112], found[0x8298]) == ("Maker", 1, "Mine")
        assert found.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert 0xA002 not in found.get_ifd(0x8769)
        assert found.get_ifd(0x8825) == {1: "N", 2: (1.0, 2.0, 3.0)}
        assert bytes(image.tag_v2[0x83BB]) == RECORDS
    read = pyvips.Image.tiffload(str(path))
    assert (read.numpy() == picture.numpy()).all()
    assert read.get("iptc-data") == RECORDS


def test_exif_of_a_tiff_is_an_upright_block(block, tmp_path):
    """What comes out of a TIFF is a block that Pillow reads."""
    path = tmp_path / "picture"
    pyvips.Image.black(4, 4).tiffsave(str(path))
    tiff.add_directories(path, block, None)
    found = Image.Exif()
    found.load(tiff.read_exif(path))
    assert (found[0x010F], found[0x0112]) == ("Maker", 1)
    assert found.get_ifd(0x8825)[1] == "N"


def test_nothing_to_add(tmp_path):
    """Without fields the file stays as it is."""
    path = tmp_path / "picture"
    pyvips.Image.black(4, 4).tiffsave(str(path))
    before = path.read_bytes()
    tiff.add_directories(path, None, None)
    tiff.add_directories(path, metadata.PREFIX + b"rubbish", None)
    assert before == path.read_bytes()
    assert tiff.read_exif(path) is None

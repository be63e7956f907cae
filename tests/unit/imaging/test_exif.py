"""Orientation inside EXIF and XMP says upright, and nothing else changes."""

import random

import pytest
from PIL import Image

from fluxvision.imaging import metadata, tiff


def block(orientation, *, little=True):
    """Return an EXIF block with an orientation and a text."""
    order = "little" if little else "big"
    number = lambda value, size: value.to_bytes(size, order)  # noqa: E731
    entries = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + b"\0\0"
    entries += number(0x0131, 2) + number(2, 2) + number(4, 4) + b"me!\0"
    return (b"II*\0" if little else b"MM\0*") + number(8, 4) + number(2, 2) + entries + bytes(4)


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("prefix", [b"", tiff.PREFIX])
def test_upright(little, prefix):
    """Orientation becomes 1 in either byte order, with or without prefix; its length stays."""
    assert prefix + block(1, little=little) == metadata.upright_exif(prefix + block(6, little=little))


@pytest.mark.parametrize(
    "damaged", [b"", b"Exif\0\0", b"rubbish", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_blocks_stay(damaged):
    """What cannot be read is left alone."""
    assert damaged == metadata.upright_exif(damaged)


def test_any_rubbish_is_survived():
    """No block, however broken, raises."""
    for seed in range(300):
        noise = random.Random(seed).randbytes(60)  # noqa: S311
        assert len(metadata.upright_exif(b"MM\0*\0\0\0\x08" + noise)) == 68


def test_prefix():
    """The six bytes are added once."""
    assert (
        tiff.PREFIX + b"II*\0"
        == metadata.add_exif_prefix(b"II*\0")
        == metadata.add_exif_prefix(metadata.add_exif_prefix(b"II*\0"))
    )


def test_pillow_reads_it():
    """The changed block is a block that others read."""
    found = Image.Exif()
    found.load(metadata.upright_exif(metadata.add_exif_prefix(block(8))))
    assert dict(found) == {0x0112: 1, 0x0131: "me!"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'tiff:Orientation="6"', b'tiff:Orientation="1"'),
        (b"tiff:Orientation='3'", b"tiff:Orientation='1'"),
        (b"<tiff:Orientation>8</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b'tiff:Orientation="1"', b'tiff:Orientation="1"'),
        (b'my:Orientation="6"', b'my:Orientation="6"'),
    ],
)
def test_xmp(before, after):
    """The property says 1, as attribute or element; others are not touched."""
    assert after == metadata.upright_xmp(before)


RECORDS = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x78\x00\x05hello"


def test_iptc_round_trip():
    """Records come out of the wrapping that they were put into."""
    assert metadata.unwrap_iptc(metadata.wrap_iptc(RECORDS)) == metadata.unwrap_iptc(RECORDS) == RECORDS


def test_iptc_behind_other_resources():
    """Resources of other kinds, odd sizes and names are stepped over."""
    other = b"8BIM\x03\xed\x03abc\0\0\0\x03xyz\0"
    assert (
        metadata.unwrap_iptc(b"Photoshop 3.0\0" + other[:7] + b"abc" + other[10:] + metadata.wrap_iptc(RECORDS)[14:])
        == RECORDS
    )


@pytest.mark.parametrize(
    "rubbish", [b"", b"x", b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM\x04\x04", metadata.wrap_iptc(b"no")]
)
def test_iptc_rubbish(rubbish):
    """A block without records has none."""
    assert metadata.unwrap_iptc(rubbish) is None


def test_iptc_cut():
    """A wrapping cut anywhere gives the records or nothing."""
    whole = metadata.wrap_iptc(RECORDS)
    assert {metadata.unwrap_iptc(whole[:end]) for end in range(len(whole))} == {None, RECORDS}


@pytest.mark.parametrize(
    ("tags", "resolution"),
    [
        ({0x011A: 254, 0x011B: 508, 0x0128: 2}, (10, 20)),
        ({0x011A: 100, 0x011B: 100, 0x0128: 3}, (10, 10)),
        ({0x011A: 254, 0x011B: 254}, (10, 10)),
        ({0x011A: 254, 0x011B: 254, 0x0128: 1}, None),
        ({0x011A: 0, 0x011B: 0}, None),
        ({0x0128: 2}, None),
        ({}, None),
    ],
)
def test_resolution(tags, resolution):
    """Inches and centimetres become millimetres; without a unit it is inches."""
    made = Image.Exif()
    for tag, value in tags.items():
        made[tag] = value if tag == 0x0128 else float(value)
    assert resolution == metadata.exif_resolution(made.tobytes())


def test_no_resolution():
    """Rubbish has none."""
    assert metadata.exif_resolution(b"rubbish") is None

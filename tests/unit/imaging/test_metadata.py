"""Orientation inside EXIF and XMP says upright, and nothing else changes."""

from __future__ import annotations

import io
import random
import time

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from fluxvision.core.errors import InternalError
from fluxvision.core.images import Metadata, RawImage
from fluxvision.imaging import FORMATS, Limits, decode, encode, load, metadata, probe, profile, read_metadata, tiff
from fluxvision.imaging.encode import BLOCKS


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


WRITABLE = [row.name for row in FORMATS if row.writable]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3, CMYK = (bytes(pyvips.Operation.call("profile_load", name)) for name in ("p3", "cmyk"))


@pytest.fixture
def written(tmp_path):
    """Save a picture with a profile and probe it."""

    def write(form, icc, mode="RGB"):
        stream = io.BytesIO()
        Image.new("RGB", (6, 4), (200, 90, 10)).convert(mode).save(stream, form, icc_profile=icc)
        (tmp_path / "in").write_bytes(stream.getvalue())
        return probe(tmp_path / "in", Limits())

    return write


@pytest.fixture
def raster(tmp_path):
    """A raster of 6 x 4 pixels of one colour."""
    np.full((4, 6, 3), (200, 90, 10), np.uint8).tofile(tmp_path / "pixels.raw")
    return RawImage(tmp_path / "pixels.raw", 6, 4, 3, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("damaged", [SRGB[:-4], SRGB[:20] + b"RGB " + SRGB[24:], b"x" * 300, CMYK])
def test_a_damaged_profile_is_left_out_with_a_warning(form, damaged, written):
    """The pixels are read as they are, and the caller is told in every format; a whole profile needs no word."""
    whole = read_metadata(written(form, SRGB))
    assert (whole.icc, whole.warnings) == (SRGB, ())
    source = written(form, damaged)
    found = read_metadata(source)
    assert (found.icc, found.warnings) == (None, (load.LEFT_OUT,))
    assert decode(source).metadata.icc is None


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_damaged_print_profile_gives_way_to_a_common_one(form, written):
    """CMYK is read, with a warning of its own; with a whole profile, and without one, there is none."""
    assert read_metadata(written(form, CMYK, "CMYK")).warnings == ()
    assert read_metadata(written(form, None, "CMYK")).warnings == ()
    source = written(form, CMYK[:5000], "CMYK")
    (warning,) = read_metadata(source).warnings
    assert "CMYK" in warning
    assert (decode(source).color == decode(written(form, None, "CMYK")).color).all()


@pytest.mark.parametrize("form", WRITABLE)
def test_what_stands_behind_a_profile_is_not_written(form, raster, tmp_path):
    """A profile with a tail is written without it."""
    encode(raster, tmp_path / "out", form, quality=None, metadata=Metadata(icc=P3 + b"tail"), strip=False)
    found = read_metadata(probe(tmp_path / "out", Limits()))
    assert found.icc == (None if form == "gif" else P3)


def test_a_block_that_cannot_be_written_is_left_out(raster, tmp_path, monkeypatch):
    """The file is written without the one that is to blame and with the others; the caller reads which it was."""
    monkeypatch.setattr(profile, "is_usable_profile", lambda *_: True)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    said = Metadata(icc=SRGB[:-4], xmp=xmp, resolution=(10.0, 10.0))
    assert encode(raster, tmp_path / "out", "png", quality=None, metadata=said, strip=False) == (BLOCKS["icc"],)
    monkeypatch.undo()
    found = read_metadata(probe(tmp_path / "out", Limits()))
    assert (found.icc, found.xmp) == (None, xmp)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pixels.raw"]


def test_a_file_that_cannot_be_written_anyway_is_an_error(raster, tmp_path):
    """Where not even one bare pixel is written, no block is to blame."""
    with pytest.raises(InternalError):
        encode(raster, tmp_path / "no" / "out", "png", quality=None, metadata=Metadata(icc=SRGB), strip=False)


def mutations(icc, count):
    """Yield copies of a profile with changes in its header and tag table."""
    draw = random.Random(7)  # noqa: S311, no secret
    end = 132 + 12 * int.from_bytes(icc[128:132], "big")
    for _ in range(count):
        copy = bytearray(icc)
        for _ in range(draw.choice((1, 1, 2, 4))):
            copy[draw.randrange(end)] = draw.choice((0, 255, draw.randrange(256)))
        yield bytes(copy)


@pytest.mark.parametrize(("icc", "form", "mode"), [(SRGB, "JPEG", "RGB"), (P3, "TIFF", "RGB"), (CMYK, "JPEG", "CMYK")])
def test_no_profile_breaks_a_picture(icc, form, mode, written, raster):
    """Whatever stands in a header or a tag table, the picture is read, and its result is written in every format."""
    draw = random.Random(3)  # noqa: S311, no secret
    for changed in mutations(icc, 40 if len(icc) < 10_000 else 6):
        source = written(form, changed, mode)
        decode(source)
        said = read_metadata(source)
        target = raster.path.with_name("out")
        encode(raster, target, draw.choice(WRITABLE), quality=None, metadata=said, strip=False)
        decode(probe(target, Limits()))


def test_a_large_profile_in_avif_costs_little(written):
    """Megabytes of metadata are read in a moment of the processor's time."""
    started = time.process_time()
    assert read_metadata(written("AVIF", b"x" * 2_000_000)).warnings == (load.LEFT_OUT,)
    assert time.process_time() - started < 2

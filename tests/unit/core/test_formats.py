"""Which format a file is, is told by its first bytes alone."""

import pytest

from fluxvision.core.formats import FORMATS, avif_brands, find_format, sniff_format


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\xff\x0a" + bytes(30), "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
        (b"\xff\x4f\xff\x51", "jp2"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
        (b"P6 1 1", "pnm"),
        (b"P1\n#", "pnm"),
        (b"\0\0\2" + bytes(9) + b"\1\0\1\0\x18\0", "tga"),
        (b"\0\1\x09" + bytes(4) + b"\x18" + bytes(4) + b"\1\0\1\0\x08\x20", "tga"),
    ],
)
def test_known_beginnings(head, name):
    """Every format that is read is recognised by its signature."""
    assert name == sniff_format(head).name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"BM is a text",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp41",
        b"P7 1 1",
        b"P6",
        b"\0\0\1\0\1\0\x10\x10" + bytes(20),
        bytes(40),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"8BPS\0\1",
        b"SIMPLE  =                    T",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"<html>\x89PNG\r\n\x1a\n",
    ],
)
def test_other_beginnings(head):
    """Anything else is no format."""
    assert sniff_format(head) is None


def test_rows_are_found_by_name():
    """A name finds its own row, another name none."""
    assert [row.name for row in FORMATS] == [find_format(row.name).name for row in FORMATS]
    with pytest.raises(KeyError):
        find_format("psd")


def test_written_formats_have_limits():
    """A row that is written knows its longest side and its most pixels."""
    assert all(row.max_side > 0 and row.max_pixels > 0 for row in FORMATS if row.writable)
    assert all(row.saver is None for row in FORMATS if row.loader is None)


def test_brands_stay_inside_their_box():
    """Bytes after the ftyp box are no brands."""
    assert avif_brands(b"\0\0\0\x14ftypheic\0\0\0\0mif1avifavif") == (b"heic", b"mif1")

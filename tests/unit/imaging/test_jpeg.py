"""Markers of a JPEG tell its quality and its scans."""

import random

import pytest

from fluxvision.core.errors import InvalidRequest
from fluxvision.imaging import scan


@pytest.mark.parametrize("quality", [1, 5, 10, 25, 49, 50, 51, 75, 83, 92, 95, 99, 100])
def test_quality(quality, gradient, saved, store):
    """A quality that libjpeg used is found again."""
    assert quality == scan.inspect_jpeg(store(saved(gradient, "JPEG", quality=quality)), max_scans=9).quality


def test_nearest_quality():
    """A table that is no libjpeg table gets the nearest quality."""
    assert scan.estimate_jpeg_quality(b"\0" + bytes([2] * 64)) in range(90, 100)


@pytest.mark.parametrize("table", [b"", b"\0", b"\0" + bytes(63), b"\x20" + bytes(64), b"\x01" + bytes(64)])
def test_no_quality(table):
    """A cut, unknown or missing luminance table has none."""
    assert scan.estimate_jpeg_quality(table) is None


def test_wide_tables():
    """Tables of 16-bit numbers are read too."""
    plain = scan._TABLES[79]
    assert scan.estimate_jpeg_quality(b"\x10" + plain.astype(">u2").tobytes()) == 80


def test_second_table_of_a_segment():
    """Table 0 is found behind another table."""
    assert scan.estimate_jpeg_quality(b"\x01" + bytes(64) + b"\0" + scan._TABLES[59].astype("u1").tobytes()) == 60


def test_scans(gradient, saved, store):
    """A baseline file has one scan, a progressive one several."""
    assert scan.inspect_jpeg(store(saved(gradient, "JPEG")), max_scans=99).scans == 1
    assert scan.inspect_jpeg(store(saved(gradient, "JPEG", progressive=True)), max_scans=99).scans == 10


def progressive(scans, saved, gradient):
    """Return a progressive JPEG whose last scan is repeated."""
    data = saved(gradient, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_scan_bomb(gradient, saved, probed):
    """A thousand scans are refused."""
    with pytest.raises(InvalidRequest, match=r"more than 100 scans"):
        probed(progressive(1000, saved, gradient))
    assert probed(progressive(5, saved, gradient)).width == 36


def test_end_marker_inside_a_segment(gradient, saved, store):
    """A comment that holds an end marker does not hide the scans behind it."""
    data = progressive(200, saved, gradient)
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    last = data.index(b"\xff\xda")
    assert scan.inspect_jpeg(store(data[:last] + comment + data[last:]), max_scans=100).scans > 100


def test_scans_of_an_attached_picture_do_not_count(gradient, saved, store):
    """Only the first picture's scans count."""
    data = saved(gradient, "JPEG")
    assert scan.inspect_jpeg(store(data * 5), max_scans=99).scans == 1


def test_garbage(store):
    """Whatever follows the signature, the walk ends."""
    for seed in range(50):
        report = scan.inspect_jpeg(store(b"\xff\xd8\xff" + random.Random(seed).randbytes(3000)), max_scans=100)  # noqa: S311
        assert report.scans <= 101

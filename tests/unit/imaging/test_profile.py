"""A profile is used where it is whole and made for the pixels."""

import pytest
from PIL import ImageCms

from fluxvision.imaging import profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def made(space, tags):
    """Return a profile of a colour space with the given tags, each a gamma curve or a table."""
    body, table = b"", len(tags).to_bytes(4, "big")
    for name, kind in tags.items():
        table += name + (132 + 12 * len(tags) + len(body)).to_bytes(4, "big") + (14).to_bytes(4, "big")
        body += (kind + bytes(4) + b"\0\0\0\1\2\0").ljust(14, b"\0")
    return bytes(16) + space + bytes(16) + b"acsp" + bytes(88) + table + body


def test_whole_profiles():
    """A profile is usable for its own colour space only."""
    assert profile.usable(SRGB, "rgb")
    assert not profile.usable(SRGB, "grey")
    assert profile.usable(made(b"GRAY", {b"kTRC": b"curv"}), "grey")
    assert profile.usable(made(b"CMYK", {b"A2B0": b"mft2"}), "cmyk")
    assert [profile.space(SRGB), profile.space(LAB)] == ["rgb", None]


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
        made(b"RGB ", {b"rXYZ": b"XYZ "}),
        made(b"CMYK", {b"A2B0": b"????"}),
        SRGB + bytes(16_000_000),
    ],
    ids=lambda data: str(len(data or b"")),
)
def test_damaged_profiles(damaged):
    """Cut, empty, huge and incomplete profiles are of no use."""
    assert not any(profile.usable(damaged, space) for space in ("rgb", "grey", "cmyk"))

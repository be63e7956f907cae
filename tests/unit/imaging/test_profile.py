"""ICC profiles are accepted only when they are complete and can be converted from."""

import pytest
import pyvips
from PIL import ImageCms

from fluxvision.imaging import profile

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
        assert [space for space in ("rgb", "grey", "cmyk") if profile.is_usable_profile(icc, space)] == [own]
    assert [profile.profile_space(SRGB), profile.profile_space(LAB)] == ["rgb", None]


def test_bytes_after_the_declared_end_are_ignored():
    """A profile with padding is usable, and is trimmed to its declared length."""
    assert profile.is_usable_profile(SRGB + b"padding", "rgb")
    assert profile.trim_profile(SRGB + b"padding") == SRGB


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
    assert not any(profile.is_usable_profile(damaged, space) for space in ("rgb", "grey", "cmyk"))


def test_results_are_cached_and_profiles_are_not():
    """The same bytes are checked once, and the cache of results stays small."""
    calls = []
    checked = profile.cache_by_digest(lambda icc: calls.append(icc) is None)
    assert [checked(b"a"), checked(b"a"), checked(b"b")] == [True, True, True]
    assert calls == [b"a", b"b"]
    for number in range(1000):
        checked(bytes([number % 256, number // 256]))
    (known,) = [cell.cell_contents for cell in checked.__closure__ if isinstance(cell.cell_contents, dict)]
    assert len(known) <= 256
    assert {len(digest) for digest in known} == {32}

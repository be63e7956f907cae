"""Judges colour profiles: what colour space an ICC profile is for, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pyvips

FIELD = "icc-profile-data"
"""What libvips calls the profile of an image."""
_HEADER = 128
_TAG = 12
_MAX_BYTES = 16_000_000
_MAX_TAGS = 200
_SPACES = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}
_INTERPRETATIONS = {"rgb": "srgb", "grey": "b-w", "cmyk": "cmyk"}
_BANDS = {"rgb": 3, "grey": 1, "cmyk": 4}
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_CONNECTIONS = {b"XYZ ", b"Lab "}
_VERDICTS = 256
"""The most verdicts that are remembered."""
_TABLE = frozenset({b"A2B0"})
_NEEDED = {
    "rgb": (_TABLE, frozenset({b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"})),
    "grey": (_TABLE, frozenset({b"kTRC"})),
    "cmyk": (_TABLE,),
}
_TYPES = {b"XYZ ", b"curv", b"para", b"mft1", b"mft2", b"mAB "}


def by_digest(judge: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Remember verdicts by the digest of what was judged: a profile is a stranger's, and may have megabytes."""
    known: dict[bytes, bool] = {}

    def judged(profile: bytes) -> bool:
        digest = sha256(profile).digest()
        verdict = known.get(digest)
        if verdict is None:
            verdict = judge(profile)
            if len(known) >= _VERDICTS:
                known.clear()
            known[digest] = verdict
        return verdict

    return judged


def whole(profile: bytes) -> bytes:
    """Return a profile without what stands behind its declared end."""
    return profile[: _declared(profile)]


def space(profile: bytes) -> str | None:
    """Return "rgb", "grey" or "cmyk" as the profile's header has it; None for anything else, and for a cut one."""
    if not _HEADER < len(profile) <= _MAX_BYTES or not _HEADER < _declared(profile) <= len(profile):
        return None
    if profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES or profile[20:24] not in _CONNECTIONS:
        return None
    return _SPACES.get(profile[16:20])


def usable(profile: bytes | None, wanted: str) -> bool:
    """Whether a profile is made for pixels of the colour space `wanted` and a conversion from it works."""
    if profile is None or space(profile) != wanted:
        return False
    tags = _tags(profile)
    return any(needed <= tags for needed in _NEEDED[wanted]) and _converts(profile)


@by_digest
def _converts(profile: bytes) -> bool:
    """Whether a pixel in the colours of a profile can be converted to sRGB."""
    named = _SPACES[profile[16:20]]
    pixel = pyvips.Image.black(1, 1, bands=_BANDS[named]).copy(interpretation=_INTERPRETATIONS[named])
    pixel.set_type(pyvips.GValue.blob_type, FIELD, profile)
    try:
        pixel.icc_transform("srgb", embedded=True, intent="relative", depth=8).avg()
    except pyvips.Error:
        return False
    return True


def _declared(profile: bytes) -> int:
    return int.from_bytes(profile[:4], "big")


def _tags(profile: bytes) -> set[bytes]:
    """Return the names of the tags that lie inside the profile and, where a conversion needs them, make sense."""
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    found: set[bytes] = set()
    needed = frozenset().union(*(names for choices in _NEEDED.values() for names in choices))
    for at in range(_HEADER + 4, _HEADER + 4 + min(count, _MAX_TAGS) * _TAG, _TAG):
        name, start = profile[at : at + 4], int.from_bytes(profile[at + 4 : at + 8], "big")
        size = int.from_bytes(profile[at + 8 : at + _TAG], "big")
        inside = len(profile) - start >= size > 8 and start >= _HEADER  # noqa: PLR2004, a tag's own header
        if inside and (name not in needed or profile[start : start + 4] in _TYPES):
            found.add(name)
    return found

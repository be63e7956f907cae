"""ICC colour profiles: whether one is valid, for which colour space it is, and whether libvips can convert from it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pyvips

FIELD = "icc-profile-data"
"""Name of the profile in libvips."""
_HEADER = 128
_TAG = 12
_MAX_BYTES = 16_000_000
_MAX_TAGS = 200
_SPACES = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}
_INTERPRETATIONS = {"rgb": "srgb", "grey": "b-w", "cmyk": "cmyk"}
_BANDS = {"rgb": 3, "grey": 1, "cmyk": 4}
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_CONNECTIONS = {b"XYZ ", b"Lab "}
_MAX_CACHED = 256
"""Most entries in the cache of results."""
_TABLE = frozenset({b"A2B0"})
_NEEDED = {
    "rgb": (_TABLE, frozenset({b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"})),
    "grey": (_TABLE, frozenset({b"kTRC"})),
    "cmyk": (_TABLE,),
}
_TYPES = {b"XYZ ", b"curv", b"para", b"mft1", b"mft2", b"mAB "}


def cache_by_digest(check: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Cache a function's results by the digest of its argument, because a profile may have megabytes."""
    known: dict[bytes, bool] = {}

    def cached(profile: bytes) -> bool:
        digest = sha256(profile).digest()
        result = known.get(digest)
        if result is None:
            result = check(profile)
            if len(known) >= _MAX_CACHED:
                known.clear()
            known[digest] = result
        return result

    return cached


def trim_profile(profile: bytes) -> bytes:
    """Return a profile without bytes after its declared end."""
    return profile[: _declared_length(profile)]


def profile_space(profile: bytes) -> str | None:
    """Return "rgb", "grey" or "cmyk" by the profile's header, None for other spaces and a truncated profile."""
    if not _HEADER < len(profile) <= _MAX_BYTES or not _HEADER < _declared_length(profile) <= len(profile):
        return None
    if profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES or profile[20:24] not in _CONNECTIONS:
        return None
    return _SPACES.get(profile[16:20])


def is_usable_profile(profile: bytes | None, wanted: str) -> bool:
    """Return whether a profile is for pixels of the colour space `wanted` and can be converted from."""
    if profile is None or profile_space(profile) != wanted:
        return False
    tags = _read_tags(profile)
    return any(needed <= tags for needed in _NEEDED[wanted]) and _can_convert(profile)


@cache_by_digest
def _can_convert(profile: bytes) -> bool:
    """Return whether a pixel can be converted from a profile to sRGB."""
    named = _SPACES[profile[16:20]]
    pixel = pyvips.Image.black(1, 1, bands=_BANDS[named]).copy(interpretation=_INTERPRETATIONS[named])
    pixel.set_type(pyvips.GValue.blob_type, FIELD, profile)
    try:
        pixel.icc_transform("srgb", embedded=True, intent="relative", depth=8).avg()
    except pyvips.Error:
        return False
    return True


def _declared_length(profile: bytes) -> int:
    return int.from_bytes(profile[:4], "big")


def _read_tags(profile: bytes) -> set[bytes]:
    """Return the names of the tags that are inside the profile and, if a conversion needs them, are valid."""
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

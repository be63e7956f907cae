"""Judges colour profiles: what colour space an ICC profile is for, and whether it is whole."""

from __future__ import annotations

_HEADER = 128
_TAG = 12
_MAX_BYTES = 16_000_000
_MAX_TAGS = 200
_SPACES = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}
_TABLE = frozenset({b"A2B0"})
_NEEDED = {
    "rgb": (_TABLE, frozenset({b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"})),
    "grey": (_TABLE, frozenset({b"kTRC"})),
    "cmyk": (_TABLE,),
}
_TYPES = {b"XYZ ", b"curv", b"para", b"mft1", b"mft2", b"mAB "}


def space(profile: bytes) -> str | None:
    """Return "rgb", "grey" or "cmyk" as the profile's header has it; None for anything else."""
    if not _HEADER < len(profile) <= _MAX_BYTES or profile[36:40] != b"acsp":
        return None
    return _SPACES.get(profile[16:20])


def usable(profile: bytes | None, wanted: str) -> bool:
    """Whether a profile is made for pixels of the colour space `wanted` and holds all that a conversion needs."""
    if profile is None or space(profile) != wanted:
        return False
    tags = _tags(profile)
    return any(needed <= tags for needed in _NEEDED[wanted])


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

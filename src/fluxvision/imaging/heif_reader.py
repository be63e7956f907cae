"""Reads HEIC with libheif, whose binary the package pi-heif brings.

libheif's C functions are called directly: pi-heif's own module crashes the process on a metadata item whose type is not
UTF-8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache, partial
from typing import Any, BinaryIO

import numpy as np
import pyvips

from fluxvision.imaging.fallback_reader import SAMPLES, PictureFile

_RGB, _MONOCHROME = 1, 2
"""Colour spaces."""
_INTERLEAVED = {(False, 8): 10, (True, 8): 11, (False, 16): 14, (True, 16): 15}
"""Layouts of RGB samples, by alpha and bits of a stored sample."""
_CHANNEL = 10
"""The one plane of interleaved samples."""
_PROFILES = {int.from_bytes(b"rICC", "big"), int.from_bytes(b"prof", "big")}
_MAX_BLOCK = 16_000_000
_MOST_BLOCKS = 100
_CODED = 512
"""Pixels by which a coded picture, or the last tile of a grid, may exceed the picture on each side."""
_DAMAGED, _UNSUPPORTED = "damaged", "Unsupported"
_UNSUPPORTED_CODES = {3, 4, 11}
"""Errors of libheif: unsupported type of file, unsupported feature, a codec that is not there."""


class _Error(ctypes.Structure):
    _fields_ = (("code", c_int), ("subcode", c_int), ("message", c_char_p))


class _Limits(ctypes.Structure):
    """The beginning of libheif's security limits."""

    _fields_ = (("version", ctypes.c_uint8), ("pixels", c_uint64))


@cache
def _library() -> ctypes.CDLL:
    """Return the library with the types of its functions; raises ImportError where pi-heif is not installed."""
    import _pi_heif  # noqa: PLC0415, the start of the server does not need it

    library = ctypes.CDLL(_pi_heif.__file__)  # its symbols include those of libheif, which it is linked with
    kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "context_alloc": (c_void_p, ()),
        "context_free": (None, (c_void_p,)),
        "context_get_security_limits": (POINTER(_Limits), (c_void_p,)),
        "context_read_from_memory_without_copy": (_Error, (c_void_p, c_char_p, c_size_t, c_void_p)),
        "context_get_number_of_top_level_images": (c_int, (c_void_p,)),
        "context_get_primary_image_handle": (_Error, (c_void_p, POINTER(c_void_p))),
        "image_handle_release": (None, (c_void_p,)),
        "image_handle_get_width": (c_int, (c_void_p,)),
        "image_handle_get_height": (c_int, (c_void_p,)),
        "image_handle_has_alpha_channel": (c_int, (c_void_p,)),
        "image_handle_is_premultiplied_alpha": (c_int, (c_void_p,)),
        "image_handle_get_luma_bits_per_pixel": (c_int, (c_void_p,)),
        "image_handle_get_preferred_decoding_colorspace": (_Error, (c_void_p, POINTER(c_int), POINTER(c_int))),
        "image_handle_get_color_profile_type": (c_uint32, (c_void_p,)),
        "image_handle_get_raw_color_profile_size": (c_size_t, (c_void_p,)),
        "image_handle_get_raw_color_profile": (_Error, (c_void_p, c_void_p)),
        "image_handle_get_list_of_metadata_block_IDs": (c_int, (c_void_p, c_char_p, POINTER(c_uint32), c_int)),
        "image_handle_get_metadata_type": (c_char_p, (c_void_p, c_uint32)),
        "image_handle_get_metadata_content_type": (c_char_p, (c_void_p, c_uint32)),
        "image_handle_get_metadata_size": (c_size_t, (c_void_p, c_uint32)),
        "image_handle_get_metadata": (_Error, (c_void_p, c_uint32, c_void_p)),
        "decode_image": (_Error, (c_void_p, POINTER(c_void_p), c_int, c_int, c_void_p)),
        "image_release": (None, (c_void_p,)),
        "image_get_width": (c_int, (c_void_p, c_int)),
        "image_get_height": (c_int, (c_void_p, c_int)),
        "image_get_plane_readonly": (c_void_p, (c_void_p, c_int, POINTER(c_int))),
    }
    for name, (result, arguments) in kinds.items():
        function = getattr(library, f"heif_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _call(name: str, *arguments: Any) -> Any:
    """Call a function of libheif; raises ValueError for its errors."""
    found = getattr(_library(), f"heif_{name}")(*arguments)
    if isinstance(found, _Error) and found.code:
        raise ValueError(_UNSUPPORTED if found.code in _UNSUPPORTED_CODES else _DAMAGED)
    return found


def open_heif(file: BinaryIO) -> PictureFile:
    """Open a HEIC file, of which the primary picture counts; its orientation is applied when it is decoded."""
    data = file.read()
    with _opened(data) as (context, handle):
        width, height = _call("image_handle_get_width", handle), _call("image_handle_get_height", handle)
        alpha = bool(_call("image_handle_has_alpha_channel", handle))
        depth = _call("image_handle_get_luma_bits_per_pixel", handle)
        colours, chroma = c_int(), c_int()
        _call("image_handle_get_preferred_decoding_colorspace", handle, byref(colours), byref(chroma))
        frames = _call("context_get_number_of_top_level_images", context)
        blocks = _read_blocks(handle)
    if width <= 0 or height <= 0 or depth not in range(1, 17):
        raise ValueError(_DAMAGED)
    channels, bits = 1 if colours.value == _MONOCHROME else 3, 8 if depth <= 8 else 16  # noqa: PLR2004

    def read() -> pyvips.Image:
        with _opened(data) as (context, handle):
            # The coded picture may be larger than the header says.
            _call("context_get_security_limits", context)[0].pixels = (width + _CODED) * (height + _CODED)
            image = _decode(handle, alpha=alpha, bits=bits)
            premultiplied = alpha and _call("image_handle_is_premultiplied_alpha", handle)
        top, full = (1 << depth) - 1, (1 << bits) - 1
        if premultiplied:
            image = image.unpremultiply(max_alpha=top, alpha_band=3)
        if channels == 1:
            image = image[0].bandjoin(image[3]) if alpha else image[0]
        if depth != bits or premultiplied:
            image = (image * (full / top) + 0.5).cast(SAMPLES[bits])
        return image

    return PictureFile(width, height, channels, alpha, bits, read, frames=max(frames, 1), blocks=blocks)


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[c_void_p, c_void_p]]:
    """Yield a context for a file in memory, and the handle of its primary picture."""
    context, handle = c_void_p(_call("context_alloc")), c_void_p()
    try:
        _call("context_read_from_memory_without_copy", context, data, len(data), None)
        _call("context_get_primary_image_handle", context, byref(handle))
        yield context, handle
    finally:
        if handle:
            _call("image_handle_release", handle)
        _call("context_free", context)


def _decode(handle: c_void_p, *, alpha: bool, bits: int) -> pyvips.Image:
    """Return RGB samples, maybe with alpha, with the values of the file."""
    picture, stride = c_void_p(), c_int()
    _call("decode_image", handle, byref(picture), _RGB, _INTERLEAVED[alpha, bits], None)
    try:
        width, height = (_call(f"image_get_{side}", picture, _CHANNEL) for side in ("width", "height"))
        start = _call("image_get_plane_readonly", picture, _CHANNEL, byref(stride))
        bands = 4 if alpha else 3
        line = width * bands * bits // 8
        if not start or width <= 0 or height <= 0 or stride.value < line:
            raise ValueError(_DAMAGED)
        whole = np.ctypeslib.as_array(ctypes.cast(start, POINTER(ctypes.c_uint8)), (height, stride.value))
        return pyvips.Image.new_from_memory(whole[:, :line].tobytes(), width, height, bands, SAMPLES[bits])
    finally:
        _call("image_release", picture)


def _read_blocks(handle: c_void_p) -> dict[str, bytes]:
    """Return the ICC profile, EXIF and XMP of a picture."""
    blocks: dict[str, bytes] = {}
    if _call("image_handle_get_color_profile_type", handle) in _PROFILES:
        size = _call("image_handle_get_raw_color_profile_size", handle)
        blocks["icc-profile-data"] = _read_block(size, partial(_call, "image_handle_get_raw_color_profile", handle))
    ids = (c_uint32 * _MOST_BLOCKS)()
    for number in ids[: _call("image_handle_get_list_of_metadata_block_IDs", handle, None, ids, _MOST_BLOCKS)]:
        kind = _call("image_handle_get_metadata_type", handle, number)
        xmp = (
            kind == b"mime"
            and _call("image_handle_get_metadata_content_type", handle, number) == b"application/rdf+xml"
        )
        if kind != b"Exif" and not xmp:
            continue
        size = _call("image_handle_get_metadata_size", handle, number)
        content = _read_block(size, partial(_call, "image_handle_get_metadata", handle, number))
        if xmp:
            blocks["xmp-data"] = content
        else:
            blocks["exif-data"] = content[4 + int.from_bytes(content[:4], "big") :]
    return blocks


def _read_block(size: int, fill: Callable[[Any], object]) -> bytes:
    """Return what `fill` writes to a buffer of `size` bytes; nothing for an unreasonable size."""
    if not 0 < size <= _MAX_BLOCK:
        return b""
    space = ctypes.create_string_buffer(size)
    fill(space)
    return space.raw

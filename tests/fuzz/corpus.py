"""A small corpus of good picture files of every format that is read, made by Pillow and libvips."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

from fakes.heic import NAMES as HEIC
from fakes.heic import heic

try:
    import pyjpegxl
except ImportError:  # the extra jxl
    pyjpegxl = None

ORIENTATION = 0x0112
DESCRIPTION = 0x010E
XMP = b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><a>\xdf\xff text</a></x:xmpmeta>'
MANY = 70_000
"""Bytes of a colour profile that needs two segments of a JPEG file."""


def noise(height: int, width: int, channels: int = 3, sample: type = np.uint8) -> np.ndarray:
    """Return smooth colours with some noise, always the same ones."""
    down, across = np.mgrid[0:height, 0:width]
    top = np.iinfo(sample).max
    planes = [(across * (7 + n) + down * (3 + 5 * n)) % 256 * (top // 255) for n in range(channels)]
    found = np.stack(planes, axis=2).astype(sample)
    found ^= np.random.default_rng(1).integers(0, 16, found.shape, sample)
    return found if channels > 1 else found[:, :, 0]


def profile(size: int = 0) -> bytes:
    """Return an sRGB colour profile, filled up with zeros to `size` bytes."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made += bytes(max(0, size - len(made)))
    return len(made).to_bytes(4, "big") + made[4:]


def exif(orientation: int = 1, text: str = "a description") -> Image.Exif:
    """Return EXIF data with an orientation and a text."""
    found = Image.Exif()
    found[ORIENTATION] = orientation
    found[DESCRIPTION] = text
    return found


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    """Return a Pillow picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _rgb(height: int = 12, width: int = 16) -> Image.Image:
    return Image.fromarray(noise(height, width))


def _rgba() -> Image.Image:
    return Image.fromarray(noise(12, 16, 4))


def _frames(mode: str = "RGB") -> list[Image.Image]:
    return [Image.fromarray(np.roll(noise(12, 16), step, axis=1)).convert(mode) for step in range(3)]


def _animated(form: str, mode: str = "RGB", **options: object) -> bytes:
    first, *others = _frames(mode)
    return saved(first, form, save_all=True, append_images=others, duration=50, **options)


def _vips(sample: type = np.uint8, channels: int = 3) -> pyvips.Image:
    image = pyvips.Image.new_from_array(noise(24, 36, channels, sample))
    return image.copy(interpretation="rgb16" if sample is np.uint16 else "srgb")


def _texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a text " * 9, zip=True)
    info.add_text("Comment", "plain")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode("utf-8", "replace"))
    return info


def _jxl(channels: int, **options: object) -> bytes:
    return pyjpegxl.encode_from_numpy(np.ascontiguousarray(noise(12, 16, channels)), **options)


def _odd_gif() -> bytes:
    """Return frames of other sizes than the screen's, some beside it."""
    file = bytearray(saved(_rgb().quantize(8), "GIF"))
    at = file.index(b"\x2c")
    block = bytes(file[at:-1])
    moved = bytearray(block)
    moved[1:5] = (9).to_bytes(2, "little") + (7).to_bytes(2, "little")
    return bytes(file[:-1]) + bytes(moved) + block + b"\x3b"


FILES: Mapping[str, Callable[[], bytes]] = {
    "png": lambda: saved(_rgb(), "PNG"),
    "png-rgba": lambda: saved(_rgba(), "PNG", dpi=(300, 300)),
    "png-grey": lambda: saved(_rgb().convert("L"), "PNG", transparency=7),
    "png-bits": lambda: saved(_rgb().convert("1"), "PNG"),
    "png-palette": lambda: saved(_rgb().quantize(17), "PNG", transparency=bytes(range(17))),
    "png-16": lambda: _vips(np.uint16).pngsave_buffer(bitdepth=16),
    "png-16-grey": lambda: _vips(np.uint16, 1).pngsave_buffer(bitdepth=16),
    "png-interlaced": lambda: _vips().pngsave_buffer(interlace=True),
    "png-described": lambda: saved(
        _rgb(), "PNG", icc_profile=profile(), exif=exif(6), pnginfo=_texts(), transparency=(1, 2, 3)
    ),
    "png-animated": lambda: _animated("PNG"),
    "jpeg": lambda: saved(_rgb(), "JPEG"),
    "jpeg-grey": lambda: saved(_rgb().convert("L"), "JPEG", quality=30),
    "jpeg-cmyk": lambda: saved(_rgb().convert("CMYK"), "JPEG"),
    "jpeg-progressive": lambda: saved(_rgb(40, 52), "JPEG", progressive=True, exif=exif(3)),
    "jpeg-restarts": lambda: saved(_rgb(40, 52), "JPEG", restart_marker_blocks=2, comment=b"caf\xe9"),
    **{f"jpeg-turned-{turn}": lambda turn=turn: saved(_rgb(), "JPEG", exif=exif(turn)) for turn in range(1, 9)},
    "jpeg-profile": lambda: saved(_rgb(), "JPEG", icc_profile=profile(MANY), xmp=XMP),
    "jpeg-mpf": lambda: saved(_rgb(), "MPO", save_all=True, append_images=_frames()),
    "webp": lambda: saved(_rgb(), "WEBP"),
    "webp-alpha": lambda: saved(_rgba(), "WEBP", quality=50),
    "webp-lossless": lambda: saved(_rgba(), "WEBP", lossless=True),
    "webp-animated": lambda: _animated("WEBP"),
    "webp-described": lambda: saved(_rgb(), "WEBP", exif=exif(8), xmp=XMP, icc_profile=profile()),
    "gif": lambda: saved(_rgb().quantize(32), "GIF", transparency=3, comment=b"\xdf\xff"),
    "gif-animated": lambda: _animated("GIF", "P", loop=0, disposal=2),
    "gif-odd": _odd_gif,
    "avif": lambda: saved(_rgb(), "AVIF", speed=10),
    "avif-alpha": lambda: saved(_rgba(), "AVIF", speed=10, quality=40),
    **{f"avif-turned-{n}": lambda n=n: saved(_rgb(), "AVIF", speed=10, exif=exif(n)) for n in range(2, 9)},
    "avif-10": lambda: _vips(np.uint16).heifsave_buffer(compression="av1", bitdepth=10, effort=0),
    "avif-described": lambda: saved(_rgb(), "AVIF", speed=10, exif=exif(), xmp=XMP, icc_profile=profile()),
    "avif-animated": lambda: _animated("AVIF", speed=10),
    "tiff": lambda: saved(_rgb(), "TIFF"),
    "tiff-lzw": lambda: saved(_rgb(), "TIFF", compression="tiff_lzw", icc_profile=profile()),
    "tiff-jpeg": lambda: saved(_rgb(), "TIFF", compression="jpeg"),
    "tiff-packbits": lambda: saved(_rgb().quantize(9), "TIFF", compression="packbits"),
    "tiff-float": lambda: saved(_rgb().convert("F"), "TIFF"),
    "tiff-big": lambda: saved(_rgb(), "TIFF", big_tiff=True),
    "tiff-pages": lambda: saved(_rgb(), "TIFF", save_all=True, append_images=_frames()),
    "tiff-tiled": lambda: _vips().tiffsave_buffer(tile=True, tile_width=16, tile_height=16, compression="deflate"),
    "tiff-pyramid": lambda: _vips().tiffsave_buffer(tile=True, pyramid=True, tile_width=16, tile_height=16),
    "tiff-16": lambda: _vips(np.uint16).tiffsave_buffer(compression="lzw", predictor="horizontal"),
    "bmp": lambda: saved(_rgb(), "BMP"),
    "bmp-palette": lambda: saved(_rgb().quantize(11), "BMP"),
    "bmp-alpha": lambda: saved(_rgba(), "BMP"),
    "bmp-bits": lambda: saved(_rgb().convert("1"), "BMP"),
    **{f"heic-{name}": lambda name=name: heic(name) for name in HEIC},
    "jp2": lambda: saved(_rgb(), "JPEG2000"),
    "jp2-grey": lambda: saved(_rgb().convert("L"), "JPEG2000", no_jp2=True),
    "jp2-alpha": lambda: saved(_rgba(), "JPEG2000", irreversible=True),
    "jp2-tiles": lambda: saved(_rgb(40, 52), "JPEG2000", tile_size=(16, 16)),
    "tga": lambda: saved(_rgba(), "TGA"),
    "tga-lengths": lambda: saved(_rgb(), "TGA", compression="tga_rle"),
    "tga-palette": lambda: saved(_rgb().quantize(11), "TGA"),
    "ppm": lambda: saved(_rgb(), "PPM"),
    "pgm": lambda: b"P5 16 12 1023\n" + noise(12, 16, 1, np.uint16).astype(">u2").tobytes(),
    "pbm": lambda: saved(_rgb().convert("1"), "PPM"),
    **({"jxl": lambda: _jxl(3), "jxl-alpha": lambda: _jxl(4, exif=b"MM\0*" + bytes(20), xmp=XMP)} if pyjpegxl else {}),
}
NAMES = tuple(FILES)


@cache
def file(name: str) -> bytes:
    """Return a file of the corpus."""
    return bytes(FILES[name]())


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


@cache
def zeros(size: int) -> bytes:
    """Return that many zeros, compressed."""
    return zlib.compress(bytes(size), 9)


def _empty_png(width: int, height: int, bits: int, kind: int, content: int, *extra: bytes) -> bytes:
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((bits, kind, 0, 0, 0))
    chunks = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zeros(content)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bomb(chance: random.Random) -> bytes:
    """Return a small file that says that it is a large picture, or inflates to much."""
    width, height = chance.choice(((310, 320), (1, 200_000), (200_000, 1), (20_000, 20_000), (2**31 - 1, 2**31 - 1)))
    text = chunk(chance.choice((b"zTXt", b"iCCP")), b"name\0\0" + zeros(30_000_000))
    made = (
        lambda: _empty_png(width, height, 8, 0, 310 * 321),
        lambda: _empty_png(width, height, 1, 0, 200_000),
        lambda: _empty_png(width, height, 16, 6, 9_000_000),
        lambda: _empty_png(8, 8, 8, 0, 30_000_000),
        lambda: _empty_png(8, 8, 8, 0, 72, text),
        lambda: _sized(file("gif"), 6, "little", 2, (65_535, 65_535)),
        lambda: _sized(file("gif"), 6, "little", 2, (1, 30_000)),
        lambda: _sized(file("bmp"), 18, "little", 4, (30_000, 2**31 - 1)),
        lambda: _sized(file("webp-animated"), 24, "little", 3, (16_382, 16_382)),
        lambda: _sized(file("avif"), file("avif").index(b"ispe") + 8, "big", 4, (16_384, 16_384)),
        lambda: file("jpeg").replace(b"\x00\x0c\x00\x10", b"\xff\xdc\xff\xdc", 1),
    )
    return chance.choice(made)()


def _sized(data: bytes, at: int, order: str, width: int, sides: tuple[int, int]) -> bytes:
    """Return the file with other sides, whose numbers begin at `at`."""
    numbers = b"".join(side.to_bytes(width, order) for side in sides)
    return data[:at] + numbers + data[at + len(numbers) :]


def shaped(chance: random.Random) -> bytes:
    """Return a good file of an extreme shape."""
    height, width = chance.choice(((1, 1), (1, 2), (3, 1), (1, 600), (600, 1), (2, 300), (5, 331), (257, 3), (33, 65)))
    form = chance.choice(("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "TGA", "PPM", "JPEG2000"))
    return saved(_rgb(height, width), form, **({"speed": 10} if form == "AVIF" else {}))

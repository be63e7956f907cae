"""The header tells what a picture is, and limits hold before pixels are decoded."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import pyvips
from PIL import Image

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, decode, is_quick_to_read, probe
from fluxvision.imaging.strip import keep_parts


def chunk(kind, data):
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    """Return a PNG with the given header and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, chunk(b"IDAT", b""), chunk(b"IEND", b"")])


TEXT = chunk(b"tEXt", b"a\0b")
BIG = chunk(b"IDAT", bytes(3_000_000))


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (png(1, 1), True),
        (png(1, 1, BIG), True),
        (png(1, 1, *[chunk(b"IDAT", bytes(90_000))] * 30), True),
        (png(1, 1, *[chunk(b"IDAT", bytes(100))] * 1000), False),
        (png(1, 1, TEXT, BIG), False),
        (png(1, 1, chunk(b"zTXt", bytes(70_000))), False),
        (png(1, 1, chunk(b"iCCP", bytes(70_000))), False),
        (png(1, 1, BIG).replace(b"\x08\x02\0\0\0", b"\x10\x02\0\0\0", 1), False),
        (b"\xff\xd8" + bytes(900_000), True),
        (b"\xff\xd8" + bytes(1_100_000), False),
    ],
)
def test_what_takes_long_is_left_to_a_thread(content, answer):
    """Many chunks, anything to inflate, and whatever libvips has to open; a large file that is plain is quick."""
    assert is_quick_to_read(len(content), content) == answer


def test_a_file_on_the_disk_is_quick_where_it_is_small():
    """Nobody looks into it to find out."""
    assert is_quick_to_read(900_000, None)
    assert not is_quick_to_read(1_100_000, None)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
def test_size_and_channels(form, gradient, saved, probed):
    """Width, height, channels, bits and bytes come from the header."""
    data = saved(gradient, form)
    source = probed(data)
    assert (form.lower(), 36, 24, 3, False, 8, len(data)) == (
        source.format,
        source.width,
        source.height,
        source.channels,
        source.alpha,
        source.bits,
        source.size,
    )


@pytest.mark.parametrize(
    ("mode", "form", "channels", "alpha", "bits"),
    [
        ("1", "PNG", 1, False, 8),
        ("L", "PNG", 1, False, 8),
        ("LA", "PNG", 1, True, 8),
        ("P", "PNG", 3, False, 8),
        ("RGBA", "PNG", 3, True, 8),
        ("I;16", "PNG", 1, False, 16),
        ("RGBA", "WEBP", 3, True, 8),
        ("L", "JPEG", 1, False, 8),
        ("CMYK", "JPEG", 3, False, 8),
        ("CMYK", "TIFF", 3, False, 8),
        ("F", "TIFF", 1, False, 16),
        ("1", "BMP", 1, False, 8),
        ("P", "BMP", 3, False, 8),
        ("RGBA", "BMP", 3, False, 8),  # the fourth byte is reserved in a BMP without masks
    ],
)
def test_modes(mode, form, channels, alpha, bits, saved, probed):  # noqa: PLR0917
    """Channels count no alpha and no ink; bits are 8 or 16."""
    image = Image.new(mode, (9, 5)) if mode != "P" else Image.new("RGB", (9, 5), (200, 9, 9)).quantize(9)
    if mode in {"RGBA", "LA"}:
        image.putpixel((0, 0), (9,) * (len(mode) - 1) + (77,))
    source = probed(saved(image, form))
    assert (channels, alpha, bits) == (source.channels, source.alpha, source.bits)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_size(orientation, gradient, saved, probed):
    """Orientations 5 to 8 exchange width and height."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = probed(saved(gradient, "JPEG", exif=exif))
    assert ((36, 24) if orientation < 5 else (24, 36)) == (source.width, source.height)
    assert orientation == source.orientation


def test_nonsense_orientation(gradient, saved, probed):
    """An orientation that does not exist is no orientation."""
    exif = Image.Exif()
    exif[0x0112] = 99
    assert probed(saved(gradient, "JPEG", exif=exif)).orientation == 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_frames_are_counted_and_limited(form, gradient, saved, probed):
    """Frames come from the header and are held against the limit."""
    pages = [Image.fromarray(np.roll(gradient, step, axis=1)) for step in range(5)]
    data = saved(pages[0], form, save_all=True, append_images=pages[1:])
    assert probed(data).frames == 5
    with pytest.raises(PayloadTooLarge, match=r"5 frames; this server accepts at most 4"):
        probed(data, Limits(frames=4))


UNKNOWN = "this file is not a picture format that is read here; send PNG, JPEG"
VIDEO = "this is a video; send one frame of it as PNG."
RAW = "this is a camera's raw file; develop it with the camera's program or a raw converter, and send a TIFF or JPEG."


def tiff(entries):
    """Return the beginning of a TIFF file with these numbers."""
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(300)


def test_a_pyramid_is_no_raw_file(probed):
    """Subdirectories behind a picture of full resolution are smaller versions of it."""
    image = pyvips.Image.black(64, 48, bands=3).copy(interpretation="srgb")
    data = image.tiffsave_buffer(tile=True, pyramid=True, subifd=True, tile_width=16, tile_height=16)
    assert (probed(data).width, probed(data).height) == (64, 48)


def test_empty(probed):
    """A file without bytes is named as such."""
    with pytest.raises(InvalidRequest, match=r"^image: the file is empty\.$"):
        probed(b"")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello, I am a text", UNKNOWN),
        (b"SIMPLE  =                    T", UNKNOWN),
        (b"\0" * 5000, UNKNOWN),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is an SVG drawing, which has no pixels; export it"),
        (b"<!DOCTYPE html><html>\x89PNG\r\n\x1a\n", "this is an HTML page; send the picture itself."),
        (b"%PDF-1.7\n", "this is a PDF document; export the page as PNG."),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "this is a PostScript document; export it as PNG."),
        (b"8BPS\0\1", "this is a Photoshop document (PSD); export it as PNG or TIFF."),
        (b"\0\0\1\0\1\0\x10\x10", "this is a Windows icon or cursor (ICO); save the size that you need as PNG."),
        (b"PK\3\4" + bytes(30), "this is a ZIP archive; send one picture out of it."),
        (b"v/1\x01" + bytes(30), "this is an OpenEXR or Radiance picture; convert it to a TIFF."),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", VIDEO),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  qt  ", VIDEO),
        (b"\0\0\0\x18ftyp3gp5\0\0\0\0mp41mp41", VIDEO),
        (b"\x1a\x45\xdf\xa3" + bytes(30), VIDEO),
        (b"RIFF\0\0\0\0AVI LIST", VIDEO),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", RAW),
        (b"FUJIFILMCCD-RAW 0201", RAW),
        (b"IIRO\x08\0\0\0", RAW),
        (b"IIU\0\x08\0\0\0", RAW),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), RAW),
        (tiff({254: 1, 330: 100}), RAW),
        (tiff({254: 0, 262: 32803}), RAW),
        (tiff({262: 2, 50706: 0x0104}), RAW),
    ],
)
def test_other_files_are_refused_by_content(data, sentence, probed):
    """The sentence says what it is and what to do, or else what is accepted."""
    with pytest.raises(InvalidRequest) as caught:
        probed(data, param="mask")
    assert caught.value.param == "mask"
    assert caught.value.message.startswith(f"mask: {sentence}")


def test_bytes_are_limited(gradient, saved, probed):
    """A file over the limit is refused with both numbers."""
    data = saved(gradient, "BMP")
    with pytest.raises(PayloadTooLarge, match=rf"{len(data):,} bytes; this server accepts at most 100\."):
        probed(data, Limits(bytes=100))


def test_pixels_are_limited_from_the_header(probed):
    """A picture of 2.5 gigapixels is refused before anything is decoded."""
    with pytest.raises(PayloadTooLarge, match=r"2,500,000,000 pixels; this server accepts at most 100,000,000"):
        probed(png(50_000, 50_000))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
def test_pixels_are_limited_in_every_format(form, gradient, saved, probed):
    """864 pixels are too many where 863 are allowed."""
    with pytest.raises(PayloadTooLarge, match="864 pixels"):
        probed(saved(gradient, form), Limits(pixels=863))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_in_memory_is_the_same_file(form, mode, gradient, saved, probed, tmp_path):  # noqa: PLR0917
    """Header, parts and pixels are those of the file, which is written no sooner than something else reads it."""
    data = saved(Image.fromarray(gradient).convert(mode), form)
    there, lazy = probed(data), tmp_path / "memory"
    held = probe(lazy, Limits(), content=data)
    assert replace(held, file=there.file) == there
    assert keep_parts(held) == keep_parts(there)
    assert lazy.exists() == (form != "PNG")
    assert (decode(held).color == decode(there).color).all()
    assert lazy.read_bytes() == data


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\x89PNG\r\n\x1a\n", png(5, 5)[:-6]])
def test_damage_in_memory_is_the_same_damage(data, probed, tmp_path):
    """The error is word for word that of the file."""
    with pytest.raises(InvalidRequest) as there:
        probed(data)
    with pytest.raises(InvalidRequest) as held:
        probe(tmp_path / "memory", Limits(), content=data)
    assert held.value.message == there.value.message


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (1, 4_000_000_000), (4_294_967_295, 1)])
def test_impossible_png_sizes(width, height, probed):
    """Sizes that no PNG can have are refused."""
    with pytest.raises((InvalidRequest, PayloadTooLarge)):
        probed(png(width, height))


def test_messages_hold_no_path(store, gradient, saved, decoded):
    """A damaged file's sentence does not say where it lies."""
    with pytest.raises(InvalidRequest) as caught:
        decoded(saved(gradient, "PNG")[:60])
    assert str(store(b"").parent) not in str(caught.value)
    assert caught.value.message == "image: this PNG file is damaged or truncated."


def test_jpeg_quality(gradient, saved, probed):
    """The quality of a JPEG comes from its tables; other formats have none."""
    assert probed(saved(gradient, "JPEG", quality=83)).jpeg_quality == 83
    assert probed(saved(gradient, "PNG")).jpeg_quality is None


def test_unreadable_sample_types(saved, probed):
    """Signed samples are refused with one sentence."""
    with pytest.raises(InvalidRequest, match="colour model or sample type"):
        probed(saved(Image.new("I", (4, 4)), "TIFF"))

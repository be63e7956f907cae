"""Pixels come out upright, straight and with full range."""

import io
import subprocess
import sys

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fluxvision.core.errors import InvalidRequest
from fluxvision.imaging import check_mask, decode, decode_mask
from fluxvision.imaging.decode import extend_colour
from fluxvision.imaging.tiff import Layout, Value, write_directory


def test_colour_is_exact(gradient, saved, decoded):
    """Lossless formats give the very samples that were saved."""
    for form in ("PNG", "TIFF", "BMP"):
        pixels = decoded(saved(gradient, form))
        assert pixels.color.flags.c_contiguous
        assert pixels.alpha is None
        assert (pixels.color == gradient).all()


def test_one_bit(saved, decoded):
    """Black and white become 0 and 255."""
    dots = np.indices((5, 9)).sum(axis=0) % 2 == 1
    for form in ("PNG", "TIFF", "BMP"):
        pixels = decoded(saved(Image.fromarray(dots), form))
        assert (pixels.color[..., 0] == dots * 255).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_scaled_to_the_full_range(bits, decoded):
    """2- and 4-bit grey spans 0 to 255."""
    levels = np.arange(2**bits, dtype=np.uint8)[None] * (255 // (2**bits - 1))
    data = pyvips.Image.new_from_array(levels).pngsave_buffer(bitdepth=bits)
    assert (decoded(data).color[..., 0] == levels).all()


def test_sixteen_bits(saved, decoded):
    """16-bit samples are not touched."""
    grey = np.arange(0, 65536, 97, dtype=np.uint16).reshape(4, -1)
    assert (decoded(saved(grey, "PNG")).color[..., 0] == grey).all()
    assert decoded(saved(grey, "TIFF")).color.dtype == np.uint16


def test_palette_with_transparency(decoded):
    """A palette becomes RGB, its transparent entry alpha."""
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    pixels = decoded(buffer.getvalue())
    assert pixels.alpha.tolist()[0] == [0, 255, 255, 255]
    assert pixels.color[1, 1].tolist() == [0, 255, 0]
    assert pixels.color[0, 0].tolist() == [0, 255, 0], "the hidden red gives way to the visible green"


def test_hidden_colour_stays_where_nothing_is_visible(saved, decoded):
    """A fully transparent picture keeps its colour."""
    pixels = decoded(saved(np.full((3, 5, 4), (9, 8, 7, 0), np.uint8), "PNG"))
    assert (pixels.color == (9, 8, 7)).all()
    assert (pixels.alpha == 0).all()


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_print_colours_become_srgb(form, saved, decoded):
    """CMYK paper is white, full black ink is dark, and no profile is left."""
    paper = decoded(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), form))
    ink = decoded(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), form))
    assert paper.color.min() >= 250
    assert ink.color.max() < 70
    assert paper.metadata.icc is None
    assert paper.color.shape == (8, 8, 3)


def test_floating_point_is_linear_light(saved, decoded):
    """0, 0.2140 and 1 of linear light are 0, middle grey and white."""
    pixels = decoded(saved(np.array([[0, 0.21404, 1, 2]], np.float32), "TIFF"))
    assert pixels.color.dtype == np.uint16
    assert np.abs(pixels.color[0, :, 0].astype(int) - (0, 32768, 65535, 65535)).max() <= 300


def test_first_frame(gradient, saved, decoded):
    """Of an animation the first frame is read."""
    first, second = Image.fromarray(gradient), Image.new("RGB", (36, 24), (255, 0, 0))
    pixels = decoded(saved(first, "WEBP", save_all=True, append_images=[second], lossless=True))
    assert (pixels.color == gradient).all()


def test_small_frame_on_a_larger_canvas(probed):
    """A GIF frame that does not fill its canvas lies on it, the rest is transparent."""
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30, 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    data[6:10] = b"\x05\0\x04\0"
    source = probed(bytes(data))
    pixels = decode(source)
    assert (source.width, source.height) == (5, 4)
    assert pixels.color[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 13)])
def test_odd_sizes(size, saved, decoded):
    """The smallest and the thinnest pictures are read."""
    assert decoded(saved(Image.new("RGB", size), "PNG")).color.shape == (size[1], size[0], 3)


def test_corrupt_orientation_is_no_error(saved, decoded, gradient):
    """EXIF rubbish is ignored."""
    assert decoded(saved(gradient, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")).color.shape == gradient.shape
    assert decoded(saved(gradient, "JPEG", exif=b"Exif\0\0rubbish")).color.shape == gradient.shape


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_tiff(bits, decoded):
    """Colours of a TIFF that were multiplied by their alpha are divided again, and keep their depth."""
    layout, short = Layout("little"), lambda *values: Value(3, np.array(values, "<u2").tobytes())
    scale, kind = (1, "u1") if bits == 8 else (257, "<u2")
    samples = (np.array([100, 50, 25, 128]) * scale).astype(kind).tobytes()
    tags = {0x0100: short(1), 0x0101: short(1), 0x0102: short(*[bits] * 4), 0x0103: short(1), 0x0106: short(2)}
    tags |= {0x0111: short(8), 0x0115: short(4), 0x0116: short(1), 0x0117: short(len(samples)), 0x0152: short(1)}
    end = 8 + len(samples)
    pixels = decoded(b"II*\0" + end.to_bytes(4, "little") + samples + write_directory(tags, layout, end))
    assert pixels.color.dtype.itemsize * 8 == bits
    assert np.abs(pixels.color / scale - (200, 100, 50)).max() <= 1
    assert pixels.alpha.tolist() == [[128 * scale]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_with_alpha(orientation, saved, probed):
    """Colour, alpha and mask of every EXIF orientation are what Pillow makes of it."""
    samples = np.random.default_rng(0).integers(1, 256, (5, 7, 4), np.uint8)
    made = Image.Exif()
    made[0x0112] = orientation
    source = probed(saved(samples, "PNG", exif=made))
    with Image.open(source.path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    pixels = decode(source)
    assert pixels.color.flags.c_contiguous
    assert pixels.alpha.flags.c_contiguous
    assert (np.dstack([pixels.color, pixels.alpha]) == wanted).all()
    assert (decode_mask(source, source.width, source.height) == 255 - wanted[..., 3]).all()


def test_picture_of_many_strips(saved, probed):
    """A picture that is read in several strips is whole."""
    samples = np.random.default_rng(0).integers(1, 256, (250, 310, 4), np.uint8)
    source = probed(saved(samples, "PNG"))
    pixels = decode(source)
    assert (np.dstack([pixels.color, pixels.alpha]) == samples).all()
    assert (decode_mask(source, 310, 250) == 255 - samples[..., 3]).all()


def test_mask_means_transparent(saved, probed):
    """Transparent may change (255), opaque may not (0), between is between."""
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[0, :, 3], mask[1, :, 3] = (0, 51, 255), 255
    found = decode_mask(probed(saved(mask, "PNG"), param="mask"), 3, 2)
    assert found.dtype == np.uint8
    assert found.tolist() == [[255, 204, 0], [0, 0, 0]]


def test_deep_mask(probed):
    """A 16-bit mask is rounded to the nearest of 256 steps."""
    alpha = np.array([[[0, 128, 129, 32768, 65406, 65407, 65535]]], np.uint16).reshape(1, 7, 1)
    image = pyvips.Image.new_from_array(np.repeat(alpha, 4, axis=2)).copy(interpretation="rgb16")
    assert decode_mask(probed(image.pngsave_buffer()), 7, 1).tolist() == [[255, 255, 254, 127, 1, 0, 0]]


def test_mask_of_another_size(saved, probed):
    """The sentence names both sizes."""
    source = probed(saved(np.zeros((2, 3, 4), np.uint8), "PNG"), param="mask")
    with pytest.raises(InvalidRequest, match=r"^mask: the mask is 3x2; it must be 30x20") as caught:
        decode_mask(source, 30, 20)
    assert caught.value.param == "mask"


def test_mask_without_alpha(gradient, saved, probed):
    """A mask that is only a picture is refused."""
    with pytest.raises(InvalidRequest, match=r"^mask: the mask has no alpha channel"):
        decode_mask(probed(saved(gradient, "PNG")), 36, 24)


def test_a_mask_is_checked_before_it_is_decoded(gradient, saved, probed):
    """Size and alpha are judged by the headers alone."""
    picture = probed(saved(gradient, "PNG"))
    with pytest.raises(InvalidRequest, match="no alpha channel"):
        check_mask(picture, 36, 24)
    check_mask(probed(saved(np.zeros((24, 36, 4), np.uint8), "PNG")), 36, 24)


SCRIPT = """
import sys, threading, time
from pathlib import Path
from fluxvision.imaging import Limits, decode, decode_mask, probe
def used():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024
source = probe(Path(sys.argv[1]), Limits())
base = peak = used()
def watch():
    global peak
    while True:
        peak = max(peak, used())
        time.sleep(0.003)
threading.Thread(target=watch, daemon=True).start()
result = decode(source) if sys.argv[2] == "picture" else decode_mask(source, source.width, source.height)
print((peak - base) / (source.width * source.height))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("what", "most"), [("picture", 9), ("mask", 6)])
def test_memory_of_transparent_pictures(what, most, tmp_path):
    """Decoding 12 megapixels with alpha takes less than 9 bytes a pixel, its mask less than 6, of which 4 are fixed."""
    samples = np.zeros((3000, 4000, 4), np.uint8)
    samples[500:2500, 700:3200] = (10, 200, 30, 255)
    image = pyvips.Image.new_from_array(samples).copy(interpretation="srgb")
    image.pngsave(str(tmp_path / "large"), compression=1, filter="none")
    command = [sys.executable, "-c", SCRIPT, tmp_path / "large", what]
    assert float(subprocess.run(command, capture_output=True, check=True).stdout) < most


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_colour_spreads_everywhere(kind, channels):
    """A red disc on transparent black becomes red throughout."""
    colour, alpha = np.zeros((37, 53, channels), kind), np.zeros((37, 53), kind)
    colour[10:14, 30:35], alpha[10:14, 30:35] = 200, 255
    extend_colour(colour, alpha)
    assert (colour == 200).all()


def test_visible_pixels_keep_their_values():
    """Wherever alpha is not 0 nothing changes, however faint the pixel."""
    random = np.random.default_rng(4)
    colour = random.integers(0, 256, (40, 30, 3), np.uint8)
    alpha = random.integers(0, 3, (40, 30), np.uint8)
    result = colour.copy()
    extend_colour(result, alpha)
    assert (result[alpha > 0] == colour[alpha > 0]).all()


def test_neighbours_are_alike():
    """Pixels beside an edge take the colour of their own side."""
    colour, alpha = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    colour[:, :16], alpha[:, :16] = (250, 10, 10), 255
    colour[:, 48:], alpha[:, 48:] = (10, 10, 250), 255
    extend_colour(colour, alpha)
    assert np.abs(colour[:, 16].astype(int) - (250, 10, 10)).max() < 30
    assert np.abs(colour[:, 47].astype(int) - (10, 10, 250)).max() < 30


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_do(value):
    """A fully transparent and a fully visible picture keep their colour."""
    colour = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    before = colour.copy()
    extend_colour(colour, np.full((4, 5), value, np.uint8))
    assert (colour == before).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_size_stays_within_the_visible_colours(height, width, seed):
    """Filled values lie between the darkest and the brightest visible ones, for any size and any alpha."""
    random = np.random.default_rng(seed)
    colour = random.integers(0, 256, (height, width, 3), np.uint8)
    alpha = (random.random((height, width)) > random.random()).astype(np.uint8) * 255
    result = colour.copy()
    extend_colour(result, alpha)
    seen = colour[alpha > 0]
    if len(seen):
        assert (result >= seen.min(axis=0)).all()
        assert (result <= seen.max(axis=0)).all()


@pytest.mark.parametrize("shape", [(1100, 4), (4, 3100)])
def test_blocks_join(shape):
    """A picture taller or wider than one block is filled without a step between blocks."""
    colour, alpha = np.zeros((*shape, 1), np.uint8), np.zeros(shape, np.uint8)
    ends = [0, -1]
    if shape[0] > shape[1]:
        alpha[ends], colour[-1] = 255, 250
    else:
        alpha[:, ends], colour[:, -1] = 255, 250
    extend_colour(colour, alpha)
    steps = np.abs(np.diff(colour[..., 0].astype(int), axis=int(shape[0] < shape[1])))
    assert np.sort(steps.ravel())[: -2 * min(shape)].max() <= 4, "all but the steps beside the two ends"


def test_deep_white_stays_white():
    """The brightest 16-bit sample does not wrap round."""
    colour, alpha = np.full((300, 40, 3), 65535, np.uint16), np.zeros((300, 40), np.uint16)
    colour[10:], alpha[:10] = 0, 65535
    extend_colour(colour, alpha)
    assert (colour == 65535).all()

"""Binary PBM, PGM and PPM files are read with the values that they state."""

import numpy as np
import pytest
from PIL import Image

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
@pytest.mark.parametrize("width", [1, 7, 8, 33])
def test_as_pillow_writes_them(mode, width, saved, decoded):
    """Bits, grey and colour have the values that Pillow wrote, at any width."""
    noise = np.random.default_rng(width).integers(0, 256, (5, width, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    found = decoded(saved(image, "PPM")).color
    assert (np.broadcast_to(found, noise.shape) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize(
    ("data", "bits", "values"),
    [
        (b"P5 2 1 65535\n\xff\xff\x12\x34", 16, [[[65535], [0x1234]]]),
        (b"P6 1 1 1023\n\x03\xff\0\0\x02\0", 16, [[[65535, 0, 32800]]]),
        (b"P5\n# by a camera\r\n2 # two\n1\n100\n\x64\x32", 8, [[[255], [128]]]),
        (b"P5 1 1 1 \1 and more behind it", 8, [[[255]]]),
    ],
)
def test_any_maximum(data, bits, values, probed, decoded):
    """Samples span their full range, whatever the maximum, the white space and the comments are."""
    assert probed(data).bits == bits
    assert decoded(data).color.tolist() == values


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"P1 1 1 1", "whose samples are text is not read"),
        (b"P3 1 1 255 1 2 3", "whose samples are text is not read"),
        (b"P6 2 2 255\n123", "damaged"),
        (b"P4 9 2\n\xff", "damaged"),
        (b"P5 0 1 255\n", "damaged"),
        (b"P5 1 1 0\n\0", "damaged"),
        (b"P5 1 1 65536\n\0\0\0", "damaged"),
        (b"P5 99999999999 1 255\n", "damaged"),
        (b"P5 1 1\n", "damaged"),
        (b"P5 #" + b"x" * 10_000, "damaged"),
    ],
)
def test_what_is_refused(data, word, decoded):
    """Text, impossible numbers and cut files are refused with one sentence."""
    with pytest.raises(InvalidRequest, match=word):
        decoded(data)


def test_pixels_are_limited_before_decoding(probed):
    """The header alone is enough."""
    with pytest.raises(PayloadTooLarge, match="2,500,000,000 pixels"):
        probed(b"P6 50000 50000 255\n", Limits())

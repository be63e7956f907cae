"""A file is taken apart by its segments; one that is not whole is left to the decoder."""

import pytest
from PIL import Image

from fluxvision.imaging.strip import is_metadata_free, keep_parts


def joined(source):
    data = source.path.read_bytes()
    return b"".join(part if isinstance(part, bytes) else data[part] for part in keep_parts(source))


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_file_without_anything_is_one_part(form, probed, saved, gradient):
    """From its first to its last byte."""
    source = probed(saved(gradient, form))
    assert keep_parts(source) == [slice(0, source.size)]


@pytest.mark.parametrize(
    ("chunks", "known"),
    [
        ((b"", b""), True),
        ((b"\0\0\0\x01sRGB\0\xae\xce\x1c\xe9", b""), True),
        ((b"\0\0\0\x03tEXta\0b" + bytes(4), b""), False),
        ((b"\0\0\0\x09pHYs" + bytes(13), b""), False),
        ((b"", b"\0"), False),
        ((b"", b"\0\0\0\0tIME" + bytes(4)), False),
    ],
    ids=["nothing", "sRGB", "text", "resolution", "a byte behind", "a chunk behind"],
)
def test_a_png_file_is_bare_where_all_of_it_is_one_part(chunks, known, probed, saved, gradient):
    """What is seen when it is probed is what a second look tells."""
    data = saved(gradient, "png")
    source = probed(data[:33] + chunks[0] + data[33:] + chunks[1])
    assert source.metadata_free == is_metadata_free(source) == (keep_parts(source) == [slice(0, source.size)]) == known


@pytest.mark.parametrize("hidden", [b"", b"secret"])
def test_an_end_that_holds_something_is_not_sent_on(hidden, probed, saved, gradient):
    """Whatever is in the last chunk is none of a provider's business: such a file is decoded."""
    data = saved(gradient, "png")
    source = probed(data[:-12] + b"\0\0\0\x09IEND" + hidden + data[-4:])
    assert not source.metadata_free
    assert keep_parts(source) is None


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 60}], ids=["lossless", "lossy"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_webp_file_stays_well_formed(alpha, options, probed, saved, gradient):
    """Its size and its flags tell what is still there."""
    picture = Image.fromarray(gradient)
    if alpha:
        picture.putalpha(120)
    source = probed(saved(picture, "webp", exif=b"Exif\0\0II*\0", xmp=b"<x/>", icc_profile=b"x" * 131, **options))
    data = joined(source)
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert data[20] == (0x10 if alpha else 0)
    assert keep_parts(probed(data)) == [slice(0, len(data))]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_file_that_ends_early_is_not_taken_apart(form, probed, saved, gradient):
    """Wherever it is cut."""
    source = probed(saved(gradient, form, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"))
    data = source.path.read_bytes()
    for end in range(12, len(data) - 1, 7):
        source.path.write_bytes(data[:end])
        assert keep_parts(source) is None


def test_ink_and_other_formats_are_not_taken_apart(probed, saved, gradient):
    """They have to be turned into RGB in any case."""
    assert keep_parts(probed(saved(Image.fromarray(gradient).convert("CMYK"), "jpeg"))) is None
    assert keep_parts(probed(saved(gradient, "tiff"))) is None


def test_a_jpeg_keeps_what_its_colours_need(probed, saved, gradient):
    """Adobe's segment tells how colours are coded: it stays where comments go."""
    data = saved(gradient, "jpeg", comment=b"secret")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1"
    data = data[:2] + adobe + data[2:]
    bare = joined(probed(data))
    assert adobe in bare
    assert b"secret" not in bare

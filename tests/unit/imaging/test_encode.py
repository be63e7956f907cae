"""Finished pixels become files of every format, with what the picture says of itself."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from fluxvision.core.errors import InternalError, InvalidRequest
from fluxvision.core.images import Metadata, RawImage
from fluxvision.imaging import FORMATS, check_encodable, encode, open_raster

WRITABLE = [row.name for row in FORMATS if row.writable]
NOTHING = Metadata()


@pytest.fixture
def raster(tmp_path):
    """Write an array as the raw file of a raster."""

    def write(samples):
        path = tmp_path / "pixels.raw"
        samples.tofile(path)
        height, width, bands = samples.shape
        return RawImage(path, width, height, bands, samples.itemsize * 8)

    return write


@pytest.fixture
def encoded(tmp_path):
    """Encode to a file whose name says nothing, and return its path."""

    def run(picture, form, *, quality=None, metadata=NOTHING, strip=False):
        target = tmp_path / "result"
        encode(picture, target, form, quality=quality, metadata=metadata, strip=strip)
        return target

    return run


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lossless_formats_are_exact(form, bands, kind, raster, encoded):
    """PNG and TIFF hold every sample of every kind of raster."""
    import pyvips  # noqa: PLC0415

    samples = np.random.default_rng(bands).integers(0, np.iinfo(kind).max, (9, 14, bands), kind, endpoint=True)
    path = encoded(raster(samples), form)
    load = pyvips.Image.pngload if form == "png" else pyvips.Image.tiffload
    assert (load(str(path)).numpy().reshape(samples.shape) == samples).all()


@pytest.mark.parametrize("form", WRITABLE)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_raster_in_every_format(form, bands, kind, raster, encoded):
    """Pillow reads each of them as the same grey, with alpha where the format has it."""
    if (form, bands, kind) == ("tiff", 2, np.uint16):
        return  # Pillow does not know this kind; the test above reads it
    top = np.iinfo(kind).max
    samples = np.full((16, 24, bands), top // 5 * 2, kind)
    if bands in {2, 4}:
        samples[..., -1] = top
        samples[:8, :, -1] = 0
    with Image.open(encoded(raster(samples), form)) as image:
        assert form.upper() == image.format
        assert image.size == (24, 16)
        if image.mode.startswith("I;16"):
            assert abs(image.getpixel((20, 14)) - top // 5 * 2) <= 1
            return
        *colour, alpha = image.convert("RGBA").getpixel((20, 14))
        assert alpha == 255
        assert np.abs(np.array(colour) - 102).max() <= 3
        if bands in {2, 4}:
            *colour, alpha = image.convert("RGBA").getpixel((3, 1))
            assert (colour, alpha) == ([255, 255, 255], 255) if form == "jpeg" else alpha == 0


def test_rounding_to_eight_bits(raster, encoded):
    """16-bit samples become the nearest 8-bit ones."""
    samples = np.array([0, 128, 129, 257 * 9 + 128, 257 * 9 + 129, 65535 - 128, 65535], np.uint16)
    wide = np.repeat(np.repeat(samples, 16)[None, :, None], 16, axis=0)
    with Image.open(encoded(raster(wide), "jpeg", quality=100)) as image:
        assert np.asarray(image)[8, 8::16].tolist() == [0, 0, 1, 9, 10, 255, 255]


def test_deep_avif(raster, encoded, probed):
    """AVIF keeps twelve bits of sixteen, and white stays white."""
    from fluxvision.imaging import decode  # noqa: PLC0415

    samples = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], 64, axis=0).repeat(3, axis=2)
    pixels = decode(probed(encoded(raster(samples), "avif", quality=100).read_bytes()))
    assert pixels.color.dtype == np.uint16
    assert np.abs(pixels.color.astype(int) - samples).max() < 400
    assert pixels.color[:, -1].min() > 65_400


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_quality_changes_the_size(form, raster, encoded):
    """Less quality is fewer bytes; 0 and 100 are allowed."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = [encoded(raster(noise), form, quality=quality).stat().st_size for quality in (0, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_jpeg_colour_resolution(raster, encoded, probed):
    """From quality 90 on colour keeps its full resolution."""
    samples = np.zeros((16, 16, 3), np.uint8)
    for quality, sampling in ((89, (2, 2)), (90, (1, 1))):
        with Image.open(encoded(raster(samples), "jpeg", quality=quality)) as image:
            assert sampling == image.layer[0][1:3]
    assert probed(encoded(raster(samples), "jpeg").read_bytes()).jpeg_quality == 92


@pytest.mark.parametrize(
    ("form", "width", "height", "word"),
    [
        ("jpeg", 65_501, 10, "JPEG is written with sides up to 65,500 pixels and the result would be 65,501x10"),
        ("webp", 16_384, 10, "use png, jpeg, gif, avif, tiff, or a smaller size"),
        ("gif", 10, 70_000, "use png, tiff, or a smaller size"),
        ("avif", 16_385, 1, "sides up to 16,384"),
        ("avif", 10_000, 10_000, "up to 67,108,864 pixels"),
        ("png", 1_000_001, 1, "use a smaller size"),
        ("bmp", 5, 5, "'bmp' is not a format that is written here; use png, jpeg, webp, gif, avif, tiff"),
        ("heic", 5, 5, "'heic' is not a format"),
    ],
)
def test_limits_are_told_before(form, width, height, word):
    """The sentence names the limit and what to use instead."""
    with pytest.raises(InvalidRequest) as caught:
        check_encodable(form, width, height)
    assert word in caught.value.message
    assert caught.value.param == "output_format"


@pytest.mark.parametrize("form", WRITABLE)
def test_ordinary_sizes_pass(form):
    """Nothing is refused that fits."""
    check_encodable(form, 4096, 4096)


@pytest.mark.parametrize(("form", "side"), [("jpeg", 65_500), ("webp", 16_383), ("png", 70_000), ("tiff", 70_000)])
def test_the_longest_side_is_written(form, side, raster, encoded):
    """What check lets through can be saved."""
    check_encodable(form, side, 2)
    with Image.open(encoded(raster(np.zeros((2, side, 1), np.uint8)), form)) as image:
        assert image.size == (side, 2)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
IPTC = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x78\x00\x05hello"


def described():
    """Return metadata of every kind."""
    made = Image.Exif()
    made[0x010F], made[0x0112] = "Maker", 1
    made[0x8769], made[0x8825] = {0x9003: "2020:01:02 03:04:05"}, {1: "N", 2: (1.0, 2.0, 3.0)}
    return Metadata(icc=SRGB, exif=made.tobytes(), xmp=XMP, iptc=IPTC, resolution=(300 / 25.4, 300 / 25.4))


def told(image):
    """Return profile, EXIF maker, date, place and orientation, XMP and DPI as Pillow sees them."""
    image.load()
    found = image.getexif()
    dpi = image.info.get("dpi") or (found.get(0x011A), found.get(0x011B))
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return {
        "icc": image.info.get("icc_profile"),
        "maker": found.get(0x010F),
        "orientation": found.get(0x0112, 1),
        "date": found.get_ifd(0x8769).get(0x9003),
        "north": found.get_ifd(0x8825).get(1),
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
        "dpi": tuple(round(float(value or 0)) for value in dpi),
    }


ALL = {"icc": SRGB, "maker": "Maker", "orientation": 1, "date": "2020:01:02 03:04:05", "north": "N", "xmp": XMP}


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif", "tiff"])
@pytest.mark.parametrize("strip", [False, True])
def test_metadata(form, strip, raster, encoded):
    """Everything is kept; with strip only profile and resolution are."""
    path = encoded(raster(np.zeros((8, 8, 3), np.uint8)), form, metadata=described(), strip=strip)
    gone = {"maker": None, "date": None, "north": None, "xmp": None} if strip else {}
    with Image.open(path) as image:
        assert {**ALL, "dpi": (300, 300), **gone} == told(image)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif", "tiff"])
def test_metadata_round_trip(form, raster, encoded, decoded):
    """What was written is read again, as far as the format has a place for it."""
    path = encoded(raster(np.zeros((8, 8, 3), np.uint8)), form, metadata=described())
    found = decoded(path.read_bytes()).metadata
    assert (found.icc, found.xmp) == (SRGB, XMP)
    assert b"Maker" in found.exif
    assert found.iptc == IPTC if form in {"jpeg", "tiff"} else found.iptc is None
    assert [round(value * 25.4) for value in found.resolution] == [300, 300]


@pytest.mark.parametrize("form", WRITABLE)
def test_nothing_is_made_up(form, raster, encoded, decoded):
    """A picture that says nothing of itself gets no EXIF, XMP, IPTC or profile."""
    found = decoded(encoded(raster(np.zeros((8, 8, 3), np.uint8)), form).read_bytes()).metadata
    assert (found.icc, found.exif, found.xmp, found.iptc) == (None, None, None, None)


def test_exif_that_does_not_fit_a_jpeg_is_left_out(raster, encoded):
    """More than a segment of XMP does not make the picture unwritable."""
    metadata = Metadata(xmp=b"x" * 100_000)
    with Image.open(encoded(raster(np.zeros((8, 8, 3), np.uint8)), "jpeg", metadata=metadata)) as image:
        assert "xmp" not in image.info


def test_a_profile_that_does_not_fit_is_left_out(raster, encoded):
    """An RGB profile is not put on grey pixels."""
    with Image.open(encoded(raster(np.zeros((8, 8, 1), np.uint8)), "png", metadata=described())) as image:
        assert "icc_profile" not in image.info


def test_gif_has_no_profile_so_colours_are_converted(raster, encoded):
    """Colours of a wide profile come out as the same colours in sRGB."""
    import pyvips  # noqa: PLC0415

    wide = pyvips.Operation.call("profile_load", "p3")
    samples = np.full((8, 8, 3), (234, 51, 35), np.uint8)  # the red of sRGB in Display P3
    with Image.open(encoded(raster(samples), "gif", metadata=Metadata(icc=wide))) as image:
        red, green, blue = image.convert("RGB").getpixel((4, 4))
    assert red > 250
    assert max(green, blue) < 12


@pytest.mark.parametrize("form", WRITABLE)
def test_from_a_file(form, gradient, saved, store, encoded):
    """A file is converted, turned upright, and keeps its own profile."""
    turned = Image.Exif()
    turned[0x0112] = 6
    source = store(saved(gradient, "PNG", exif=turned, icc_profile=SRGB))
    with Image.open(encoded(source, form)) as image:
        assert image.size == (24, 36)
        assert image.getexif().get(0x0112, 1) == 1
        if form != "gif":
            assert image.info["icc_profile"] == SRGB
        wanted = np.rot90(gradient, -1).astype(int)
        assert np.abs(np.asarray(image.convert("RGB")) - wanted).mean() < 8


def test_from_a_damaged_file(gradient, saved, store, encoded, tmp_path):
    """A file that ends early is refused, and nothing is left behind."""
    source = store(saved(gradient, "PNG")[:-40])
    with pytest.raises(InvalidRequest, match="damaged or truncated"):
        encoded(source, "jpeg")
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


def test_a_place_that_cannot_be_written(raster, tmp_path):
    """A target that cannot be written is our own fault, and its path stays ours."""
    picture = raster(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InternalError, match=r"^The result could not be written as PNG\.$"):
        encode(picture, tmp_path / "no" / "folder", "png", quality=None, metadata=NOTHING, strip=False)


def test_a_raster_that_is_gone(tmp_path):
    """A raw file that is not there is our own fault."""
    with pytest.raises(InternalError, match="could not be read back"):
        open_raster(RawImage(tmp_path / "gone", 8, 8, 3, 8))


def test_no_file_stays_open(raster, encoded, decoded):
    """Reading and writing gives every file descriptor back."""
    import psutil  # noqa: PLC0415

    picture = raster(np.zeros((64, 64, 3), np.uint8))
    for form in WRITABLE:
        decoded(encoded(picture, form).read_bytes())
    before = psutil.Process().num_fds()
    for form in WRITABLE * 3:
        decoded(encoded(picture, form).read_bytes())
    assert psutil.Process().num_fds() <= before


SCRIPT = """
import sys, threading, time
from pathlib import Path
from fluxvision.imaging import encode
from fluxvision.core.images import Metadata, RawImage
folder, form, height = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with (folder / "tall.raw").open("wb") as file:
    file.truncate(4000 * height * 3)
peak = 0
def watch():
    global peak
    while True:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        peak = max(peak, int(status["RssAnon"].split()[0]))
        time.sleep(0.003)
threading.Thread(target=watch, daemon=True).start()
encode(RawImage(folder / "tall.raw", 4000, height, 3, 8), folder / "tall", form, quality=None, metadata=Metadata(),
       strip=False)
print(peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_memory_does_not_grow_with_height(form, tmp_path):
    """A picture of 48 megapixels takes hardly more own memory than one of 20."""
    short, tall = (
        int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, tmp_path, form, height], capture_output=True, check=True
            ).stdout
        )
        for height in ("5000", "12000")
    )
    assert tall - short < 30_000  # kilobytes; the pixels differ by 84,000

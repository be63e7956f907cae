"""Format x mode x bit depth x orientation x profile, every two values together, with Pillow as the judge.

Pillow writes the files and says what their pixels are; it cannot write 16-bit colour, so there libvips writes what
numpy made.
"""

import io
import itertools

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from fluxvision.core.images import Metadata, RawImage
from fluxvision.imaging import FORMATS, Limits, decode, encode, probe

TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = pyvips.Operation.call("profile_load", "p3")
PROFILES = {"none": None, "p3": P3, "cut": SRGB[:200], "print": SRGB[:16] + b"CMYK" + SRGB[20:]}
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "jpeg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "avif": ("RGB", "RGBA"),
    "gif": ("P",),
    "tiff": ("1", "L", "P", "RGB", "RGBA", "CMYK"),
    "bmp": ("1", "L", "P", "RGB"),
    "tga": ("L", "P", "RGB", "RGBA"),
    "jpeg2000": ("L", "LA", "RGB", "RGBA"),
    "ppm": ("1", "L", "RGB"),
}
TURNABLE = {"png", "jpeg", "webp", "avif", "tiff"}
PROFILED = {"png", "jpeg", "webp", "avif", "tiff"}
OPTIONS = {"webp": {"lossless": True}, "jpeg": {"quality": 95, "subsampling": 0}}
OPTIONS |= {"avif": {"quality": 100, "subsampling": "4:4:4"}}
TOLERANCE = {"jpeg": 2, "avif": 4}
WRITABLE = [row.name for row in FORMATS if row.writable]


def cases():
    """Return every combination that a file of the format can have."""
    for form, modes in MODES.items():
        turns = TURNS if form in TURNABLE else (1,)
        profiles = PROFILES if form in PROFILED else ("none",)
        yield from itertools.product([form], modes, turns, profiles)


def pairwise(cases):
    """Yield few of the cases: every two values that meet in one of them meet in one of these."""
    left = {case: set(itertools.combinations(enumerate(case), 2)) for case in cases}
    while any(left.values()):
        best = max(left, key=lambda case: len(left[case]))
        met = left.pop(best)
        yield best
        for pairs in left.values():
            pairs.difference_update(met)


def scene(mode):
    """Return a 20 x 14 picture of a mode in which no two corners are alike and, with alpha, a corner is hidden."""
    down, across = np.mgrid[0:14, 0:20]
    colour = np.stack([across * 12, down * 17, 255 - across * 6 - down * 8], axis=2).astype(np.uint8)
    image = Image.fromarray(colour)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.fromarray(np.where(across + down < 8, 0, 100 + across * 7).astype(np.uint8)))
    return image.quantize(30) if mode == "P" else image.convert(mode)


def written(image, form, orientation=1, icc=None):
    """Return the bytes of a file that Pillow made."""
    exif = Image.Exif()
    options = dict(OPTIONS.get(form, {}))
    if orientation != 1 and form == "tiff":
        options["tiffinfo"] = {0x0112: orientation}
    elif orientation != 1:
        exif[0x0112] = orientation
        options["exif"] = exif
    if icc:
        options["icc_profile"] = icc
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read(path, data):
    """Probe and decode bytes."""
    path.write_bytes(data)
    source = probe(path, Limits())
    return source, decode(source)


def seen(data, orientation):
    """Return the upright colour and alpha that Pillow finds, (H, W, 3) and (H, W)."""
    with Image.open(io.BytesIO(data)) as image:
        stored = image.tag_v2.get(0x0112, 1) if image.format == "TIFF" else 1
        image.load()
        # Pillow turns a TIFF as it loads it.
        turn = None if stored != 1 else TURNS[orientation]
        whole = image.convert("RGBA")
    whole = np.asarray(whole if turn is None else whole.transpose(turn)).astype(int)
    return whole[..., :3], whole[..., 3]


@pytest.mark.parametrize(("form", "mode", "orientation", "profile"), list(pairwise(cases())))
def test_reading(form, mode, orientation, profile, tmp_path):
    """Visible colours, alpha, size and profile are those of the file, upright."""
    icc = PROFILES[profile]
    data = written(scene(mode), form, orientation, icc)
    source, pixels = read(tmp_path / "upload", data)
    colour, alpha = seen(data, orientation)
    assert colour.shape[:2] == (source.height, source.width) == pixels.color.shape[:2]
    assert pixels.color.shape[2] == source.channels == (1 if mode in {"1", "L", "LA"} else 3)
    assert source.alpha == (pixels.alpha is not None) == (mode in {"LA", "RGBA"})
    if mode != "CMYK":
        visible = alpha > 0
        found = np.broadcast_to(pixels.color, colour.shape).astype(int)
        assert np.abs(found - colour)[visible].max() <= TOLERANCE.get(form, 0)
    if pixels.alpha is not None:
        assert (pixels.alpha == alpha).all()
    kept = icc if profile == "p3" and mode in {"P", "RGB", "RGBA"} else None
    assert pixels.metadata.icc == kept


def deep(bands):
    """Return 16-bit noise of a number of bands."""
    return np.random.default_rng(bands).integers(0, 65536, (14, 20, bands), np.uint16)


@pytest.mark.parametrize(
    ("form", "bands", "orientation"), list(pairwise(itertools.product(["png", "tiff"], [1, 2, 3, 4], TURNS)))
)
def test_reading_sixteen_bits(form, bands, orientation, tmp_path):
    """16-bit samples come out as they went in, upright."""
    samples = deep(bands)
    if bands in {2, 4}:
        samples[..., -1] |= 1  # nothing hidden, so that no colour is extended
    image = pyvips.Image.new_from_array(samples).copy(interpretation="grey16" if bands < 3 else "rgb16")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    source, pixels = read(tmp_path / "upload", getattr(image, f"{form}save_buffer")())
    planes = [Image.fromarray(samples[..., band]) for band in range(bands)]
    turn = TURNS[orientation]
    wanted = [np.asarray(plane if turn is None else plane.transpose(turn)) for plane in planes]
    found = [*np.moveaxis(pixels.color, 2, 0), *([pixels.alpha] if source.alpha else [])]
    assert (source.bits, source.alpha) == (16, bands in {2, 4})
    assert all((plane == other).all() for plane, other in zip(found, wanted, strict=True))


READ = [("png", "RGBA"), ("png", "L"), ("jpeg", "RGB"), ("webp", "RGBA"), ("tiff", "RGBA")]
CONVERSIONS = itertools.product(READ, [1, 6], ["none", "p3"], WRITABLE)
OTHERS = itertools.product([("bmp", "P"), ("tga", "RGBA"), ("jpeg2000", "LA")], [1], ["none"], WRITABLE)


@pytest.mark.parametrize(
    ("file", "orientation", "profile", "target"), list(pairwise(itertools.chain(CONVERSIONS, OTHERS)))
)
def test_from_format_to_format(file, orientation, profile, target, tmp_path):
    """What was read and written again shows what the first file shows, once and not twice turned."""
    form, mode = file
    icc = PROFILES[profile] if mode != "L" else None
    data = written(scene(mode), form, orientation, icc)
    source, pixels = read(tmp_path / "upload", data)
    samples = pixels.color if pixels.alpha is None else np.dstack([pixels.color, pixels.alpha])
    (tmp_path / "raw").write_bytes(samples.tobytes())
    raster = RawImage(tmp_path / "raw", source.width, source.height, samples.shape[2], source.bits)
    quality = 100 if target in {"jpeg", "webp", "avif"} else None
    encode(raster, tmp_path / "result", target, quality=quality, metadata=pixels.metadata, strip=False)
    colour, alpha = seen(data, orientation)
    with Image.open(tmp_path / "result") as image:
        assert image.size == (source.width, source.height)
        assert image.getexif().get(0x0112, 1) == 1
        if target != "gif":
            assert image.info.get("icc_profile") == icc
        found = np.asarray(image.convert("RGBA")).astype(int)
    if target == "jpeg":
        assert (found[..., 3] == 255).all()
        colour = (colour * alpha[..., None] + 255 * (255 - alpha[..., None])) // 255
        alpha = np.full_like(alpha, 255)
    exact = target in {"png", "tiff"}
    opaque = alpha == 255 if target == "gif" else alpha > 0
    if not (target == "gif" and icc) and opaque.any():
        error = np.abs(found[..., :3] - colour)[opaque]
        assert error.max() <= TOLERANCE.get(form, 0) if exact else error.mean() < 8
    if exact:
        assert (found[..., 3] == alpha).all()


def test_print_profile(tmp_path):
    """CMYK with its own profile becomes the sRGB that the profile says, in 8 and in 16 bits."""
    ink = np.full((8, 8, 4), (200, 30, 60, 20), np.uint8)
    cmyk = pyvips.Image.new_from_array(ink).copy(interpretation="cmyk")
    profile = pyvips.Operation.call("profile_load", "cmyk")
    cmyk.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    _, pixels = read(tmp_path / "upload", cmyk.jpegsave_buffer(Q=100))
    change = ImageCms.buildTransform(
        io.BytesIO(profile),
        io.BytesIO(SRGB),
        "CMYK",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    wanted = np.asarray(ImageCms.applyTransform(Image.fromarray(ink, "CMYK"), change)).astype(int)
    assert np.abs(pixels.color - wanted).max() <= 3
    wide = (cmyk.cast("ushort") * 257).cast("ushort").copy(interpretation="cmyk")
    source, pixels = read(tmp_path / "upload", wide.tiffsave_buffer())
    assert (source.bits, pixels.color.dtype, pixels.metadata.icc) == (16, np.uint16, None)
    assert np.abs(pixels.color / 257 - wanted).max() <= 3


def test_grey_profile(tmp_path):
    """Grey with a grey profile stays one channel and keeps the profile."""
    tags = b"kTRC" + (144).to_bytes(4, "big") + (14).to_bytes(4, "big") + b"curv\0\0\0\0\0\0\0\1\2\0"
    icc = (144 + 16).to_bytes(4, "big") + bytes(8) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(88)
    icc = (icc + (1).to_bytes(4, "big") + tags).ljust(160, b"\0")
    _, pixels = read(tmp_path / "upload", written(scene("L"), "tiff", icc=icc))
    assert (pixels.color.shape[2], pixels.metadata.icc) == (1, icc)
    raster = RawImage(tmp_path / "raw", 20, 14, 1, 8)
    raster.path.write_bytes(pixels.color.tobytes())
    encode(raster, tmp_path / "out", "gif", quality=None, metadata=Metadata(icc=icc), strip=False)
    with Image.open(tmp_path / "out") as image:
        assert image.size == (20, 14)

"""Every kind of picture through a provider that knows nothing but 8-bit RGB, and back.

The stand-in reads a file as plainly as a careless program does: no profile, no EXIF, no orientation, no alpha. It
enlarges to sides that divide by 8 and answers in a format of its own. What it dropped has to be there again.
"""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image

from fluxvision import imaging
from fluxvision.catalog.rules import InputFormats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.types import Fit, PostprocessPlan
from fluxvision.engine.fidelity import ciede2000
from fluxvision.engine.resample import band_matrix
from fluxvision.gateway.finish import FinishState, finish
from fluxvision.gateway.provider_input import prepare_input

P3 = pyvips.Operation.call("profile_load", "p3")
FACTOR, GRID = 2, 8
HEIGHT, WIDTH = 46, 61
DOWN, ACROSS = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([ACROSS * 4, DOWN * 5, 255 - ACROSS * 2 - DOWN * 2], axis=2).astype(np.uint8)
ALPHA = np.where(ACROSS + DOWN < 30, 0, np.minimum(255, 60 + ACROSS * 4)).astype(np.uint8)
DEEP = (RGB.astype(np.uint16) * 257) + (ACROSS % 200)[..., None].astype(np.uint16)
ANSWERS = {"png": {}, "jpeg": {"quality": 97, "subsampling": 0}, "webp": {"lossless": True}}


def provider(path, folder, form, *, transparency=False):
    """Enlarge a file as a stranger would; return the path of the answer."""
    with Image.open(path) as image:
        stored = image.convert("RGBA" if transparency and image.mode in {"RGBA", "LA", "PA"} else "RGB")
    width, height = (side * FACTOR // GRID * GRID for side in stored.size)
    target = folder / "answer"
    made = stored.resize((width, height), Image.Resampling.BICUBIC)
    (made.convert("RGB") if form == "jpeg" else made).save(target, form, **ANSWERS[form])
    return target


def pillow(image, form="png", **options):
    def write(path):
        image.save(path, form, **options)

    return write


def exif(orientation=1):
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = "a meadow"
    return block


def clear(image):
    image.putalpha(Image.fromarray(ALPHA))
    return image


def vips(samples, interpretation, **fields):
    def write(path):
        image = pyvips.Image.new_from_array(samples).copy(interpretation=interpretation)
        for name, value in fields.items():
            image.set_type(pyvips.GValue.blob_type, name, value)
        path.write_bytes(image.pngsave_buffer(keep="icc"))

    return write


COLOUR = Image.fromarray(RGB)
GREY_PROFILE = (160).to_bytes(4, "big") + bytes(8) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(88)
GREY_PROFILE += (1).to_bytes(4, "big") + b"kTRC" + (144).to_bytes(4, "big") + (14).to_bytes(4, "big")
GREY_PROFILE = (GREY_PROFILE + b"curv\0\0\0\0\0\0\0\1\2\0").ljust(160, b"\0")
SOURCES = {
    "rgb": pillow(COLOUR),
    "grey": pillow(COLOUR.convert("L")),
    "grey with its own profile": pillow(COLOUR.convert("L"), icc_profile=GREY_PROFILE),
    "black and white": pillow(COLOUR.convert("1")),
    "palette": pillow(COLOUR.quantize(200)),
    "gif": pillow(COLOUR.quantize(200), "gif"),
    "ink": pillow(COLOUR.convert("CMYK"), "jpeg", quality=95),
    "rgba": pillow(clear(COLOUR.copy())),
    "rgba webp": pillow(clear(COLOUR.copy()), "webp", lossless=True),
    "grey with alpha": pillow(clear(COLOUR.convert("L"))),
    "16 bits": vips(DEEP, "rgb16"),
    "16 bits of grey": vips(DEEP[..., 0].copy(), "grey16"),
    "16 bits with alpha": vips(np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]), "rgb16"),
    "16 bits of p3": vips(DEEP, "rgb16", **{"icc-profile-data": P3}),
    "p3": pillow(COLOUR, icc_profile=P3),
    "p3 with alpha": pillow(clear(COLOUR.copy()), icc_profile=P3),
    "p3 jpeg": pillow(COLOUR, "jpeg", icc_profile=P3, quality=97, subsampling=0),
    "exif and resolution": pillow(COLOUR, "jpeg", exif=exif(), dpi=(300, 300), quality=97, subsampling=0),
    "exif in webp": pillow(COLOUR, "webp", exif=exif(), lossless=True),
    "tiff": pillow(COLOUR, "tiff", dpi=(300, 300)),
    "bmp": pillow(COLOUR, "bmp"),
    "tga": pillow(COLOUR, "tga"),
    "jpeg 2000": pillow(COLOUR, "jpeg2000"),
    "ppm": pillow(COLOUR, "ppm"),
    "avif": pillow(COLOUR, "avif", quality=100, subsampling="4:4:4"),
} | {f"turned {turn}": pillow(COLOUR, "jpeg", exif=exif(turn), quality=97, subsampling=0) for turn in range(2, 9)}


def probed(name, tmp_path):
    SOURCES[name](tmp_path / "source")
    return imaging.probe(tmp_path / "source", imaging.Limits())


def through(source, folder, form, output="png", *, transparency=False):
    """Send a picture to the stand-in and finish its answer; return the file and what is in it."""
    accepts = InputFormats(transparency=transparency)
    sent = prepare_input(source, accepts, folder, JobCallbacks())
    answer = provider(sent.path, folder, form, transparency=transparency)
    if sent is not source:
        sent.path.unlink()
    size = source.width * FACTOR, source.height * FACTOR
    plan = PostprocessPlan(fit=Fit(*size, "contain", size), output_format=output)
    picture = finish(FinishState(answer, plan, source, folder, requested_size=size, keeps_alpha=transparency))
    assert [picture.path] == list(folder.iterdir())
    assert (picture.width, picture.height) == size
    result = imaging.probe(picture.path, imaging.Limits())
    return result, imaging.decode(result), picture


def enlarged(samples):
    """Return (rows, columns, bands) at twice the size, by the engine's own cubic."""
    height, width = samples.shape[:2]
    planes = np.moveaxis(samples.astype(np.float32), 2, 0)
    down = band_matrix(height, 1 / FACTOR, count=height * FACTOR)
    across = band_matrix(width, 1 / FACTOR, count=width * FACTOR)
    return np.moveaxis(across.columns(down.rows(planes)), 0, 2)


def psnr(ours, wanted):
    return -10 * np.log10(np.square((ours - wanted) / 255).mean() + 1e-9)


@pytest.mark.parametrize("form", ANSWERS)
@pytest.mark.parametrize("name", SOURCES)
def test_a_provider_that_drops_everything(name, form, tmp_path, folder):
    """Size, channels, alpha, profile, EXIF and resolution of the result are those of the source, and so are colours."""
    source = probed(name, tmp_path)
    before = imaging.decode(source)
    result, after, picture = through(source, folder, form)
    assert (result.channels, result.alpha, result.bits) == (source.channels, source.alpha, 8)
    assert (after.metadata.icc, after.metadata.xmp) == (before.metadata.icc, before.metadata.xmp)
    assert (after.metadata.exif is None) == (before.metadata.exif is None)
    if before.metadata.exif is not None:
        assert b"a meadow" in after.metadata.exif
        with Image.open(result.path) as opened:
            assert opened.getexif().get(0x0112, 1) == 1
    if before.metadata.resolution is not None:
        assert after.metadata.resolution == pytest.approx(before.metadata.resolution, rel=0.01)
    step = 257 if source.bits == 16 else 1
    visible = np.ones(after.color.shape[:2], bool)
    if before.alpha is not None:
        wanted = np.clip(enlarged(before.alpha[..., None] / step)[..., 0], 0, 255)
        assert np.abs(after.alpha - wanted).max() <= 1
        visible = after.alpha > 0
    wanted = np.clip(enlarged(before.color / step), 0, 255)
    if name != "black and white":
        assert psnr(after.color[visible], wanted[visible]) > (33 if "palette" in name or "gif" in name else 40)
        assert picture.fidelity.lr_psnr_db > 33
    assert picture.fidelity.delta_e < 1.5


@pytest.mark.parametrize("output", ["png", "jpeg", "webp", "avif", "gif", "tiff"])
@pytest.mark.parametrize("name", ["rgb", "grey", "rgba", "p3", "turned 6", "16 bits"])
def test_every_format_is_delivered(name, output, tmp_path, folder):
    """Whatever came back, the file is of the format asked for, with the profile where the format has a place for it."""
    source = probed(name, tmp_path)
    result, after, picture = through(source, folder, "webp", output)
    assert (result.format, picture.format) == (output, output)
    if output != "gif":
        assert after.metadata.icc == imaging.read_metadata(source).icc
        assert result.alpha == (source.alpha and output != "jpeg")


@pytest.mark.parametrize("form", ["png", "webp"])
@pytest.mark.parametrize("name", ["rgba", "rgba webp", "grey with alpha", "16 bits with alpha", "p3 with alpha"])
def test_a_provider_that_keeps_alpha(name, form, tmp_path, folder):
    """Alpha is sent and comes back as the provider made it."""
    source = probed(name, tmp_path)
    before = imaging.decode(source)
    result, after, _ = through(source, folder, form, transparency=True)
    step = 257 if source.bits == 16 else 1
    wanted = enlarged(before.alpha[..., None] / step)[..., 0]
    assert (result.channels, result.alpha) == (source.channels, True)
    assert after.metadata.icc == before.metadata.icc
    assert np.abs(after.alpha - np.clip(wanted, 0, 255)).mean() < 4


@pytest.mark.parametrize("form", ANSWERS)
@pytest.mark.parametrize("name", ["p3", "p3 jpeg", "16 bits of p3"])
def test_wide_colours_are_not_lost(name, form, tmp_path, folder):
    """Seen through its profile, the result shows the source's colours: a mean difference below 1 and no clipped one."""
    source = probed(name, tmp_path)
    result, _, _ = through(source, folder, form)
    shown = pyvips.Image.new_from_file(str(source.path)).icc_import(embedded=True, pcs="lab").numpy()
    ours = pyvips.Image.new_from_file(str(result.path)).icc_import(embedded=True, pcs="lab").numpy()
    coarse = ours.reshape(HEIGHT, FACTOR, WIDTH, FACTOR, 3).mean(axis=(1, 3))
    difference = ciede2000(coarse.reshape(-1, 3).T.astype(float), shown.reshape(-1, 3).T.astype(float))
    assert difference.mean() < 1
    assert np.percentile(difference, 99) < 3


def test_the_alpha_edge_has_no_fringe(tmp_path, folder):
    """A white disc on nothing, hidden pixels black, stays white to its rim."""
    disc = (np.hypot(DOWN - 22, ACROSS - 30) < 15)[..., None]
    samples = np.where(disc, 255, 0).astype(np.uint8).repeat(4, axis=2)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "png")
    (tmp_path / "source").write_bytes(buffer.getvalue())
    source = imaging.probe(tmp_path / "source", imaging.Limits())
    result, _, _ = through(source, folder, "png")
    with Image.open(result.path) as opened:
        found = np.asarray(opened)
    assert (found[found[..., 3] > 0][:, :3] >= 254).all()

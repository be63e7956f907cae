"""A provider gets a picture that it can read, and nothing that is none of its business."""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

from fakes.heic import heic
from fluxvision import imaging
from fluxvision.catalog.rules import InputFormats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, InvalidRequest
from fluxvision.gateway.provider_input import prepare_input

P3 = pyvips.Operation.call("profile_load", "p3")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"52 degrees north"
DOWN, ACROSS = np.mgrid[0:20, 0:31]
COLOUR = np.stack([ACROSS * 8, DOWN * 12, 255 - ACROSS * 4 - DOWN * 5], axis=2).astype(np.uint8)


def scene(mode):
    """Return a picture of a mode; with alpha, a corner is hidden."""
    image = Image.fromarray(COLOUR)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.fromarray(np.where(ACROSS + DOWN < 9, 0, 90 + ACROSS * 5).astype(np.uint8)))
    return image.quantize(30) if mode == "P" else image.convert(mode)


def saved(path, form, image, **options):
    image.save(path, form, **options)
    return imaging.probe(path, imaging.Limits())


def talkative(path, form, icc=P3):
    """Return a picture that says where it was made in every way that its format knows."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    options = {"exif": exif, "icc_profile": icc}
    if form == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", SECRET.decode(), zip=True)
        options["pnginfo"] = text
    if form == "jpeg":
        options |= {"comment": SECRET, "xmp": SECRET, "quality": 90, "progressive": True}
    if form == "webp":
        options |= {"xmp": SECRET, "lossless": True}
    return saved(path, form, scene("RGB"), **options)


@pytest.mark.parametrize(("form", "mode"), [("png", "RGB"), ("png", "L"), ("png", "P"), ("jpeg", "RGB"), ("jpeg", "L")])
def test_a_plain_picture_is_sent_as_it_is(form, mode, tmp_path, folder):
    """Nothing is written for a picture that is readable and says nothing of itself."""
    source = saved(tmp_path / "in", form, scene(mode))
    assert prepare_input(source, InputFormats(), folder, JobCallbacks()) is source
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("form", ["png", "webp"])
def test_transparency_is_sent_where_it_is_taken(form, tmp_path, folder):
    """A provider that keeps alpha gets the file; another one gets the colours, extended, without alpha."""
    source = saved(tmp_path / "in", form, scene("RGBA"), **({"lossless": True} if form == "webp" else {}))
    assert prepare_input(source, InputFormats(transparency=True), folder, JobCallbacks()) is source
    sent = prepare_input(source, InputFormats(), folder, JobCallbacks())
    with Image.open(sent.path) as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == imaging.decode(source).color).all()


def test_a_provider_of_this_machine_reads_everything(tmp_path, folder):
    """Where nothing is said of what is accepted, any picture is sent as it is."""
    source = saved(tmp_path / "in", "tiff", scene("CMYK"))
    assert prepare_input(source, None, folder, JobCallbacks()) is source


@pytest.mark.parametrize("icc", [P3, SRGB], ids=["p3", "srgb"])
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_what_a_picture_says_of_itself_stays_here(form, icc, tmp_path, folder):
    """EXIF, XMP, comments and profile are gone from what is sent, and its coded pixels are the same."""
    source = talkative(tmp_path / "in", form, icc)
    sent = prepare_input(source, InputFormats(), folder, JobCallbacks())
    data = sent.path.read_bytes()
    assert sent.format == source.format
    assert sent.size == len(data) < source.size
    assert SECRET in source.path.read_bytes()
    assert not any(word in data for word in (SECRET, b"Exif", b"eXIf", b"XMP ", b"http", b"iCCP", b"ICC", b"Text"))
    with Image.open(sent.path) as image, Image.open(source.path) as before:
        assert (np.asarray(image) == np.asarray(before)).all()
        assert not {"icc_profile", "exif", "xmp", "comment"} & set(image.info)
    assert imaging.read_metadata(imaging.probe(sent.path, imaging.Limits())).icc is None
    assert prepare_input(sent, InputFormats(), folder, JobCallbacks()) is sent


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_what_follows_a_pictures_end_stays_here(form, tmp_path, folder):
    """A film or a second picture behind the picture is not sent."""
    saved(tmp_path / "plain", form, scene("RGB"))
    plain = (tmp_path / "plain").read_bytes()
    (tmp_path / "in").write_bytes(plain + b"film" * 100)
    sent = prepare_input(imaging.probe(tmp_path / "in", imaging.Limits()), InputFormats(), folder, JobCallbacks())
    assert sent.path.read_bytes() == plain


def deep(path, bands):
    """Write 16-bit noise."""
    samples = np.random.default_rng(bands).integers(0, 65536, (20, 31, bands), np.uint16)
    image = pyvips.Image.new_from_array(samples).copy(interpretation="grey16" if bands < 3 else "rgb16")
    image.write_to_file(f"{path}[strip]" if path.suffix else str(path))
    return imaging.probe(path, imaging.Limits())


def animated(path):
    frames = [scene("RGB"), Image.new("RGB", (31, 20))]
    return saved(path, "webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(path, "jpeg", scene("RGB"), exif=exif)


def stored_heic(path):
    pytest.importorskip("_pi_heif")
    path.write_bytes(heic("turned-6"))
    return imaging.probe(path, imaging.Limits())


MADE = {
    "alpha": lambda path: saved(path, "png", scene("RGBA")),
    "grey with alpha": lambda path: saved(path, "png", scene("LA")),
    "turned": turned,
    "16 bits": lambda path: deep(path.with_suffix(".png"), 3),
    "16 bits of grey": lambda path: deep(path.with_suffix(".png"), 1),
    "16 bits with alpha": lambda path: deep(path.with_suffix(".png"), 4),
    "ink": lambda path: saved(path, "jpeg", scene("CMYK")),
    "another format": lambda path: saved(path, "gif", scene("P")),
    "animation": animated,
    "jpeg 2000": lambda path: saved(path, "jpeg2000", scene("LA")),
    "tga": lambda path: saved(path, "tga", scene("RGBA")),
    "heic": stored_heic,
}


@pytest.mark.parametrize("transparency", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_everything_else_becomes_a_png_of_the_working_colours(name, transparency, tmp_path, folder):
    """8-bit RGB, upright, with nothing but the numbers that the engine would have seen."""
    source = MADE[name](tmp_path / "in")
    sent = prepare_input(source, InputFormats(transparency=transparency), folder, JobCallbacks())
    if sent is source:
        assert (name, transparency) in {("alpha", True), ("grey with alpha", True)}
        return
    pixels = imaging.decode(source)
    step = 257 if source.bits == 16 else 1
    with Image.open(sent.path) as image:
        assert (image.format, image.size) == ("PNG", (source.width, source.height))
        assert image.mode == ("RGBA" if transparency and source.alpha else "RGB")
        assert not {"icc_profile", "exif", "xmp"} & set(image.info)
        found = np.asarray(image)
    assert (found[..., :3] == np.round(np.broadcast_to(pixels.color, (*found.shape[:2], 3)) / step)).all()
    if image.mode == "RGBA":
        assert (found[..., 3] == np.round(pixels.alpha / step)).all()
    assert imaging.probe(sent.path, imaging.Limits()) == sent
    assert [sent.path] == list(folder.iterdir())


@pytest.mark.parametrize("form", ["gif", "jpeg", "webp"])
def test_a_cut_picture_is_refused_naming_image(form, tmp_path, folder):
    """It is the caller's fault, no provider hears of it, and nothing stays behind."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    source = saved(tmp_path / "in", form, picture)
    source.path.write_bytes(source.path.read_bytes()[: source.size * 2 // 3])
    with pytest.raises(InvalidRequest) as caught:
        prepare_input(source, InputFormats(), folder, JobCallbacks())
    assert caught.value.param == "image"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_a_cancelled_caller_leaves_nothing(form, tmp_path, folder):
    """Neither a copy nor a conversion is kept."""
    source = talkative(tmp_path / "in", form) if form == "png" else saved(tmp_path / "in", form, scene("RGB"))
    callbacks = JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        prepare_input(source, InputFormats(), folder, callbacks)
    assert list(folder.iterdir()) == []


def test_a_thumbnail_inside_stays_here(tmp_path, folder):
    """A JPEG's preview, which may show what was cut away, is not sent."""
    buffer = io.BytesIO()
    scene("RGB").save(buffer, "jpeg")
    data = buffer.getvalue()
    preview = b"JFXX\0\x10" + data
    at = 2 + 2 + int.from_bytes(data[4:6], "big")  # behind JFIF
    (tmp_path / "in").write_bytes(data[:at] + b"\xff\xe0" + (len(preview) + 2).to_bytes(2, "big") + preview + data[at:])
    sent = prepare_input(imaging.probe(tmp_path / "in", imaging.Limits()), InputFormats(), folder, JobCallbacks())
    assert sent.path.read_bytes() == data

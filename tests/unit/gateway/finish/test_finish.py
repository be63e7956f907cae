"""The last steps write the file that was asked for, and leave nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

from fluxvision import engine, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, InternalError, UpstreamError
from fluxvision.core.images import Fidelity, RawImage
from fluxvision.core.types import Fit, PostprocessPlan
from fluxvision.gateway.finish import FinishState, deliver_as_is, finish
from fluxvision.imaging import decode_mask, load, profile

P3 = pyvips.Operation.call("profile_load", "p3")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = ("png", "jpeg", "webp")
AT_ONCE = {"fit": Fit(30, 20, "contain", (30, 20)), "measure_fidelity": False}
"""A plan with nothing left to do for a picture of 30x20."""


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "pixels.raw"
    np.full((20, 30, 3), (10, 120, 230), np.uint8).tofile(path)
    return RawImage(path, 30, 20, 3, 8)


@pytest.fixture
def store(tmp_path_factory):
    """Write a picture outside the folder of the work and probe it."""

    def write(image, form="png", **options):
        path = tmp_path_factory.mktemp("source") / f"in.{form}"
        image.save(path, form, **options)
        return imaging.probe(path, imaging.Limits())

    return write


@pytest.fixture
def source(store):
    return store(Image.new("RGB", (15, 10), (10, 120, 230)))


def sent(folder, size, form="png", mode="RGB", **options):
    """Return what a provider sent: a picture of red, or noise where it is to be large."""
    path = folder / "sent"
    Image.new("RGB", size, (200, 30, 20)).convert(mode).save(path, form, **options)
    return path


def read(picture):
    with Image.open(picture.path) as opened:
        opened.load()
    return opened


def test_a_neutral_plan_encodes_and_nothing_more(raster, source, tmp_path):
    """The pixels come out as they are, as PNG; the raw file is gone."""
    picture = finish(FinishState(raster, PostprocessPlan(), source, tmp_path))
    assert np.asarray(read(picture)).reshape(-1, 3).tolist() == [[10, 120, 230]] * 600
    assert [picture.path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["png", "jpeg"])
@pytest.mark.parametrize("own", ["raster", "file"])
def test_a_damaged_profile_of_the_source_is_told(own, form, raster, store, tmp_path):
    """The picture carries the warning, also where a provider's file could have been delivered as it is."""
    source = store(Image.new("RGB", (15, 10)), form, icc_profile=SRGB[:-4])
    made = raster if own == "raster" else sent(tmp_path, (30, 20))
    picture = finish(FinishState(made, PostprocessPlan(**AT_ONCE), source, tmp_path))
    assert len(picture.warnings) == 1
    assert "colour profile is damaged" in picture.warnings[0]
    assert "icc_profile" not in read(picture).info


def test_no_profile_is_judged_while_others_wait(store, tmp_path, monkeypatch):
    """Whether a file can be delivered as it is is found out without a conversion of colours."""
    monkeypatch.setattr(load, "is_usable_profile", None)
    monkeypatch.setattr(profile, "is_usable_profile", None)
    source = store(Image.new("RGB", (15, 10)), "jpeg", icc_profile=SRGB)
    work = FinishState(
        imaging.probe(sent(tmp_path, (30, 20)), imaging.Limits()), PostprocessPlan(**AT_ONCE), source, tmp_path
    )
    assert deliver_as_is(work) is None


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "gif", "tiff"])
def test_every_format_has_the_size_that_is_told(raster, source, tmp_path, name, measured):
    """Size and type of the file are those of the returned picture, after fitting."""
    plan = PostprocessPlan(fit=Fit(16, 16, "cover"), output_format=name, measure_fidelity=measured)
    picture = finish(FinishState(raster, plan, source, tmp_path))
    opened = read(picture)
    assert opened.size == (picture.width, picture.height) == (16, 16)
    assert picture.mime == Image.MIME[opened.format]
    assert [picture.path] == list(tmp_path.iterdir())
    assert (picture.fidelity is not None) == measured


def test_pixels_of_the_right_size_are_not_fitted(raster, source, tmp_path):
    """A box that is filled already costs nothing, whatever the mode."""
    for mode in ("contain", "cover", "pad", "stretch"):
        np.full((20, 30, 3), (10, 120, 230), np.uint8).tofile(raster.path)
        picture = finish(FinishState(raster, PostprocessPlan(fit=Fit(30, 20, mode)), source, tmp_path))
        assert (np.asarray(read(picture)) == (10, 120, 230)).all()


def test_a_providers_own_file_is_taken_as_it_is(source, tmp_path):
    """A finished file goes through the same steps and is replaced by the result."""
    path = sent(tmp_path, (12, 9))
    picture = finish(FinishState(path, PostprocessPlan(output_format="webp"), source, tmp_path))
    assert (picture.width, picture.height, picture.format) == (12, 9, "webp")
    assert [picture.path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_the_result_is_delivered_byte_for_byte(form, source, tmp_path):
    """Format, size and channels are right, nothing is measured and nothing put back: its pixels are not read."""
    path = sent(tmp_path, (30, 20), form)
    data, reported = path.read_bytes(), Fidelity(40.0, None, 0.5)
    picture = finish(
        FinishState(path, PostprocessPlan(output_format=form, **AT_ONCE), source, tmp_path, fidelity=reported)
    )
    assert picture.path.read_bytes() == data
    assert (picture.width, picture.height, picture.format, picture.fidelity) == (30, 20, form, reported)


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        ({"output_format": "webp"}, {}),
        ({"output_compression": 80}, {}),
        ({"strip_metadata": True}, {}),
        ({"measure_fidelity": True}, {}),
        ({"fit": Fit(29, 20, "stretch", (29, 20))}, {}),
        ({"fit": Fit(28, 20, "cover", (30, 20))}, {}),
        ({"fit": Fit(40, 20, "pad", (30, 20))}, {}),
        ({}, {"mode": "RGBA"}),
        ({}, {"mode": "L"}),
    ],
    ids=str,
)
def test_a_file_with_anything_to_be_done_is_written_anew(plan, options, source, tmp_path):
    """Each reason alone is enough."""
    path = sent(tmp_path, (30, 20), **options)
    data = path.read_bytes()
    picture = finish(FinishState(path, PostprocessPlan(**{**AT_ONCE, **plan}), source, tmp_path))
    assert picture.path.read_bytes() != data
    assert read(picture).mode == ("RGBA" if plan.get("fit", Fit(0, 0, "")).mode == "pad" else "RGB")
    assert [picture.path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"icc_profile": P3}),
        ("RGB", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
        ("RGB", {"dpi": (300, 300)}),
        ("L", {}),
        ("RGBA", {}),
    ],
    ids=str,
)
def test_what_the_source_says_of_itself_is_put_back(mode, options, store, tmp_path):
    """A profile, EXIF, a resolution, grey or alpha keep a provider's file from being delivered as it is."""
    source = store(Image.new("RGB", (15, 10), (10, 120, 230)).convert(mode), **options)
    path = sent(tmp_path, (30, 20))
    data = path.read_bytes()
    picture = finish(FinishState(path, PostprocessPlan(**AT_ONCE), source, tmp_path))
    assert picture.path.read_bytes() != data
    assert read(picture).mode == mode
    assert read(picture).info.get("icc_profile") == options.get("icc_profile")


def test_stripped_means_stripped(source, tmp_path):
    """A provider's own words in a file do not reach a caller who wants none."""
    words = PngImagePlugin.PngInfo()
    words.add_text("prompt", "a secret")
    path = sent(tmp_path, (30, 20), pnginfo=words)
    picture = finish(FinishState(path, PostprocessPlan(strip_metadata=True, **AT_ONCE), source, tmp_path))
    assert b"a secret" not in picture.path.read_bytes()


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_ends_early_is_the_providers_fault(form, measured, source, tmp_path):
    """A cut file is never delivered, passthrough or not; it is paid all the same."""
    path = tmp_path / "sent"
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(path, form)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    plan = PostprocessPlan(fit=Fit(30, 20, "contain", (30, 20)), output_format=form, measure_fidelity=measured)
    with pytest.raises(UpstreamError, match="damaged or no picture") as caught:
        finish(FinishState(path, plan, source, tmp_path))
    assert caught.value.billed


@pytest.mark.parametrize("data", [b"", b"<html>Bad gateway</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"])
def test_no_picture_at_all_is_the_providers_fault(data, source, tmp_path):
    """An empty file, a page or a bare head is told as such, billed."""
    path = tmp_path / "sent"
    path.write_bytes(data)
    with pytest.raises(UpstreamError, match="no picture") as caught:
        finish(FinishState(path, PostprocessPlan(**AT_ONCE), source, tmp_path))
    assert caught.value.billed


RIGHT = [
    # source, inner size, size asked for, what came
    ((400, 300), (800, 600), (800, 600), (800, 600)),
    ((400, 300), (800, 600), (800, 600), (801, 599)),
    ((400, 300), (800, 600), (800, 600), (790, 592)),
    ((400, 300), (800, 600), (800, 600), (1600, 1200)),
    ((400, 300), (810, 607), (810, 607), (808, 600)),
    ((400, 300), (810, 607), (810, 607), (768, 576)),
    ((60, 40), (120, 80), (120, 80), (128, 64)),
    ((60, 40), (120, 80), (120, 80), (112, 80)),
    ((400, 300), (2000, 1500), (1600, 1200), (1600, 1200)),
    ((400, 300), (200, 150), (400, 300), (400, 300)),
    ((400, 300), (1000, 900), (1000, 900), (1200, 900)),
    ((400, 300), (1000, 900), (1000, 900), (1000, 900)),
    ((400, 300), (800, 600), None, (1600, 1200)),
    ((400, 300), (800, 600), None, (1023, 768)),
]
WRONG = [
    ((400, 300), (800, 600), (800, 600), (400, 300)),
    ((512, 512), (1024, 1024), (1024, 1024), (512, 512)),
    ((400, 300), (800, 600), (800, 600), (800, 800)),
    ((400, 300), (800, 600), (800, 600), (600, 800)),
    ((400, 300), (800, 600), (800, 600), (700, 525)),
    ((400, 300), (2000, 1500), (1600, 1200), (800, 600)),
    ((64, 64), (96, 96), (96, 96), (64, 64)),
    ((48, 48), (96, 96), (96, 96), (48, 48)),
    ((400, 300), (800, 600), (800, 600), (8, 8)),
    ((400, 300), (800, 600), None, (1024, 1024)),
    ((400, 300), (800, 600), None, (300, 400)),
    ((400, 300), (800, 600), None, (400, 300)),
    ((400, 300), (800, 600), None, (200, 150)),
]
RIGHT += [((400, 300), inner, None, (400, 300)) for inner in [(400, 300), (200, 150)]]


@pytest.mark.parametrize(("own", "inner", "made", "came"), RIGHT)
def test_a_small_deviation_becomes_the_exact_size(own, inner, made, came, store, tmp_path):  # noqa: PLR0917
    """A size that was rounded, or that is larger than needed, is resampled to the one that was promised."""
    work = FinishState(
        sent(tmp_path, came),
        PostprocessPlan(fit=Fit(*inner, "stretch", inner)),
        store(Image.new("RGB", own)),
        tmp_path,
        requested_size=made,
    )
    picture = finish(work)
    assert (picture.width, picture.height) == read(picture).size == inner
    assert (np.asarray(read(picture)) == (200, 30, 20)).all()


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(("own", "inner", "made", "came"), WRONG)
def test_a_wrong_size_is_the_providers_failure(own, inner, made, came, measured, store, tmp_path):  # noqa: PLR0917
    """The source's own size, too few pixels or another shape: the provider has failed, is paid, and is told of."""
    work = FinishState(
        sent(tmp_path, came),
        PostprocessPlan(fit=Fit(*inner, "stretch", inner), measure_fidelity=measured),
        store(Image.new("RGB", own)),
        tmp_path,
        requested_size=made,
    )
    with pytest.raises(UpstreamError, match=f"returned {came[0]}x{came[1]}") as caught:
        finish(work)
    assert caught.value.billed


def test_the_sentence_tells_both_sizes(store, tmp_path):
    """What came and what was asked for."""
    source = store(Image.new("RGB", (512, 512)))
    plan = PostprocessPlan(fit=Fit(1024, 1024, "contain", (1024, 1024)))
    with pytest.raises(UpstreamError) as caught:
        finish(FinishState(sent(tmp_path, (512, 512)), plan, source, tmp_path, requested_size=(1024, 1024)))
    assert caught.value.message == "The provider returned 512x512 where 1024x1024 was asked for."


@pytest.mark.parametrize(("mode", "size"), [("cover", (50, 50)), ("pad", (90, 90))])
def test_a_rounded_size_is_straightened_before_it_is_cropped(mode, size, store, tmp_path):
    """The inner size decides where the box lies, not what the provider made of it; fidelity knows the place."""
    across = np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], 25, axis=0).repeat(3, axis=2)
    source = store(Image.fromarray(across))  # 30x25
    inner = (90, 75)
    path = tmp_path / "sent"
    Image.fromarray(across).resize((88, 72), Image.Resampling.BICUBIC).save(path, "png")
    picture = finish(
        FinishState(path, PostprocessPlan(fit=Fit(*size, mode, inner)), source, tmp_path, requested_size=inner)
    )
    result = np.asarray(read(picture)).astype(int)
    wanted = np.asarray(Image.fromarray(across).resize(inner, Image.Resampling.BICUBIC)).astype(int)
    if mode == "cover":
        assert np.abs(result - wanted[12:62, 20:70]).max() <= 3
    else:
        assert np.abs(result[7:82, :, :3] - wanted).max() <= 6
        assert (result[:7, :, 3] == 0).all()
    assert picture.fidelity.lr_psnr_db > 40


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_grey_picture_stays_grey(form, store, tmp_path):
    """What a provider makes of grey is grey again, without a change of its numbers."""
    ramp = np.arange(0, 240, 8, dtype=np.uint8)[None].repeat(20, axis=0)
    source = store(Image.new("L", (15, 10), 90), form)
    path = tmp_path / "sent"
    Image.fromarray(ramp).convert("RGB").save(path, "png")
    result = read(finish(FinishState(path, PostprocessPlan(fit=Fit(30, 20, "contain", (30, 20))), source, tmp_path)))
    assert result.mode == "L"
    assert (np.asarray(result) == ramp).all()


@pytest.mark.parametrize("icc", [None, SRGB, P3], ids=["none", "srgb", "p3"])
@pytest.mark.parametrize("own", [None, SRGB, P3], ids=["untagged", "srgb", "p3"])
def test_a_providers_profile_changes_no_colour(own, icc, store, tmp_path):
    """The source's profile is on the result; numbers that a provider turned into another space are turned back."""
    wide = ImageCms.ImageCmsProfile(io.BytesIO(P3))
    colour = Image.new("RGB", (15, 10), (60, 120, 200))
    source = store(colour, **({"icc_profile": own} if own else {}))
    came = colour.resize((30, 20))
    if icc == P3:  # it took the numbers for sRGB and works in P3
        turn = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), wide, "RGB", "RGB")
        came = ImageCms.applyTransform(came, turn)
    path = tmp_path / "sent"
    came.save(path, "png", **({"icc_profile": icc} if icc else {}))
    result = read(finish(FinishState(path, PostprocessPlan(fit=Fit(30, 20, "contain", (30, 20))), source, tmp_path)))
    assert result.info.get("icc_profile") == own
    assert np.abs(np.asarray(result).astype(int) - (60, 120, 200)).max() <= (1 if icc == P3 else 0)


def test_alpha_that_a_provider_kept_is_left(store, tmp_path):
    """A provider that was given alpha answers for it; one that was not gets the source's, whatever it made up."""
    alpha = Image.new("L", (15, 10), 100)
    picture = Image.new("RGB", (15, 10), (1, 2, 3))
    picture.putalpha(alpha)
    source = store(picture)
    for transparent, wanted in ((True, 77), (False, 100)):
        path = tmp_path / "sent"
        came = Image.new("RGB", (30, 20), (200, 30, 20))
        came.putalpha(77)
        came.save(path, "png")
        work = FinishState(path, PostprocessPlan(**AT_ONCE), source, tmp_path, keeps_alpha=transparent)
        result = np.asarray(read(finish(work)))
        assert (result == (200, 30, 20, wanted)).all()


PHOTO = np.random.default_rng(3).integers(60, 200, (10, 12, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def mask(store):
    """Make a mask for a picture of 48x40 from its opacity."""

    def make(opacity):
        image = Image.new("RGBA", (48, 40))
        image.putalpha(Image.fromarray(opacity.astype(np.uint8)))
        return decode_mask(store(image), 48, 40)

    return make


def faithful(colour, width, height):
    """Return the engine's own enlargement without invented detail."""
    strips = []
    engine.enlarge(engine.Request(colour, width, height, creativity=0.0), strips.append)
    return np.concatenate(strips)


def masked(opacity, source, mask, folder, mode="RGB"):
    """Let a provider paint everything red; return the numbers of the result."""
    work = FinishState(
        sent(folder, (96, 80), mode=mode),
        PostprocessPlan(fit=Fit(96, 80, "contain", (96, 80)), apply_mask=True),
        source,
        folder,
        mask=mask(opacity),
        requested_size=(96, 80),
        fidelity=Fidelity(50.0, None, 0.0),
    )
    picture = finish(work)
    assert [picture.path] == list(folder.iterdir())
    assert picture.fidelity.lr_psnr_db != 50
    return np.asarray(read(picture))


def test_what_the_mask_protects_is_the_faithful_enlargement(store, mask, tmp_path):
    """A provider that paints everything red changes no pixel of the opaque part, and all inside the transparent one."""
    opacity = np.full((40, 48), 255)
    opacity[:, 24:] = 0
    opacity[20:, :] = 255
    result = masked(opacity, store(Image.fromarray(PHOTO)), mask, tmp_path)
    opaque = opacity.repeat(2, axis=0).repeat(2, axis=1) == 255
    assert (result[opaque] == faithful(PHOTO, 96, 80)[opaque]).all()
    assert (result[:30, 58:] == (200, 30, 20)).all()


def test_a_half_transparent_mask_mixes(store, mask, tmp_path):
    """Opacity 155 of 255 lets 39 % of the new detail through, everywhere."""
    result = masked(np.full((40, 48), 155), store(Image.fromarray(PHOTO)), mask, tmp_path).astype(float)
    wanted = faithful(PHOTO, 96, 80).astype(float)
    wanted += (np.array([200, 30, 20]) - wanted) * (100 / 255)
    assert np.abs(result - wanted).max() <= 0.51


def test_the_edge_of_a_mask_is_smooth(store, mask, tmp_path):
    """From protected to free the picture changes steadily, without an overshoot."""
    opacity = np.full((40, 48), 255)
    opacity[:, 24:] = 0
    grey = Image.new("RGB", (48, 40), (100, 100, 100))
    line = masked(opacity, store(grey), mask, tmp_path)[40, :, 0].astype(int)
    assert (line[0], line[-1]) == (100, 200)
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() <= 30


def test_masks_work_on_alpha_grey_and_deep_pictures(store, mask, tmp_path):
    """Alpha is the source's own, grey stays grey, and 16 bits stay where the mask protects."""
    opacity = np.full((40, 48), 255)
    opacity[:20] = 0
    clear = Image.fromarray(PHOTO)
    clear.putalpha(Image.new("L", (48, 40), 130))
    result = masked(opacity, store(clear), mask, tmp_path, mode="RGBA")
    assert (result[..., 3] == 130).all()
    assert (result[42:, :, :3] == faithful(PHOTO, 96, 80)[42:]).all()
    next(tmp_path.iterdir()).unlink()
    grey = Image.fromarray(PHOTO[..., 0])
    result = masked(opacity, store(grey), mask, tmp_path)
    assert (result[42:] == faithful(PHOTO[..., :1], 96, 80)[42:, :, 0]).all()
    next(tmp_path.iterdir()).unlink()
    result = masked(opacity, store(Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257)), mask, tmp_path)
    wanted = faithful(PHOTO[..., :1].astype(np.uint16) * 257, 96, 80)[..., 0]
    assert result.dtype == np.uint16
    assert (result[42:] == wanted[42:]).all()
    assert (result[:8] == round(0.299 * 200 + 0.587 * 30 + 0.114 * 20) * 257).all()


def test_masks_work_beyond_the_engines_factors(store, mask, tmp_path):
    """More than x4 and less than x1 are finished by resampling, of the protected part too."""
    source = store(Image.fromarray(PHOTO))
    opaque = np.full((40, 48), 255)
    for size in ((240, 200), (24, 20)):
        plan = PostprocessPlan(fit=Fit(*size, "contain", size), apply_mask=True, measure_fidelity=False)
        picture = finish(FinishState(sent(tmp_path, size), plan, source, tmp_path, mask=mask(opaque)))
        wanted = Image.fromarray(PHOTO).resize(size, Image.Resampling.LANCZOS)
        assert read(picture).size == size
        assert np.abs(np.asarray(read(picture)).astype(float) - np.asarray(wanted)).mean() < 8
        picture.path.unlink()


def test_a_free_mask_leaves_the_providers_picture(store, mask, tmp_path):
    """Where all may change there is nothing to protect, and what the provider measured holds."""
    plan = PostprocessPlan(apply_mask=True, measure_fidelity=False, fit=Fit(96, 80, "contain", (96, 80)))
    reported = Fidelity(40.0, None, 0.5)
    source = store(Image.fromarray(PHOTO))
    work = FinishState(
        sent(tmp_path, (96, 80)), plan, source, tmp_path, mask=mask(np.zeros((40, 48))), fidelity=reported
    )
    picture = finish(work)
    assert (np.asarray(read(picture)) == (200, 30, 20)).all()
    assert picture.fidelity == reported


def test_a_lost_mask_is_our_fault(source, tmp_path):
    """A plan with a mask never goes on without it."""
    with pytest.raises(InternalError):
        finish(FinishState(sent(tmp_path, (30, 20)), PostprocessPlan(apply_mask=True), source, tmp_path))


def test_a_cancelled_caller_gets_nothing(source, tmp_path):
    """The steps stop before the next one."""
    callbacks = JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        finish(FinishState(sent(tmp_path, (30, 20)), PostprocessPlan(), source, tmp_path, callbacks))

"""What becomes of a result of fal.ai."""

from __future__ import annotations

import errno

import pytest
from PIL import Image

from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import PolicyRefused
from fluxvision.core.types import Call
from fluxvision.net.ssrf_guard import OPEN
from fluxvision.providers import result_file
from fluxvision.providers.fal.result import Results

MODEL = "fal-ai/flux-vision-upscaler"


def call(path, upstream=MODEL, **body):
    return Call("fal", upstream, {"upscale_factor": 2.0, **body}, imaging.probe(path, imaging.Limits()), None)


@pytest.mark.parametrize("kind", ["images", "data", "gif", "small"])
async def test_forms_of_a_result(fal, provider, photo, folder, kind):
    """One picture or a list, a URL or a data URI, any format and size: the bytes count."""
    fal.fault = f"result {kind}"
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    found = imaging.probe(outcome.picture, imaging.Limits())
    assert (found.width, found.height) == ((64, 53) if kind == "small" else (192, 160))
    assert found.format == ("gif" if kind == "gif" else "png")


async def test_black_stays_black(fal, provider, tmp_path, folder):
    """A black picture may come out black."""
    path = tmp_path / "night.png"
    Image.new("RGB", (60, 40)).save(path)
    outcome = await provider.run(call(path), JobCallbacks(), folder)
    assert Image.open(outcome.picture).getextrema() == ((0, 0),) * 3
    assert fal.paid == 1


@pytest.mark.parametrize("seen", [True, [False, True]])
async def test_a_picture_that_is_not_shown_is_paid_all_the_same(seen, photo, folder):
    """A result that only says that it is against the policy is the end, and it is billed."""
    results = Results(OPEN, 10**6, 1.0, 0.01)
    with pytest.raises(PolicyRefused) as caught:
        await results.outcome(call(photo).image, {}, {"has_nsfw_concepts": seen}, folder)
    assert caught.value.billed


async def test_a_full_disk_does_not_make_it_cheaper(fal, provider, photo, folder, monkeypatch):
    """Where this server has no room for a picture, the job was named and billed before, and no file is left."""

    def full(path, **_limits):
        assert path.exists()
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(result_file, "probe_result", full)
    told = []
    with pytest.raises(OSError, match="no space"):
        await provider.run(call(photo), JobCallbacks(on_submitted=lambda *facts: told.append(facts)), folder)
    assert told[-1] == (fal.submissions[0].id, True, fal.spent)
    assert list(folder.iterdir()) == []

"""FLUX.1 with a tile ControlNet does what diffusers' own pipeline does with the same models."""

import json
import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxControlNetModel, FluxControlNetPipeline

from fakes.flux_models import make_control, make_flux1
from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import networks
from fluxvision.engine.flux import weights as folder
from fluxvision.engine.flux.registry import BY_NAME

ROW = BY_NAME["flux1-dev-tile"]
SIGMA, GUIDANCE, WORDS = 0.6, 3.5, "a red kite over a wheat field"
ROWS, COLUMNS = 3, 2


def normal(seed, many=1):
    shape = (many, ROW.packed_channels, ROWS, COLUMNS)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(place, **facts):
    made = make_flux1(place, dev=True)
    make_control(made / folder.CONTROL_FOLDER, **facts)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make(tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="module")
def ours(weights):
    return networks.load_networks(ROW, weights, agreed=True)


def certain(vae):
    """Let the autoencoder's encoder be sure of itself: diffusers draws from what it says, and we take the mean."""
    with torch.no_grad():
        vae.quant_conv.weight[16:] = 0
        vae.quant_conv.bias[16:] = -60


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")  # diffusers calls it itself
@pytest.mark.parametrize("facts", [{}, {"num_single_layers": 1}, {"guidance_embeds": False}], ids=str)
def test_one_step_is_that_of_the_pipeline_of_diffusers(facts, tmp_path):
    """Condition, its strength and where it enters are diffusers' own, whatever blocks the ControlNet has."""
    place = make(tmp_path, **facts)
    ours = networks.load_networks(ROW, place, agreed=True)
    parts = {
        name: getattr(__import__(package), kind).from_pretrained(place / name)
        for name, (package, kind) in folder.PARTS["flux1"].items()
    }
    control = FluxControlNetModel.from_pretrained(place / folder.CONTROL_FOLDER)
    pipeline = FluxControlNetPipeline(scheduler=FlowMatchEulerDiscreteScheduler(), controlnet=control, **parts)
    pipeline.set_progress_bar_config(disable=True)
    for vae in (ours.vae, pipeline.vae):
        certain(vae)
    picture = torch.rand(1, 3, ROWS * 16, COLUMNS * 16, generator=torch.Generator().manual_seed(4))
    latents = normal(1)
    expected = pipeline(
        prompt=WORDS,
        control_image=picture * 2 - 1,
        controlnet_conditioning_scale=ROW.control.scale,
        latents=latents.flatten(2).transpose(1, 2),
        sigmas=[SIGMA],
        num_inference_steps=1,
        guidance_scale=GUIDANCE,
        height=ROWS * 16,
        width=COLUMNS * 16,
        output_type="latent",
    ).images
    source = ours.encode(picture)
    flow = ours.velocity(latents, SIGMA, ours.embed(WORDS), GUIDANCE, source=source)
    made = (latents - SIGMA * flow).flatten(2).transpose(1, 2)
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=1e-5)
    free = ours.velocity(latents, SIGMA, ours.embed(WORDS), GUIDANCE, source=-source)
    assert not torch.allclose(free, flow, atol=1e-3), "the source matters"


def test_a_batch_is_its_pictures_one_by_one(ours):
    """Every tile is held to its own source."""
    latents, source, texts = normal(1, 2), normal(2, 2), ["a", "b"]
    both = ours.velocity(latents, SIGMA, ours.embed(texts), GUIDANCE, source=source)
    for index, text in enumerate(texts):
        one = slice(index, index + 1)
        alone = ours.velocity(latents[one], SIGMA, ours.embed(text), GUIDANCE, source=source[one])
        torch.testing.assert_close(alone, both[one], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", [None, normal(2, 2)], ids=["none", "too many"])
def test_a_source_that_is_missing_or_of_another_shape_is_refused(source, ours):
    """Nothing is imagined freely in silence."""
    with pytest.raises(ValueError, match="is held to its source"):
        ours.velocity(normal(1), SIGMA, ours.embed("x"), GUIDANCE, source=source)


def test_closing_drops_the_control_network(weights):
    """It is among what gives its memory back."""
    ours = networks.load_networks(ROW, weights, agreed=True)
    ours.close()
    assert ours.control is None


def refusal(place):
    with pytest.raises(Unavailable) as caught:
        networks.load_networks(ROW, place, agreed=True)
    assert str(place) not in caught.value.message
    return caught.value.message


def test_the_control_network_is_found_in_the_cache_of_the_hub(weights, monkeypatch, tmp_path):
    """Published on its own, it need not lie within the network's folder; without it a sentence says how to fetch it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    place = shutil.copytree(weights, tmp_path / "dev")
    assert refusal(shutil.copytree(place, tmp_path / "bare", ignore=lambda *_: ["controlnet"])).endswith(
        "are not on this machine: fetch them with `fluxvision weights flux1-dev-tile`."
    )
    cache = tmp_path / "hub" / ("models--" + ROW.control.repo.replace("/", "--"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(place / "controlnet", cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit, encoding="ascii")
    assert folder.control_folder(ROW, tmp_path / "bare") == cache / "snapshots" / commit
    folder.check_weights(ROW, tmp_path / "bare")


@pytest.mark.parametrize("gone", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_a_control_network_that_is_not_whole_is_told(gone, weights, tmp_path):
    """As for every other part."""
    place = shutil.copytree(weights, tmp_path / "dev")
    (place / "controlnet" / gone).unlink()
    assert "incomplete, controlnet is missing" in refusal(place)


@pytest.mark.parametrize("facts", [{"num_mode": 6}, {"in_channels": 128}, {"_class_name": "ControlNetModel"}])
def test_a_control_network_of_another_kind_is_refused(facts, weights, tmp_path):
    """Those for several kinds of condition, for pixels or for another network are not taken for one for tiles."""
    place = shutil.copytree(weights, tmp_path / "dev")
    config = place / "controlnet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | facts), encoding="utf-8")
    assert refusal(place) == "The weights are not those of flux1-dev-tile, but another network's."


def test_both_repositories_are_fetched(monkeypatch, tmp_path):
    """One command brings the network and what holds it."""
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda **facts: asked.append(facts) or str(tmp_path))
    assert folder.download_weights(ROW) == tmp_path
    assert [facts["repo_id"] for facts in asked] == [ROW.control.repo, ROW.repo]

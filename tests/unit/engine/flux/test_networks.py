"""Loaded FLUX networks do what diffusers' own pipelines do with the same models."""

import json
import shutil

import httpx2
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, FluxPipeline

from fakes.flux_models import make_flux1, make_flux2
from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import networks, weights
from fluxvision.engine.flux.prompts import KEPT
from fluxvision.engine.flux.registry import BY_NAME

NAMES = ("flux2-klein-4b", "flux2-klein-base-4b", "flux1-schnell", "flux1-dev")
MAKE = {
    "flux2-klein-4b": (make_flux2, {}),
    "flux2-klein-base-4b": (make_flux2, {"cfg": True}),
    "flux1-schnell": (make_flux1, {}),
    "flux1-dev": (make_flux1, {"dev": True}),
}
GUIDANCE = {"flux2-klein-base-4b": 4.0, "flux1-dev": 3.5}
SIGMA = 0.6
ROWS, COLUMNS = 3, 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp("weights") / name, **facts) for name, (make, facts) in MAKE.items()}


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: networks.load_networks(BY_NAME[name], folders[name], agreed=True) for name in NAMES}


@pytest.fixture(scope="module", params=NAMES)
def pair(request, folders, loaded):
    """Return our networks and diffusers' pipeline, which read the same folder."""
    kind = Flux2KleinPipeline if request.param.startswith("flux2") else FluxPipeline
    facts = {"is_distilled": request.param == "flux2-klein-4b"} if kind is Flux2KleinPipeline else {}
    parts = {
        name: getattr(__import__(package), model).from_pretrained(folders[request.param] / name)
        for name, (package, model) in weights.PARTS[BY_NAME[request.param].architecture].items()
    }
    pipeline = kind(scheduler=FlowMatchEulerDiscreteScheduler(), **parts, **facts)
    pipeline.set_progress_bar_config(disable=True)
    return loaded[request.param], pipeline


def pixels(many=1, rows=ROWS, columns=COLUMNS, seed=0):
    return torch.rand(many, 3, rows * 16, columns * 16, generator=torch.Generator().manual_seed(seed))


def noise(ours, seed=1):
    shape = (1, ours.row.packed_channels, ROWS, COLUMNS)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def theirs_after_one_step(ours, pipeline, latents, output):
    """Let the pipeline go from `latents` at SIGMA to 0 in one step."""
    tokens = latents if ours.row.architecture == "flux2" else latents.flatten(2).transpose(1, 2)
    guidance = GUIDANCE.get(ours.row.name, 1.0)
    return pipeline(
        prompt="a red kite over a wheat field",
        latents=tokens,
        sigmas=[SIGMA],
        num_inference_steps=1,
        guidance_scale=guidance,
        height=ROWS * 16,
        width=COLUMNS * 16,
        max_sequence_length=ours.row.text_tokens,
        output_type=output,
    ).images


def ours_after_one_step(ours, latents):
    prompt = ours.embed("a red kite over a wheat field")
    guidance = GUIDANCE.get(ours.row.name, 1.0)
    return latents - SIGMA * ours.velocity(latents, SIGMA, prompt, guidance)


def test_one_step_is_that_of_the_pipeline_of_diffusers(pair):
    """Prompt, packing, positions, noise level, guidance and decoding together give diffusers' own picture."""
    ours, pipeline = pair
    latents = noise(ours)
    made = ours.decode(ours_after_one_step(ours, latents))
    expected = theirs_after_one_step(ours, pipeline, latents, "pt")
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=0)
    assert expected.std() > 0.01, "a picture that says something"


def test_the_latents_after_one_step_are_those_of_the_pipeline(pair):
    """The same before the decoder, where a clamp hides nothing."""
    ours, pipeline = pair
    latents = noise(ours)
    made, expected = ours_after_one_step(ours, latents), theirs_after_one_step(ours, pipeline, latents, "latent")
    # The pipeline of FLUX.2 takes the normalisation off.
    made = made.flatten(2).transpose(1, 2) if ours.row.architecture == "flux1" else ours._plain(made)
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=1e-5)


def test_encoding_is_that_of_the_pipeline(pair):
    """The mean of the posterior, packed and normalised, is diffusers' own."""
    ours, pipeline = pair
    picture = pixels()
    made = ours.encode(picture)
    with torch.no_grad():
        if ours.row.architecture == "flux2":
            expected = pipeline._encode_vae_image(picture * 2 - 1, generator=None)
        else:
            facts = pipeline.vae.config
            mean = pipeline.vae.encode(picture * 2 - 1).latent_dist.mode()
            mean = (mean - facts.shift_factor) * facts.scaling_factor
            expected = pipeline._pack_latents(mean, 1, 16, ROWS * 2, COLUMNS * 2)
            made = made.flatten(2).transpose(1, 2)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_positions_are_those_of_the_pipeline_and_begin_where_wished(pair):
    """Row and column of every token, in token order."""
    ours, pipeline = pair
    made = ours._positions(ROWS, COLUMNS, 0, 0)
    if ours.row.architecture == "flux2":
        expected = pipeline._prepare_latent_ids(noise(ours))[0]
    else:
        expected = pipeline._prepare_latent_image_ids(1, ROWS, COLUMNS, "cpu", torch.float32)
    assert torch.equal(made, expected)
    moved = ours._positions(ROWS, COLUMNS, 5, 7) - made
    assert moved[:, 1].eq(5).all()
    assert moved[:, 2].eq(7).all()


def test_the_text_is_embedded_as_in_the_pipeline(pair):
    """The same prompt gives the same numbers, with fewer layers run."""
    ours, pipeline = pair
    found = pipeline.encode_prompt("wet cobblestones", max_sequence_length=ours.row.text_tokens)
    made = ours.embed("wet cobblestones")
    torch.testing.assert_close(made.text, found[0], atol=1e-4, rtol=1e-4)
    if made.pooled is not None:
        torch.testing.assert_close(made.pooled, found[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_formats(name, loaded):
    """Latents are float32, one cell per 16 pixels; pixels come back in their size, in 0..1; nothing has a gradient."""
    ours = loaded[name]
    latents = ours.encode(pixels(2))
    assert latents.shape == (2, ours.row.packed_channels, ROWS, COLUMNS)
    velocity = ours.velocity(latents, 0.5, ours.embed("x"), 1.0, top=3, left=4)
    assert velocity.shape == latents.shape
    made = ours.decode(latents)
    assert made.shape == (2, 3, ROWS * 16, COLUMNS * 16)
    assert made.min() >= 0
    assert made.max() <= 1
    for found in (latents, velocity, made):
        assert found.dtype == torch.float32
        assert not found.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answer_twice_and_in_a_batch(name, loaded):
    """Encoding and velocity have no chance in them, and a tile's neighbours in a batch do not touch it."""
    ours = loaded[name]
    picture, prompt = pixels(2, seed=3), ours.embed("x")
    latents = ours.encode(picture)
    assert torch.equal(latents, ours.encode(picture))
    both = ours.velocity(latents, 0.4, prompt, 2.0)
    assert torch.equal(both, ours.velocity(latents, 0.4, prompt, 2.0))
    alone = ours.velocity(latents[1:], 0.4, prompt, 2.0)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_pictures_one_by_one(name, loaded):
    """Encoder, transformer and decoder make of two pictures, each with its own prompt, what they make of each alone."""
    ours = loaded[name]
    picture, texts, guidance = pixels(2, seed=5), ("a red kite", "wet cobblestones, at night"), 3.0
    latents = ours.encode(picture)
    velocity = ours.velocity(latents, 0.4, ours.embed(texts), guidance)
    decoded = ours.decode(latents)
    for index, text in enumerate(texts):
        one = slice(index, index + 1)
        torch.testing.assert_close(ours.encode(picture[one]), latents[one], atol=1e-5, rtol=1e-5)
        alone = ours.velocity(latents[one], 0.4, ours.embed(text), guidance)
        torch.testing.assert_close(alone, velocity[one], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.decode(latents[one]), decoded[one], atol=1e-5, rtol=1e-5)
    swapped = ours.velocity(latents, 0.4, ours.embed(texts[::-1]), guidance)
    assert not torch.allclose(swapped, velocity, atol=1e-4), "each picture has its own prompt"


@pytest.mark.parametrize("name", NAMES)
def test_one_prompt_serves_all_pictures_or_each_has_its_own(name, loaded):
    """Other numbers of prompts are refused, none at all as well."""
    ours = loaded[name]
    latents = ours.encode(pixels(3))
    once, thrice = (ours.velocity(latents, 0.4, ours.embed(texts), 2.0) for texts in ("x", ["x", "x", "x"]))
    torch.testing.assert_close(once, thrice)
    with pytest.raises(ValueError, match="2 prompts and 3 pictures"):
        ours.velocity(latents, 0.4, ours.embed(["x", "y"]), 2.0)
    with pytest.raises(ValueError, match="at least one"):
        ours.embed([])


@pytest.mark.parametrize("size", [(15, 16), (16, 24), (0, 16)])
def test_sides_that_are_no_multiple_of_a_cell_are_refused(size, loaded):
    """The networks know whole cells only."""
    with pytest.raises(ValueError, match="multiples of 16"):
        loaded["flux2-klein-4b"].encode(torch.zeros(1, 3, *size))


def test_guidance_means_what_the_row_says(loaded):
    """It changes what undistilled and embedding networks say, and nothing elsewhere."""
    for name, ours in loaded.items():
        latents, prompt = noise(ours), ours.embed("x")
        low, high = (ours.velocity(latents, 0.5, prompt, guidance) for guidance in (1.0, 3.0))
        assert torch.equal(low, high) == (BY_NAME[name].guidance == "none")


def test_a_prompt_is_read_once_and_few_are_kept(loaded, monkeypatch):
    """The text encoder runs once for a text; an old one is forgotten for a new one."""
    ours = loaded["flux1-schnell"]
    read = []
    original = ours._encoded
    monkeypatch.setattr(ours, "_encoded", lambda words: read.append(words) or original(words))
    ours._kept.clear()
    for _ in range(2):
        for index in range(KEPT):
            ours.embed(str(index))
    assert len(read) == KEPT
    ours.embed("one more")
    ours.embed("0")
    assert len(read) == KEPT + 2


def test_decoding_that_overflows_is_done_again_in_float32(folders):
    """Where 16 bits give no number, 32 do."""
    ours = networks.load_networks(BY_NAME["flux2-klein-4b"], folders["flux2-klein-4b"], dtype="float16")
    with torch.no_grad():
        ours.vae.decoder.conv_out.weight.mul_(2**10)
        ours.vae.decoder.conv_norm_out.weight.mul_(2**10)
    made = ours.decode(noise(ours))
    assert made.isfinite().all()
    assert ours.vae.dtype == torch.float32


def test_half_precision_stays_near(folders, loaded):
    """bfloat16, the default on a GPU, gives the same velocity to its own precision."""
    name = "flux1-dev"
    half = networks.load_networks(BY_NAME[name], folders[name], dtype="bfloat16", agreed=True)
    assert half.dtype == torch.bfloat16
    full = loaded[name]
    latents = noise(full)
    made = half.velocity(latents, SIGMA, half.embed("x"), 2.0)
    expected = full.velocity(latents, SIGMA, full.embed("x"), 2.0)
    assert made.dtype == torch.float32
    assert (made - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_moving_and_closing(folders):
    """Networks move as a whole or without the text encoders, and give up what they hold."""
    name = "flux2-klein-4b"
    ours = networks.load_networks(BY_NAME[name], folders[name])
    ours.embed("x")
    ours.to("cpu", text="cpu")
    assert ours.device == torch.device("cpu")
    assert not ours._kept._found
    ours.close()
    assert ours.transformer is None


def test_text_encoders_go_to_the_cpu_once(folders):
    """They make room, say so only where they were elsewhere, and go on; kept prompts need not be made again."""
    name = "flux2-klein-4b"
    ours = networks.load_networks(BY_NAME[name], folders[name])
    kept = ours.embed("x")
    assert not ours.offload_text(), "they are there already"
    ours._text_device = torch.device("cuda")
    assert ours.offload_text()
    assert not ours.offload_text()
    assert ours.embed("x") is kept
    ours._kept.clear()
    torch.testing.assert_close(ours.embed("x").text, kept.text)


def test_offloading_text_moves_every_encoder(folders, monkeypatch):
    """All that reads words is moved to the CPU, and to nowhere else; the transformer stays."""
    ours = networks.load_networks(BY_NAME["flux1-schnell"], folders["flux1-schnell"])
    moved = []

    def follow(name, model):
        to = model.to
        monkeypatch.setattr(model, "to", lambda place: (moved.append((name, str(place))), to(place))[1])

    for name, model in (("clip", ours.texts[0]), ("t5", ours.texts[1]), ("transformer", ours.transformer)):
        follow(name, model)
    ours._text_device = torch.device("cuda")
    assert ours.offload_text()
    assert moved == [("clip", "cpu"), ("t5", "cpu")]


def refused(name, source, **facts):
    with pytest.raises(Unavailable) as caught:
        networks.load_networks(BY_NAME[name], source, **{"agreed": True} | facts)
    assert caught.value.param == "engine"
    return caught.value.message


def test_without_the_extra_one_sentence_says_how_to_install_it(folders, monkeypatch):
    """A missing package is a missing extra."""
    monkeypatch.setattr(weights, "find_spec", lambda name: None if name == "diffusers" else object())
    message = refused("flux2-klein-4b", folders["flux2-klein-4b"])
    assert message == "The flux engine is not installed: pip install 'fluxvision[flux]'."


@pytest.mark.parametrize("source", ["black-forest-labs/FLUX.2-klein-4B", "/no/such/folder"])
def test_without_weights_one_sentence_says_how_to_fetch_them(source, monkeypatch, tmp_path):
    """Neither a repository that is not in the cache nor a folder that is not there starts a download."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = refused("flux2-klein-4b", source)
    assert message.endswith("are not on this machine: fetch them with `fluxvision weights flux2-klein-4b`.")
    assert str(tmp_path) not in message


def test_a_repository_in_the_cache_of_the_hub_is_found_by_its_revision(folders, monkeypatch, tmp_path):
    """The hub's own cache is read as it lies there."""
    place = tmp_path / "models--black-forest-labs--FLUX.2-klein-4B"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folders["flux2-klein-4b"], place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit, encoding="ascii")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    row = BY_NAME["flux2-klein-4b"]
    for revision in (None, "main", commit):
        assert weights.find_weights(row, row.repo, revision) == place / "snapshots" / commit
    weights.check_weights(row, weights.find_weights(row, row.repo))


def test_only_the_files_that_are_read_are_fetched(monkeypatch, tmp_path):
    """Single-file checkpoints beside the folders are as large again and are not used."""
    asked = {}
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda **facts: asked.update(facts) or str(tmp_path))
    row = BY_NAME["flux1-schnell"]
    assert weights.download_weights(row, revision="v1") == tmp_path
    assert asked["repo_id"] == row.repo
    assert asked["revision"] == "v1"
    assert asked["allow_patterns"] == ["model_index.json", *(f"{name}/*" for name in weights.PARTS["flux1"])]


def test_offline_nothing_is_fetched_and_a_sentence_says_why(monkeypatch, tmp_path):
    """The hub's own offline setting holds."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match="could not be fetched"):
        weights.download_weights(BY_NAME["flux2-klein-4b"])


def test_a_download_that_breaks_off_is_told_in_a_sentence(monkeypatch):
    """The network's own errors do not come through."""

    def breaks_off(**_facts):
        raise httpx2.ReadTimeout("slow")

    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks_off)
    with pytest.raises(Unavailable, match="could not be fetched"):
        weights.download_weights(BY_NAME["flux2-klein-4b"])


MISSING = {
    "model_index.json": "model_index.json",
    "vae/config.json": "vae",
    "text_encoder/model.safetensors": "text_encoder",
    "tokenizer/tokenizer.json": "tokenizer",
    "transformer": "transformer",
}


@pytest.mark.parametrize("gone", MISSING)
def test_a_folder_that_is_not_whole_is_named_by_what_is_missing(gone, folders, tmp_path):
    """A download that was cut off is told from a working one before anything is read."""
    broken = shutil.copytree(folders["flux2-klein-4b"], tmp_path / "broken")
    target = broken / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    message = refused("flux2-klein-4b", broken)
    assert f"incomplete, {MISSING[gone]} is missing" in message
    assert str(tmp_path) not in message


def test_of_weights_in_several_files_all_must_be_there(folders, tmp_path):
    """An index that names a file which is not there makes the part incomplete."""
    broken = shutil.copytree(folders["flux2-klein-4b"], tmp_path / "broken")
    index = {"weight_map": {"a": "diffusion_pytorch_model.safetensors", "b": "another.safetensors"}}
    (broken / "transformer" / "x.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "incomplete, transformer is missing" in refused("flux2-klein-4b", broken)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("flux2-klein-4b", "flux2-klein-base-4b"),
        ("flux2-klein-base-4b", "flux2-klein-4b"),
        ("flux1-dev", "flux1-schnell"),
        ("flux1-schnell", "flux1-dev"),
    ],
)
def test_the_weights_of_another_network_are_refused(name, other, folders):
    """A network without guidance is not taken for one with it, nor the other way round."""
    assert refused(name, folders[other]) == f"The weights are not those of {name}, but another network's."


@pytest.mark.parametrize("facts", [{"device": "abacus"}, {"dtype": "int8"}, {"dtype": "nn"}])
def test_unknown_devices_and_formats_are_refused(facts, folders):
    """A typing mistake in a setting is told as such."""
    with pytest.raises(ValueError, match="There is no"):
        networks.load_networks(BY_NAME["flux2-klein-4b"], folders["flux2-klein-4b"], **facts)

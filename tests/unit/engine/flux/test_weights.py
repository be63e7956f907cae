"""Weights that are damaged, incomplete or another network's are told from good ones by one sentence, before loading."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import asdict, replace

import pytest
from safetensors.torch import load_file, save_file

from fakes.flux_models import make_captioner, make_flux1, make_flux2
from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import loading, networks, weights
from fluxvision.engine.flux.registry import BY_NAME, CAPTIONERS_BY_NAME, FLUX1_12B, KLEIN_4B, TransformerSize

KLEIN, BASE, SCHNELL = (BY_NAME[name] for name in ("flux2-klein-4b", "flux2-klein-base-4b", "flux1-schnell"))
OTHER = "The weights are not those of {}, but another network's."
KLEIN_9B = TransformerSize(8, 24, 32, 128, 12288)
FLUX2_DEV = TransformerSize(8, 48, 48, 128, 15360)
"""What diffusers takes for entries that are not there."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with tiny networks: klein, base and schnell."""
    root = tmp_path_factory.mktemp("weights")
    make_flux2(root / "klein")
    make_flux2(root / "base", cfg=True)
    make_flux1(root / "schnell")
    return root


@pytest.fixture
def copied(made, tmp_path):
    """Return a function that copies one of the networks, to damage it."""
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def change(file, **facts):
    """Change entries of a JSON file; None takes one away."""
    known = json.loads(file.read_text(encoding="utf-8")) | facts
    file.write_text(json.dumps({name: value for name, value in known.items() if value is not None}), encoding="utf-8")


def refused(row, folder):
    """Return the sentence by which weights are refused."""
    with pytest.raises(Unavailable) as caught:
        weights.check_weights(row, folder)
    assert caught.value.param == "engine"
    assert caught.value.message.count(". ") == 0
    return caught.value.message


@pytest.mark.parametrize(("name", "row"), [("klein", KLEIN), ("base", BASE), ("schnell", SCHNELL)])
def test_whole_weights_are_taken(name, row, made):
    """None of the rules refuses what is good."""
    weights.check_weights(row, made / name)


@pytest.mark.parametrize("written", [None, False])
def test_weights_are_distilled_only_where_the_index_says_so(written, copied):
    """The published index of base has no such entry: those weights are base's, and are not loaded as klein's."""
    folder = copied("base")
    change(folder / "model_index.json", is_distilled=written)
    weights.check_weights(BASE, folder)
    assert refused(KLEIN, folder) == OTHER.format(KLEIN.name)


def test_distilled_weights_are_not_taken_for_base(copied):
    """Four steps are not enough for one, and guidance is nothing to the other."""
    assert refused(BASE, copied("klein")) == OTHER.format(BASE.name)


@pytest.mark.parametrize(
    "size",
    [
        KLEIN_9B,
        FLUX2_DEV,
        *(replace(KLEIN_4B, **{name: value + 1}) for name, value in asdict(KLEIN_4B).items()),
        replace(KLEIN_4B, num_single_layers=19),
    ],
)
def test_a_network_of_another_size_is_refused(size, copied):
    """Number of layers and heads, their width and that of prompts: 9B, under another licence, is not loaded as 4B."""
    folder = copied("klein")
    change(folder / "transformer" / "config.json", **asdict(size))
    assert refused(KLEIN, folder) == OTHER.format(KLEIN.name)


def test_sizes_that_are_not_written_are_those_of_diffusers(copied):
    """Which are FLUX.2 [dev]'s."""
    folder = copied("klein")
    change(folder / "transformer" / "config.json", **dict.fromkeys(asdict(KLEIN_4B)))
    assert refused(KLEIN, folder) == OTHER.format(KLEIN.name)


@pytest.mark.parametrize(("row", "size"), [(KLEIN, KLEIN_4B), (SCHNELL, FLUX1_12B)])
def test_the_published_sizes_are_taken(row, size):
    """What the published configurations say is what the rows say."""
    facts = {"_class_name": weights.PARTS[row.architecture]["transformer"][1], "guidance_embeds": False}
    config = {**facts, "in_channels": row.packed_channels, **asdict(size)}
    weights._compare(row, facts["_class_name"], config, {"is_distilled": True})


@pytest.mark.parametrize(("name", "row"), [("klein", KLEIN), ("schnell", SCHNELL)])
def test_another_text_encoder_is_refused(name, row, copied):
    """Its tokens have another width than the transformer takes, which would be an error in the middle of a job."""
    folder = copied(name)
    part, entry, _ = weights.PROMPT_WIDTH[row.architecture]
    change(folder / part / "config.json", **{entry: 4096})
    assert refused(row, folder) == f"The text encoder is not that of {row.name}, but another network's."


TENSORS = {
    ("klein", "text_encoder"): "model.layers.3.mlp.up_proj.weight",
    ("klein", "transformer"): None,
    ("schnell", "text_encoder"): "encoder.layers.1.layer_norm1.bias",
    ("schnell", "text_encoder_2"): "encoder.block.1.layer.0.SelfAttention.k.weight",
}


@pytest.mark.parametrize(("name", "part"), TENSORS)
def test_a_missing_tensor_is_named(name, part, copied):
    """A library would fill it with random numbers and warn at most."""
    folder, row = copied(name), {"klein": KLEIN, "schnell": SCHNELL}[name]
    [file] = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    gone = TENSORS[name, part]
    for key in list(tensors):
        if key.startswith(gone or "single_transformer_blocks."):
            del tensors[key]
    save_file(tensors, file, {"format": "pt"})
    command = f"fetch them again with `fluxvision weights {row.name}`."
    named = gone or "single_transformer_blocks.0"
    assert refused(row, folder) == f"The weights of {row.name} are incomplete, {named} of {part} is missing: {command}"


def test_a_tensor_outside_of_blocks_is_missed_when_it_is_read(copied):
    """What headers do not tell is told by the loader, in the same sentence."""
    folder = copied("klein")
    file = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, {"format": "pt"})
    weights.check_weights(KLEIN, folder)
    with pytest.raises(Unavailable, match=r"incomplete, model\.norm\.weight of text_encoder is missing"):
        networks.load_networks(KLEIN, folder, device="cpu")


def test_loading_misses_nothing_of_whole_weights(made):
    """The head of the text encoder, which is tied and never run, is not missed."""
    for name, row in (("klein", KLEIN), ("schnell", SCHNELL)):
        assert loading.read_parts(row, made / name, loading.torch.float32)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_a_file_that_is_cut_short_is_told(part, share, copied):
    """As a full disk leaves it: by the sizes that its header has."""
    folder = copied("klein")
    [file] = (folder / part).glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    assert f"damaged, a file in {part} is cut short, as by a full disk: fetch" in refused(KLEIN, folder)


def test_a_captioner_that_is_cut_short_is_told(tmp_path):
    """The same for what looks at pictures; the folder's name stays out of the sentence."""
    folder = make_captioner(tmp_path / "private")
    row = CAPTIONERS_BY_NAME["qwen3-vl-2b"]
    weights.check_captioner(row, folder)
    [file] = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Unavailable, match="damaged, a file is cut short") as caught:
        weights.check_captioner(row, folder)
    assert "private" not in caught.value.message


def test_a_tokenizer_needs_its_configuration(copied):
    """Without it another one would be made, with other marks."""
    folder = copied("klein")
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    assert "incomplete, tokenizer/tokenizer_config.json is missing: fetch" in refused(KLEIN, folder)


def test_klein_needs_a_chat_template_wherever_it_lies(copied):
    """In a file of its own or in the configuration; FLUX.1 has none."""
    folder = copied("klein")
    template = folder / "tokenizer" / "chat_template.jinja"
    words = template.read_text(encoding="utf-8")
    template.unlink()
    assert "incomplete, the chat template of tokenizer is missing: fetch" in refused(KLEIN, folder)
    change(folder / "tokenizer" / "tokenizer_config.json", chat_template=words)
    weights.check_weights(KLEIN, folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_while_weights_are_fetched_is_told(number, monkeypatch):
    """Neither the network nor a licence is at fault, and the sentence says how much room is needed."""

    def full(**_facts):
        raise OSError(number, "no room")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(Unavailable) as caught:
        weights.download_weights(KLEIN)
    assert caught.value.message == (
        "The disk has no room for the weights of flux2-klein-4b, which are 16.0 GB: make room, then"
        " `fluxvision weights flux2-klein-4b` goes on where it stopped."
    )

"""Captions come from real models, are words only, and guide together with the user's prompt."""

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fakes.flux_models import make_captioner
from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import captioner as captions
from fluxvision.engine.flux import weights
from fluxvision.engine.flux.caption_text import clean_caption, compose_prompt
from fluxvision.engine.flux.captioner import Captioner, fit_multiples, shrink_for_model
from fluxvision.engine.flux.registry import CAPTIONERS, CAPTIONERS_BY_NAME

NAMES = [row.name for row in CAPTIONERS if row.entry]


def picture(rows=90, columns=140, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make_captioner(tmp_path_factory.mktemp("captioner") / name, kind=name) for name in NAMES}


@pytest.fixture(scope="module")
def qwen(folders):
    return captions.load_captioner(CAPTIONERS[0], folders[CAPTIONERS[0].name])


class Saying:
    """A model that says what it is told to, and keeps what it was shown."""

    def __init__(self, said="A cat on a mat.") -> None:
        """Say this."""
        self.said, self.seen, self.asked = said, [], []

    def shown(self, rows, columns):
        """Return a size for the picture."""
        return fit_multiples(rows, columns, 64)

    def describe(self, shown, words):
        """Return the words, once for each picture."""
        self.asked.append(len(shown))
        self.seen += [(one.shape, words) for one in shown]
        return [self.said] * len(shown)

    def to(self, device):
        """Move nowhere."""


@pytest.mark.parametrize("name", NAMES)
def test_a_real_model_says_something_and_always_the_same(name, folders):
    """From a folder as transformers saves it to one line of bounded length, twice equal."""
    first, second = (captions.load_captioner(name, folders[name]).caption(picture(), 6) for _ in range(2))
    assert first == second
    assert "\n" not in first
    assert len(first.split()) <= 6
    assert len(first) <= 6 * 12 + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_real_model_sees_the_picture(name, folders):
    """What the model reckons depends on the pixels that it is shown."""
    sight = captions.load_captioner(name, folders[name])._sight
    size = sight.shown(90, 140)
    outcomes = []
    for shade in (1, 8):
        asked = sight._asked(shrink_for_model(picture() // shade, *size), 4)
        if sight.model.config.is_encoder_decoder:
            asked["decoder_input_ids"] = torch.tensor([[2]])
        with torch.inference_mode():
            outcomes.append(sight.model(**asked).logits[0, -1])
    assert not torch.allclose(*outcomes, atol=1e-6)


def test_patches_are_those_of_the_preparation_in_transformers(qwen):
    """Qwen3-VL's own preparation by Pillow, given the same pixels, gives the same numbers in the same order."""
    facts = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    theirs = Qwen2VLImageProcessorPil(**facts, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    shown = picture(64, 96)
    expected = theirs(shown, do_resize=False, return_tensors="pt")
    sight = qwen._sight
    patches, rows, columns = sight._patches(sight._normalised(shrink_for_model(shown, 64, 96)))
    assert [1, rows, columns] == expected["image_grid_thw"][0].tolist()
    torch.testing.assert_close(patches, expected["pixel_values"], atol=1e-5, rtol=0)


def test_sizes_shown_are_whole_tokens_of_bounded_sides(qwen):
    """Any shape of picture, however small or long."""
    for rows, columns in ((1, 1), (40, 60), (3000, 2000), (20000, 500), (768, 768), (300, 1)):
        high, wide = qwen._sight.shown(rows, columns)
        assert high % 32 == wide % 32 == 0
        assert min(high, wide) >= 32
        assert max(high, wide) <= 768
    assert qwen._sight.shown(3000, 2000) == (768, 512)
    assert min(qwen._sight.shown(40, 60)) >= 192, "small pictures are shown larger"


def test_a_picture_is_reduced_without_a_copy_in_floats():
    """Its mean stays, a flat one stays flat, and views are taken as they are."""
    flat = np.full((300, 500, 3), 200, np.uint8)
    assert np.allclose(shrink_for_model(flat, 32, 64), 200 / 255, atol=1e-6)
    large = picture(400, 600)[::-1, ::2]
    small = shrink_for_model(large, 40, 30)
    assert small.shape == (3, 40, 30)
    assert small.dtype == np.float32
    assert np.allclose(small.mean(axis=(1, 2)), large.mean(axis=(0, 1)) / 255, atol=0.01)


def test_a_picture_seen_before_is_not_looked_at_again():
    """Captions are kept by pixels and length, wherever the pixels lie."""
    model = Saying()
    captioner = Captioner(CAPTIONERS[0], model)
    first = picture()
    for shown in (first, first.copy(), np.asfortranarray(first)):
        assert captioner.caption(shown) == "A cat on a mat."
    assert len(model.seen) == 1
    captioner.caption(first, 10)
    captioner.caption(picture(seed=1))
    captioner.caption(first.transpose(1, 0, 2))
    assert len(model.seen) == 4


@pytest.mark.parametrize("name", NAMES)
def test_pictures_asked_about_together_are_answered_as_alone(name, folders):
    """A batch of tiles is one call of the model, and each gets the caption that it gets by itself."""
    together, alone = (captions.load_captioner(name, folders[name]) for _ in range(2))
    pictures = [picture(seed=seed) for seed in range(3)]
    found = together.captions(pictures, 5, 128)
    assert found == [alone.captions([one], 5, 128)[0] for one in pictures]


def test_only_unseen_tiles_are_asked_about():
    """What was seen before, or twice in a batch, is asked about once; tiles are shown small."""
    model = Saying()
    captioner = Captioner(CAPTIONERS[0], model)
    captioner.captions([picture(seed=0)])
    assert captioner.captions([picture(seed=seed) for seed in (0, 1, 1, 2)], side=32) == ["A cat on a mat."] * 4
    captioner.captions([picture(seed=seed) for seed in (2, 3)], side=32)
    assert model.asked == [1, 3, 1], "another size is another question"
    assert max(model.seen[-1][0][1:]) == 32


def test_few_captions_are_kept(monkeypatch):
    """The oldest goes when there are too many."""
    monkeypatch.setattr(captions, "KEPT", 2)
    model = Saying()
    captioner = Captioner(CAPTIONERS[0], model)
    for seed in (0, 1, 0, 2, 0, 1):
        captioner.caption(picture(seed=seed))
    assert len(model.seen) == 4
    captioner.close()
    assert captioner.caption(picture()) == ""


def test_the_row_none_says_nothing_and_needs_nothing(monkeypatch):
    """Without a captioner there is no caption, and no extra is needed."""
    monkeypatch.setattr(weights, "find_spec", lambda _name: None)
    captioner = captions.load_captioner(CAPTIONERS_BY_NAME["none"])
    assert captioner.caption(picture()) == ""
    captioner.to("cpu")
    captioner.close()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), picture(0, 4)])
def test_what_is_no_picture_is_refused(wrong):
    """Shape and numbers are those that are told."""
    with pytest.raises(ValueError, match="uint8"):
        Captioner(CAPTIONERS[0], Saying()).caption(wrong)


SAID = {
    "The image shows a red fox in the snow.": "A red fox in the snow.",
    "This picture is a photograph of a harbour.": "A photograph of a harbour.",
    "A blurry photograph of an\nold\tman.": "A photograph of an old man.",
    "An unsharp, noisy photograph of a dog.": "A photograph of a dog.",
    "A slightly blurred image of a lake.": "An image of a lake.",
    "A low-resolution oil painting.": "An oil painting.",
    "A street at night, with visible compression artifacts, lit by lamps.": "A street at night, lit by lamps.",
    "A cat. The image quality is poor. It sits on a chair.": "A cat. It sits on a chair.",
    "A shop with a sign “Blurry & Noisy”.": "A shop with a sign “Blurry & Noisy”.",
    'A poster reads "JPEG artifacts, 4K".': 'A poster reads "JPEG artifacts, 4K".',
    "A rose, its leaves out of focus.": "A rose, its leaves out of focus.",
    "The photograph is very blurry. It shows a car.": "It shows a car.",
    "A square that is dark and noisy.": "A square that is dark.",
    "The image quality is poor. The picture shows a kite.": "A kite.",
    "A cat. With visible pixels, it sits.": "A cat. It sits.",
    "The scenery is green.": "The scenery is green.",
    "Pixel art of a knight.": "Pixel art of a knight.",
    "<|im_start|>A tree\x00 in rain.<|im_end|>": "A tree in rain.",
    "   ": "",
}


@pytest.mark.parametrize("said", SAID)
def test_remarks_on_the_pictures_flaws_are_taken_out(said):
    """A network that reads of blur makes blur; quoted text is kept as it is read."""
    assert clean_caption(said, 80) == SAID[said]


def test_a_long_answer_is_cut_at_a_sentence_where_one_ends_late():
    """Not more words than asked for, and a full stop at the end."""
    assert clean_caption("One two three four. Five six seven.", 6) == "One two three four."
    assert clean_caption("One. Two three four five six seven, eight nine.", 7) == "One. Two three four five six seven."
    assert len(clean_caption("x" * 5000, 10)) <= 121


def test_the_prompt_comes_first():
    """The user's words are the last to be lost where a text is too long."""
    assert compose_prompt("A cat on a mat.", "soft fur") == "soft fur. A cat on a mat."
    assert compose_prompt("A cat.", "more fur!\n ") == "more fur! A cat."
    assert compose_prompt("", "soft fur") == "soft fur"
    assert compose_prompt("A cat.", " ") == "A cat."
    assert compose_prompt("A cat.", "A cat.") == "A cat."
    assert compose_prompt("", "") == ""


def test_what_is_missing_is_one_sentence(folders, tmp_path, monkeypatch):
    """The extra, the weights and an unknown name."""
    row = CAPTIONERS[0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match="not on this machine: fetch them with `fluxvision weights qwen3-vl-2b`"):
        captions.load_captioner(row)
    with pytest.raises(Unavailable, match=r"incomplete, config\.json is missing"):
        captions.load_captioner(row, tmp_path)
    with pytest.raises(Unavailable, match="no captioner parrot"):
        captions.load_captioner("parrot")
    monkeypatch.setattr(weights, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match="pip install"):
        captions.load_captioner(row, folders[row.name])

"""The vision-language models of the captioner: Qwen3-VL, Florence-2 and SmolVLM2, each with its own input format.

The pictures are prepared here, because transformers' own preparation needs torchvision for some of these models.
Decoding is greedy, so the same picture gets the same caption. Only safetensors are read, and no code from the folder.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fluxvision.engine.flux.caption_text import RECIPE
from fluxvision.engine.flux.captioner import fit_multiples
from fluxvision.engine.flux.loading import pick_device, pick_dtype, silence_loaders
from fluxvision.engine.flux.registry import CaptionerRow
from fluxvision.engine.resample import Array

TOKENS_PER_WORD = 1.5
"""Most tokens of an answer for each word; English has 1.3 tokens per word."""


class LoadedVisionModel(ABC):
    """A tokenizer and a model. The subclasses prepare the input."""

    kind: ClassVar[str] = ""
    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    deviation: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)

    def __init__(self, row: CaptionerRow, folder: Path, device: str, dtype: str) -> None:
        """Read the model from a complete folder."""
        self._device = pick_device(device)
        transformers = import_module("transformers")
        with silence_loaders():
            wanted = {"local_files_only": True}
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder), **wanted)
            self.model: Any = getattr(transformers, self.kind).from_pretrained(
                str(folder), dtype=pick_dtype(dtype, self._device), use_safetensors=True, **wanted
            )
        self.model.eval().requires_grad_(False).to(self._device)
        self.row = row
        ends = self.model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [self.tokenizer.eos_token_id])
        facts = {"do_sample": False, "num_beams": 1, "eos_token_id": ends, "pad_token_id": ends[0]}
        started = self.model.generation_config.decoder_start_token_id
        self._greedy = facts if started is None else facts | {"decoder_start_token_id": started}
        found = self._prepared(folder)
        self._mean = torch.tensor(found.get("image_mean", self.mean))[:, None, None]
        self._deviation = torch.tensor(found.get("image_std", self.deviation))[:, None, None]

    def to(self, device: str) -> None:
        """Move the model to a device."""
        self._device = pick_device(device)
        self.model.to(self._device)

    def shown(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the size to which a picture of this size is resampled."""
        return fit_multiples(rows, columns, self.row.side)

    @torch.inference_mode()
    def describe(self, pictures: Sequence[Array], words: int) -> list[str]:
        """Return the model's unchanged answers. All pictures have one size and get the same question."""
        each = [self._asked(picture, words) for picture in pictures]
        asked = {name: torch.cat([one[name] for one in each]).to(self._device) for name in each[0]}
        asked["pixel_values"] = asked["pixel_values"].to(self.model.dtype)
        settings = import_module("transformers").GenerationConfig(
            **self._greedy, max_new_tokens=ceil(words * TOKENS_PER_WORD)
        )
        made = self.model.generate(**asked, generation_config=settings)
        if not self.model.config.is_encoder_decoder:
            made = made[:, asked["input_ids"].shape[1] :]
        return [str(self.tokenizer.decode(one, skip_special_tokens=True)) for one in made]

    @abstractmethod
    def _asked(self, picture: Array, words: int) -> dict[str, Tensor]:
        """Return the model's input: the question's tokens and the picture, joined along the first axis."""

    def _normalised(self, picture: Array) -> Tensor:
        return (torch.from_numpy(picture) - self._mean) / self._deviation

    def _tokens(self, text: str) -> dict[str, Tensor]:
        ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _prepared(self, folder: Path) -> dict[str, Any]:
        """Return the settings in the folder for the preparation of pictures."""
        try:
            found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        except OSError:
            return {}
        return dict(found)


class Qwen3VL(LoadedVisionModel):
    """Qwen3-VL: any aspect ratio, in patches of 16 pixels, of which 2 × 2 become one token."""

    kind = "Qwen3VLForConditionalGeneration"
    LEAST = 256 * 256
    """Fewest pixels of a picture that the model gets."""

    def shown(self, rows: int, columns: int) -> tuple[int, int]:
        """Return sides that are multiples of a token."""
        facts = self.model.config.vision_config
        return fit_multiples(rows, columns, self.row.side, facts.patch_size * facts.spatial_merge_size, self.LEAST)

    def _asked(self, picture: Array, words: int) -> dict[str, Tensor]:
        facts = self.model.config.vision_config
        patches, rows, columns = self._patches(self._normalised(picture))
        pads = "<|image_pad|>" * (rows * columns // facts.spatial_merge_size**2)
        asked = self._tokens(
            f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{RECIPE.format(words=words)}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        return asked | {
            "mm_token_type_ids": (asked["input_ids"] == self.model.config.image_token_id).int(),
            "pixel_values": patches,
            "image_grid_thw": torch.tensor([[1, rows, columns]]),
        }

    def _patches(self, picture: Tensor) -> tuple[Tensor, int, int]:
        """Cut (3, H, W) into patches, the four of a token together, each twice as if from two video frames."""
        facts = self.model.config.vision_config
        side, merge, frames = facts.patch_size, facts.spatial_merge_size, facts.temporal_patch_size
        _, height, width = picture.shape
        rows, columns = height // side, width // side
        cut = picture.reshape(-1, rows // merge, merge, side, columns // merge, merge, side)
        cut = cut.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
        cut = cut.expand(-1, -1, -1, -1, -1, frames, -1, -1)
        return cut.reshape(rows * columns, -1), rows, columns


class Florence2(LoadedVisionModel):
    """Florence-2: a square of 768 pixels and a fixed question; the model decides the answer's length."""

    kind = "Florence2ForConditionalGeneration"
    mean = (0.485, 0.456, 0.406)
    deviation = (0.229, 0.224, 0.225)
    CELL = 32
    """Pixels per side that become one token."""

    def shown(self, _rows: int, _columns: int) -> tuple[int, int]:
        """Return a square, for any aspect ratio."""
        return self.row.side, self.row.side

    def _asked(self, picture: Array, _words: int) -> dict[str, Tensor]:
        ids = self.tokenizer.encode("Describe with a paragraph what is shown in the image.", add_special_tokens=False)
        pads = [self.model.config.image_token_id] * ((self.row.side // self.CELL) ** 2 + 1)
        asked = torch.tensor([[*pads, self.tokenizer.bos_token_id, *ids, self.tokenizer.eos_token_id]])
        return {
            "input_ids": asked,
            "attention_mask": torch.ones_like(asked),
            "pixel_values": self._normalised(picture)[None],
        }


class SmolVLM2(LoadedVisionModel):
    """SmolVLM2: one square, the rest of which is marked as padding."""

    kind = "SmolVLMForConditionalGeneration"

    def _asked(self, picture: Array, words: int) -> dict[str, Tensor]:
        side = int(self.model.config.vision_config.image_size)
        _, rows, columns = picture.shape
        square = torch.zeros(1, 1, 3, side, side)
        square[..., :rows, :columns] = self._normalised(picture)
        filled = torch.zeros(1, 1, side, side, dtype=torch.bool)
        filled[..., :rows, :columns] = True
        pads = "<image>" * self.model.model.image_seq_len
        fence = "<fake_token_around_image>"
        asked = self._tokens(
            f"<|im_start|>User:{fence}<global-img>{pads}{fence}{RECIPE.format(words=words)}<end_of_utterance>\nAssistant:"
        )
        return asked | {"pixel_values": square, "pixel_attention_mask": filled}

    def shown(self, rows: int, columns: int) -> tuple[int, int]:
        """Return a size within the square."""
        return fit_multiples(rows, columns, int(self.model.config.vision_config.image_size))

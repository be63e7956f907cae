"""Tiny networks of the real architectures with random weights, in the folders and files of the real ones.

Each is made from a seed in about a second and takes a megabyte or less.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    Flux2Transformer2DModel,
    FluxControlNetModel,
    FluxTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    RobertaTokenizer,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WIDTH = 16
"""Features of the text encoders."""
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
AUTOENCODER = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 64,
}


def qwen_tokenizer():
    """Return a tokenizer of Qwen's kind that knows the 256 bytes and its marks."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*letters, *MARKS])}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(MARKS[1:]), chat_template=CHAT)


def clip_tokenizer():
    """Return a tokenizer of CLIP's kind that knows the 256 bytes, in a word and at its end."""
    letters = sorted(ByteLevel.alphabet())
    known = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(known)}, merges=[], model_max_length=77, pad_token=known[-1]
    )


def t5_tokenizer():
    """Return a tokenizer of T5's kind that knows the letters of ASCII."""
    known = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    known += [(chr(code), -3.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=known, extra_ids=0)


def save(folder, index, **parts):
    """Write parts into their sub-folders and the index of the whole."""
    folder = Path(folder)
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    kinds = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index | kinds), encoding="utf-8")
    return folder


def stir(model, scale=0.3):
    """Give every number that starts at nought or one a random one, so that nothing cancels out by chance."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.unique().numel() == 1:
                weight.add_(torch.randn_like(weight) * scale)
    return model


def make_flux2(folder, *, cfg=False, seed=0):
    """Make FLUX.2 [klein] in a folder, the undistilled one where `cfg`; return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = Flux2Transformer2DModel(
            in_channels=128,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * WIDTH,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        )
        vae = AutoencoderKLFlux2(**AUTOENCODER, latent_channels=32)
        vae.bn.running_mean.normal_(0, 0.2)
        vae.bn.running_var.uniform_(0.5, 2)
        tokenizer = qwen_tokenizer()
        text = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=30,  # the 27th is the last that is used
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                tie_word_embeddings=True,
            )
        )
        index = {"_class_name": "Flux2KleinPipeline", "_diffusers_version": "0.42.1", "is_distilled": not cfg}
        return save(
            folder,
            index,
            transformer=stir(transformer),
            vae=stir(vae),
            text_encoder=stir(text),
            tokenizer=tokenizer,
        )


def make_flux1(folder, *, dev=False, seed=0):
    """Make FLUX.1 [schnell] in a folder, [dev] where `dev`; return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
            guidance_embeds=dev,
        )
        vae = AutoencoderKL(**AUTOENCODER, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159)
        tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
        clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        t5 = T5EncoderModel(
            T5Config(vocab_size=len(tokenizer_2), d_model=WIDTH, d_kv=8, d_ff=2 * WIDTH, num_layers=2, num_heads=2)
        )
        return save(
            folder,
            {"_class_name": "FluxPipeline", "_diffusers_version": "0.42.1"},
            transformer=stir(transformer),
            vae=stir(vae),
            text_encoder=stir(clip),
            text_encoder_2=stir(t5),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
        )


def make_control(folder, *, seed=1, **facts):
    """Make a tile ControlNet for the tiny FLUX.1 in a folder; return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = {
            "num_layers": 1,
            "num_single_layers": 0,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": WIDTH,
            "pooled_projection_dim": WIDTH,
            "axes_dims_rope": (4, 6, 6),
            "guidance_embeds": True,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what diffusers itself calls
            model = FluxControlNetModel(**shape | facts)
        stir(model).save_pretrained(folder)
    return Path(folder)


def make_captioner(folder, *, kind="qwen3-vl-2b", seed=0):
    """Make a captioner in a folder, as transformers saves it; return the folder."""
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, tokenizer = SEERS[kind]()
        stir(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen3_vl():
    """Return Qwen3-VL and its tokenizer."""
    tokenizer = qwen_tokenizer()
    marks = dict(zip(MARKS, tokenizer.convert_tokens_to_ids(list(MARKS)), strict=True))
    model = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            vision_config={
                "depth": 2,
                "hidden_size": 2 * WIDTH,
                "intermediate_size": 2 * WIDTH,
                "num_heads": 2,
                "out_hidden_size": 2 * WIDTH,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": 2 * WIDTH,
                "intermediate_size": 2 * WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
            },
            image_token_id=marks["<|image_pad|>"],
            vision_start_token_id=marks["<|vision_start|>"],
            vision_end_token_id=marks["<|vision_end|>"],
        )
    )
    model.generation_config.eos_token_id = [marks["<|im_end|>"], marks["<|endoftext|>"]]
    return model, tokenizer


def florence2():
    """Return Florence-2 and its tokenizer, which is of BART's kind."""
    letters = sorted(ByteLevel.alphabet())
    known = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "<image>"]
    tokenizer = RobertaTokenizer(
        vocab={token: index for index, token in enumerate(known)}, merges=[], extra_special_tokens=["<image>"]
    )
    model = Florence2ForConditionalGeneration(
        Florence2Config(
            vision_config={
                "depths": [1, 1, 1, 1],
                "embed_dim": [8, 8, 16, 16],
                "num_heads": [1, 1, 2, 2],
                "num_groups": [1, 1, 2, 2],
                "projection_dim": WIDTH,
            },
            text_config={
                "model_type": "bart",
                "vocab_size": len(known),
                "d_model": WIDTH,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 2 * WIDTH,
                "decoder_ffn_dim": 2 * WIDTH,
            },
            image_token_id=len(known) - 1,
        )
    )
    model.generation_config.decoder_start_token_id = 2
    model.generation_config.eos_token_id = 2
    return model, tokenizer


def smolvlm2():
    """Return SmolVLM2 and its tokenizer."""
    marks = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    letters = sorted(ByteLevel.alphabet())
    known = [*letters, "<|endoftext|>", "<|im_start|>", *marks]
    vocabulary = {token: index for index, token in enumerate(known)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(known[-5:]))
    model = SmolVLMForConditionalGeneration(
        SmolVLMConfig(
            vision_config={
                "hidden_size": 2 * WIDTH,
                "intermediate_size": 2 * WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 128,
                "patch_size": 16,
            },
            text_config={
                "model_type": "llama",
                "vocab_size": len(known),
                "hidden_size": 2 * WIDTH,
                "intermediate_size": 2 * WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "pad_token_id": vocabulary["<|endoftext|>"],
            },
            image_token_id=vocabulary["<image>"],
            scale_factor=4,
        )
    )
    model.generation_config.eos_token_id = vocabulary["<end_of_utterance>"]
    return model, tokenizer


SEERS = {"qwen3-vl-2b": qwen3_vl, "florence-2": florence2, "smolvlm2": smolvlm2}
"""Captioner's name → what makes its model and tokenizer."""

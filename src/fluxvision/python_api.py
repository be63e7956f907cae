"""The Python API: `upscale` and `Upscaler` enlarge files, bytes, Pillow images and numpy arrays in this process.

The module is long because the two signatures repeat every parameter, so that editors show them.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar, cast
from uuid import uuid4

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from fluxvision import imaging
from fluxvision.catalog.params import ALIASES
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import ConfigError, InvalidRequest
from fluxvision.core.images import Fidelity, InputImage, ResultImage
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import BY_NAME
from fluxvision.core.types import JobResult, ReceiptEntry
from fluxvision.create_gateway import create_gateway
from fluxvision.gateway.gateway import Gateway

T = TypeVar("T")
Picture = str | Path | bytes | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
"""A path, the bytes of a file, a Pillow image, or an array (rows, columns) or (rows, columns, 1 to 4), 8 or 16 bits."""
ONE = frozenset({"n", "stream", "partial_images", "response_format"})
"""Parameters of the HTTP API that have no meaning for one picture in one process."""
FILE_BYTES = 1 << 40
MOST_BANDS = 4
SIXTEEN = 2**16 - 1
KEPT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
"""Modes of Pillow that PNG has."""
MODEL = "flux-vision-upscaler"


class Upscaled:
    """One finished picture. Its file lives as long as this object does."""

    def __init__(self, result: JobResult, folder: Path) -> None:
        """Wrap the first picture of a result and own `folder`, which has its file."""
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._picture: ResultImage = result.pictures[0]
        self.format: str = self._picture.format
        """png, jpeg, webp, avif, gif or tiff."""
        self.width: int = self._picture.width
        self.height: int = self._picture.height
        self.provider: str = result.provider
        """The provider that made it."""
        self.seed: int | None = self._picture.seed
        self.fidelity: Fidelity | None = self._picture.fidelity
        """How well it agrees with the source; None where that was not measured."""
        self.cost: int | None = result.cost
        """Micro-dollars, None when unknown."""
        self.receipt: tuple[ReceiptEntry, ...] = tuple(result.receipt)
        """How each parameter was handled."""
        self.warnings: tuple[str, ...] = self._picture.warnings
        self.details: Mapping[str, Any] = result.details
        """What the provider says of its work, such as the engine."""

    def save(self, path: str | Path) -> Path:
        """Copy the file to `path`, in the format that was made, and return the path."""
        target = Path(path)
        shutil.copyfile(self._picture.path, target)
        return target

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self._picture.path.read_bytes()

    def to_pil(self) -> Image.Image:
        """Return a Pillow image, decoded. Pillow has no 16-bit colour: that of a 16-bit picture is reduced to 8."""
        image = Image.open(io.BytesIO(self.to_bytes()))
        image.load()
        return image

    def to_numpy(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the samples: (rows, columns) for grey, else (rows, columns, 2 to 4) with alpha last."""
        image = pyvips.Image.new_from_buffer(self.to_bytes(), "")
        return cast("NDArray[np.uint8]", image.numpy())


class Upscaler:
    """Enlarges pictures in this process, with its networks loaded once. Safe for many threads.

    ::

        with Upscaler() as upscaler:
            upscaler.upscale("photo.jpg", scale_factor=4).save("large.png")
    """

    def __init__(self, **settings: Any) -> None:
        """Use the settings of the file and the environment, with those given here on top.

        Raises `ConfigError` for an invalid setting.
        """
        unknown = next((name for name in settings if name not in BY_NAME), None)
        if unknown is not None:
            message = f"There is no setting {unknown}."
            raise ConfigError(message)
        self._settings = load_settings(flags=settings)
        self._limits = imaging.Limits(FILE_BYTES, self._settings.max_input_pixels, self._settings.max_frames)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fluxvision", daemon=True)
        self._thread.start()
        self._closed = False
        try:
            self._gateway: Gateway = self._call(self._create()).result()
        except BaseException:
            self._closed = True
            self._stop_loop()
            raise

    def upscale(
        self,
        image: Picture,
        *,
        mask: Picture | None = None,
        model: str = MODEL,
        progress: Callable[[int, int], None] | None = None,
        **parameters: Any,
    ) -> Upscaled:
        """Enlarge a picture; `parameters` are those of the HTTP API, such as scale_factor, creativity, output_format.

        Only offers that cost nothing are used, unless `max_cost` or a pin in `model` allows others. `progress` gets the
        number of finished tiles and of all tiles, in other threads.

        Raises `InvalidRequest` naming the parameter, `ModelNotFound`, and the errors of providers.
        """
        future = self._start(image, mask, model, progress, parameters)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def upscale_async(
        self,
        image: Picture,
        *,
        mask: Picture | None = None,
        model: str = MODEL,
        progress: Callable[[int, int], None] | None = None,
        **parameters: Any,
    ) -> Upscaled:
        """Do the same as `upscale` from any event loop; cancelling the task stops the work."""
        return await asyncio.wrap_future(self._start(image, mask, model, progress, parameters))

    def close(self) -> None:
        """Stop the threads; work that still runs is cancelled."""
        if self._closed:
            return
        self._closed = True
        self._call(self._end()).result()
        self._stop_loop()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the upscaler itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the upscaler itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def _call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _create(self) -> Gateway:
        return create_gateway(self._settings)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._gateway.aclose()

    def _start(
        self,
        image: Picture,
        mask: Picture | None,
        model: str,
        progress: Callable[[int, int], None] | None,
        parameters: Mapping[str, Any],
    ) -> Future[Upscaled]:
        if self._closed:
            raise RuntimeError("This Upscaler is closed.")
        for name in parameters:
            if ALIASES.get(name, name) in ONE:
                message = f"{name}: a call makes one picture and returns it; call again for another."
                raise InvalidRequest(message, param=name)
        return self._call(self._make(image, mask, model, progress, parameters))

    async def _make(
        self,
        image: Picture,
        mask: Picture | None,
        model: str,
        progress: Callable[[int, int], None] | None,
        parameters: Mapping[str, Any],
    ) -> Upscaled:
        callbacks = JobCallbacks() if progress is None else JobCallbacks(progress=progress)
        fields = dict(parameters)
        _, pin, _ = self._gateway.find(model)
        if pin is None:
            fields.setdefault("max_cost", 0)
        folder = Path(tempfile.mkdtemp(prefix="fluxvision-"))
        try:
            source = await asyncio.to_thread(_read, image, folder, self._limits, "image")
            area = None if mask is None else await asyncio.to_thread(_read, mask, folder, self._limits, "mask")
            job = self._gateway.admit(model, fields, source, area, uuid4().hex)
            report = await self._gateway.prepare(job).run(callbacks, folder)
            return Upscaled(report.unwrap(), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def upscale(image: Picture, *, mask: Picture | None = None, model: str = MODEL, **parameters: Any) -> Upscaled:
    """Enlarge one picture with an `Upscaler` that is made at the first call and kept; see `Upscaler.upscale`."""
    return _shared().upscale(image, mask=mask, model=model, **parameters)


_LOCK = threading.Lock()
_KEPT: list[Upscaler] = []


def _shared() -> Upscaler:
    with _LOCK:
        if not _KEPT:
            _KEPT.append(Upscaler())
        return _KEPT[0]


def _read(picture: Picture, folder: Path, limits: imaging.Limits, param: str) -> InputImage:
    """Return a picture of any accepted kind with its header read; raises `InvalidRequest` naming `param`."""
    if isinstance(picture, str | Path):
        path = Path(picture)
        if not path.is_file():
            message = f"{param}: there is no file of this name."
            raise InvalidRequest(message, param=param)
        return imaging.probe(path, limits, param)
    path = folder / uuid4().hex
    if isinstance(picture, bytes | bytearray | memoryview):
        return imaging.probe(path, limits, param, bytes(picture))
    if isinstance(picture, np.ndarray):
        path.write_bytes(_encode_array(picture, param))
    elif isinstance(picture, Image.Image):
        path.write_bytes(_encode_pil(picture, param))
    else:
        message = f"{param}: send a path, bytes, a Pillow image or a numpy array, not {type(picture).__name__}."
        raise InvalidRequest(message, param=param)
    return imaging.probe(path, limits, param)


def _encode_array(samples: NDArray[Any], param: str) -> bytes:
    bands = samples.shape[2] if samples.ndim == 3 else 1  # noqa: PLR2004, rows, columns, bands
    shaped = samples.ndim in {2, 3} and 1 <= bands <= MOST_BANDS and samples.size > 0
    if not shaped or samples.dtype not in (np.uint8, np.uint16):
        message = (
            f"{param}: an array is (rows, columns) or (rows, columns, 1 to 4) of uint8 or uint16, "
            f"not {samples.shape} of {samples.dtype}."
        )
        raise InvalidRequest(message, param=param)
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
    wide = samples.dtype == np.uint16
    grey = bands < 3  # noqa: PLR2004, colours
    interpretation = ("grey16" if grey else "rgb16") if wide else ("b-w" if grey else "srgb")
    return cast("bytes", image.copy(interpretation=interpretation).pngsave_buffer(compression=1))


def _encode_pil(image: Image.Image, param: str) -> bytes:
    if image.mode.startswith("I"):  # 16 bits, in 16 or 32
        return _encode_array(np.asarray(image).clip(0, SIXTEEN).astype(np.uint16), param)
    if image.mode == "F":
        message = f"{param}: a Pillow image of mode F has no known range; send an array of uint8 or uint16."
        raise InvalidRequest(message, param=param)
    profile = image.info.get("icc_profile")
    if image.mode not in KEPT_MODES:
        image, profile = image.convert("RGBA" if image.mode == "RGBa" else "RGB"), None  # it was that of the other mode
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, icc_profile=profile)
    return file.getvalue()

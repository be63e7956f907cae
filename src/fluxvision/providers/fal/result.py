"""Reads the result of a fal.ai job: downloads its picture and refuses black ones. Errors are billed: it is paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxvision.core import formats
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import Error, InvalidRequest, PolicyRefused, UpstreamError, UpstreamRefused
from fluxvision.core.images import InputImage
from fluxvision.core.system import delete_file
from fluxvision.core.types import ProviderResult
from fluxvision.imaging import load
from fluxvision.imaging.load import translate_read_errors
from fluxvision.net.ssrf_guard import Guard
from fluxvision.providers import result_file
from fluxvision.providers.fal.billing import reported_seconds

DARK, SEEN = 1, 16
"""Brightest sample (0 to 255) of a black picture, and of one that is certainly not black."""
FLAT, HEADERS = 0.1, 4096
"""Largest file of a black picture: bytes per pixel, plus bytes of headers."""
HUGE = 1e18
WIDEST = 4
"""Most bytes of a file per allowed pixel."""


@dataclass(frozen=True, slots=True)
class Results:
    """Downloads pictures of at most `pixels` from addresses that `guard` allows, `patience` seconds per attempt."""

    guard: Guard
    pixels: int
    patience: float
    pause: float

    async def outcome(
        self, source: InputImage, status: Mapping[str, Any], answer: Mapping[str, Any], folder: Path
    ) -> ProviderResult:
        """Return the result, with its picture as a new file in `folder`; errors are billed and leave no file."""
        spent = reported_seconds(status)
        try:
            path = await self._picture(source, answer, folder)
        except Error as error:
            error.billed, error.seconds = True, spent
            raise
        seed, caption = answer.get("seed"), answer.get("caption")
        return ProviderResult(
            path,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            caption=caption if isinstance(caption, str) else None,
            timings=_read_seed(answer.get("timings")),
            seconds=spent,
        )

    async def _picture(self, source: InputImage, answer: Mapping[str, Any], folder: Path) -> Path:
        flags = answer.get("has_nsfw_concepts")
        if flags is True or (isinstance(flags, list) and any(flag is True for flag in flags)):
            raise PolicyRefused("fal.ai's content policy forbids this picture.")
        reference = _image_reference(answer)
        if reference is None:
            raise UpstreamError("fal.ai says that it is done, and sent no picture.")
        limit = WIDEST * self.pixels
        path = await result_file.fetch_result(
            reference,
            folder,
            guard=self.guard,
            limit=limit,
            patience=self.patience,
            pixels=self.pixels,
            pause=self.pause,
        )
        try:
            await run_in_thread(_refuse_black, path, source, limit, self.pixels)
        except BaseException:
            delete_file(path)
            raise
        return path


def _image_reference(answer: Mapping[str, Any]) -> str | None:
    """Return the URL or data URI of a result's first picture, None when there is none."""
    images = answer.get("images")
    for found in (answer.get("image"), *(images[:1] if isinstance(images, list) else ())):
        url = found.get("url") if isinstance(found, dict) else found
        if isinstance(url, str) and url:
            return url
    return None


def _read_seed(found: Any) -> dict[str, float]:
    """Return the numbers in an object that have a plausible size."""
    pairs = found.items() if isinstance(found, dict) else ()
    numbers = ((name, number) for name, number in pairs if isinstance(number, int | float) and type(number) is not bool)
    return {name: float(number) for name, number in numbers if abs(number) < HUGE}


def _refuse_black(path: Path, source: InputImage, limit: int, pixels: int) -> None:
    """Raise `UpstreamRefused` for an entirely black picture whose source is not black."""
    made = result_file.probe_result(path, limit=limit, pixels=pixels)
    if made.size > FLAT * made.width * made.height + HEADERS:
        return  # a black picture is smaller
    brightest = _brightest(made)
    if brightest is None:
        raise UpstreamError("The provider's picture is damaged.")
    if brightest <= DARK and (_brightest(source) or 0.0) > SEEN:
        raise UpstreamRefused("fal.ai sent a black picture, as it does for what it will not show.")


def _brightest(source: InputImage) -> float | None:
    """Return the largest colour sample of a picture (0 to 255), None when it is damaged."""
    row = formats.find_format(source.format)
    try:
        with translate_read_errors(row, "image"):
            image = load.to_working_space(load.open_lazily(source.path, row), source)
            top = float(image.extract_band(0, n=source.channels).max())
    except InvalidRequest:
        return None
    return top / 257 if source.bits == 16 else top  # noqa: PLR2004

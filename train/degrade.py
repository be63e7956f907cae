"""Makes degraded pictures from clean ones, as cameras, phones and web sites do, and measures them as the engine does.

After Real-ESRGAN (X. Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
2021): blur, resizing, noise and JPEG, some of it twice. Sizes are in pixels of the degraded picture. Noise is white,
shot or blotchy: the last is what a phone's processor leaves, patches of 2 to 4 pixels and mostly of colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fluxvision.engine.source_analysis import analyse_source

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

WEIGHTS = np.array([0.299, 0.587, 0.114])
UNTOUCHED, BLURRED, RESIZED, NOISY, SHOT, BLOTCHY, COMPRESSED, TWICE = 0.06, 0.4, 0.2, 0.75, 0.3, 0.4, 0.75, 0.15
"""How often each happens."""
MOST_BLUR, LEAST_NOISE, MOST_NOISE = 1.2, 1.5, 28.0
QUALITIES = (30, 95)
MISSED = 0.25
"""How often noise that the engine's analysis does not find in the crop is not told either: in a larger picture it is
found more often."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A clean picture, what became of it, and what the network is told about that."""

    clean: Bytes
    degraded: Bytes
    condition: tuple[float, float]
    """Noise (sigma of luma / 255) and compression ((100 - JPEG quality) / 100)."""


def degrade(clean: Bytes, generator: np.random.Generator) -> Sample:
    """Degrade a picture (rows, columns, 3)."""
    if generator.random() < UNTOUCHED:
        return Sample(clean, clean, (0.0, 0.0))
    picture, quality = clean.astype(np.float64), 100
    added = 0.0
    for order in range(1 + (generator.random() < TWICE)):
        if generator.random() < (BLURRED if order == 0 else BLURRED / 2):
            width = generator.uniform(0.2, MOST_BLUR / (1 + order))
            picture = ndimage.gaussian_filter(picture, (width, width, 0), mode="mirror")
        if generator.random() < RESIZED:
            picture = _resize_and_back(picture, generator)
        if generator.random() < (NOISY if order == 0 else NOISY / 3):
            grain = random_noise(picture, generator)
            picture, added = picture + grain, float(np.hypot(added, (grain @ WEIGHTS).std()))
        pixels = (picture.clip(0, 255) + 0.5).astype(np.uint8)
        if generator.random() < COMPRESSED:
            quality = int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))
            pixels = compress(pixels, quality, subsampling=2 * int(generator.integers(2)))
        picture = pixels.astype(np.float64)
    noise = analyse_source(pixels, quality).noise or (0.0 if generator.random() < MISSED else added)
    return Sample(clean, pixels, (noise / 255, (100 - quality) / 100))


def compress(pixels: Bytes, quality: int, subsampling: int) -> Bytes:
    """Return a picture after JPEG; `subsampling` is Pillow's: 0 is 4:4:4, 2 is 4:2:0."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _resize_and_back(picture: Floats, generator: np.random.Generator) -> Floats:
    height, width = picture.shape[:2]
    scale = generator.uniform(0.7, 1.6)
    kernels = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
    there, back = (kernels[generator.integers(len(kernels))] for _ in range(2))
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in picture.transpose(2, 0, 1)]
    resized = [plane.resize((round(width * scale), round(height * scale)), there) for plane in planes]
    return np.stack([np.asarray(plane.resize((width, height), back), np.float64) for plane in resized], axis=2)


def random_noise(picture: Floats, generator: np.random.Generator) -> Floats:
    """Return noise for a picture: white, of luma and of colour in some proportion, with or without blotches."""
    sigma = np.exp(generator.uniform(np.log(LEAST_NOISE), np.log(MOST_NOISE)))
    noise = np.zeros_like(picture)
    blotchy, share = generator.random() < BLOTCHY, generator.uniform(0, 1)
    if not blotchy or generator.random() < 0.7:
        noise += generator.normal(0, sigma * np.sqrt(share), (*picture.shape[:2], 1))
        noise += generator.normal(0, sigma * np.sqrt(1 - share), picture.shape)
    if blotchy:
        blotches = random_blotches(picture.shape[:2], generator) * (sigma * generator.uniform(0.3, 1.1))
        grey = blotches @ WEIGHTS
        noise += grey[:, :, None] + (blotches - grey[:, :, None]) * generator.uniform(0.7, 1.6)
    if generator.random() < SHOT:
        noise *= np.sqrt(0.2 + 1.6 * (picture @ WEIGHTS)[:, :, None] / 255)
    return noise


def random_blotches(shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Return noise of unit deviation in patches of 2 to 4 pixels: squares, or smooth."""
    side = int(generator.integers(2, 5))
    if generator.random() < 0.5:
        grains = generator.normal(0, 1, (*(-(-length // side) for length in shape), 3))
        return np.asarray(np.kron(grains, np.ones((side, side, 1))), np.float64)[: shape[0], : shape[1]]
    smooth = ndimage.gaussian_filter(generator.normal(0, 1, (*shape, 3)), (side / 3, side / 3, 0))
    return np.asarray(smooth / smooth.std())


def cuts(sample: Sample, side: int, count: int, generator: np.random.Generator) -> Iterator[Sample]:
    """Yield squares of a sample; what was measured of all of it holds for each."""
    for _ in range(count):
        top, left = (int(generator.integers(length - side + 1)) for length in sample.clean.shape[:2])
        index = slice(top, top + side), slice(left, left + side)
        yield Sample(sample.clean[index], sample.degraded[index], sample.condition)

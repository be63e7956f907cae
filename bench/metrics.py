"""Full-reference and blind picture metrics, on float32 (rows, columns, 3) sRGB arrays in 0..1.

GMSD: W. Xue et al., 2014. NIQE: A. Mittal et al., 2013. LPIPS v0.1 (AlexNet): R. Zhang et al., 2018. SSIM is
scikit-image's.
NIQE and LPIPS read published parameters from files that are no part of this project.
"""

from __future__ import annotations

import pickle
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy import io, ndimage, special
from skimage.metrics import structural_similarity

Array = NDArray[np.float32]
GRAIN_SIDE = 7
SMOOTH, SMOOTH_SHARE = 2, 0.01


def luma(image: Array) -> Array:
    """Return BT.601 luma in 0..1."""
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def psnr(image: Array, wanted: Array) -> float:
    """Return the PSNR over all RGB samples in dB, at most 99."""
    mean = float(np.square(image - wanted).mean(dtype=np.float64))
    return min(99.0, -10 * log10(mean)) if mean > 0 else 99.0


def ssim(image: Array, wanted: Array) -> float:
    """Return the mean SSIM of luma with the original Gaussian window."""
    value = structural_similarity(  # type: ignore[no-untyped-call]
        luma(image), luma(wanted), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def resized(image: Array, width: int, height: int, kernel: Image.Resampling) -> Array:
    """Return a picture resized by Pillow in floats, without rounding."""
    planes = [Image.fromarray(np.ascontiguousarray(image[:, :, band])) for band in range(3)]
    return np.stack([np.asarray(plane.resize((width, height), kernel)) for plane in planes], axis=2)


def low_resolution_psnr(image: Array, source: Array) -> float:
    """Return the PSNR of the picture, reduced to the source's size by an anti-aliased cubic, against the source."""
    height, width = source.shape[:2]
    return psnr(resized(image, width, height, Image.Resampling.BICUBIC), source)


def gmsd(image: Array, wanted: Array) -> float:
    """Return the gradient magnitude similarity deviation (lower is better)."""
    kernel = np.array([[1, 0, -1]] * 3, np.float32) / 3
    magnitudes = []
    for picture in (image, wanted):
        half = ndimage.uniform_filter(luma(picture) * 255, 2)[::2, ::2]
        across, down = ndimage.convolve(half, kernel), ndimage.convolve(half, kernel.T)
        magnitudes.append(np.sqrt(across**2 + down**2))
    first, second = magnitudes
    similarity = (2 * first * second + 170) / (first**2 + second**2 + 170)
    return float(similarity.std())


def local_deviation(image: Array) -> Array:
    """Return the standard deviation of each sample's surroundings, 7 × 7 of the same channel."""
    side = (GRAIN_SIDE, GRAIN_SIDE, 1)
    mean, square = (ndimage.uniform_filter(image.astype(np.float64) ** power, side) for power in (1, 2))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float32)


def grain(image: Array, wanted: Array) -> float:
    """Return by how much local deviation exceeds the truth's where that is smooth, in levels of 255.

    It is the mean over the smooth parts, where the truth's luma deviates by less than two levels; NaN where these are
    less than a hundredth of the picture.
    """
    smooth = local_deviation(luma(wanted)[:, :, None])[:, :, 0] < SMOOTH / 255
    if smooth.mean() < SMOOTH_SHARE:
        return float("nan")
    return float(np.maximum(local_deviation(image) - local_deviation(wanted), 0)[smooth].mean()) * 255


class Niqe:
    """The natural image quality evaluator: distance of a picture's statistics from those of pristine photographs."""

    PATCH = 96
    SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))

    def __init__(self, parameters: Path) -> None:
        """Read `pop_mu` and `pop_cov`, the model of pristine photographs, from a .mat file."""
        model = io.loadmat(str(parameters))
        self._mean, self._covariance = np.ravel(model["pop_mu"]), model["pop_cov"]
        self._alphas = np.arange(0.2, 10.001, 0.001)
        gammas = special.gamma(2 / self._alphas) ** 2
        self._ratios = gammas / (special.gamma(1 / self._alphas) * special.gamma(3 / self._alphas))

    def __call__(self, image: Array) -> float:
        """Return the score (lower is more natural); the picture must have at least two patches of 96 pixels."""
        grey = np.round(luma(image) * 255).astype(np.float64)
        rows, columns = (size // self.PATCH * self.PATCH for size in grey.shape)
        grey = grey[:rows, :columns]
        half = np.asarray(
            Image.fromarray(grey.astype(np.float32)).resize((columns // 2, rows // 2), Image.Resampling.BICUBIC)
        ).astype(np.float64)
        features = np.hstack([self._features(grey, self.PATCH), self._features(half, self.PATCH // 2)])
        features = features[np.isfinite(features).all(axis=1)]
        offset = features.mean(axis=0) - self._mean
        covariance = (self._covariance + np.cov(features.T)) / 2
        return float(np.sqrt(offset @ np.linalg.pinv(covariance) @ offset))

    def _features(self, grey: NDArray[np.float64], patch: int) -> NDArray[np.float64]:
        mean = ndimage.gaussian_filter(grey, 7 / 6, radius=3, mode="constant")
        square = ndimage.gaussian_filter(grey**2, 7 / 6, radius=3, mode="constant")
        normal = (grey - mean) / (np.sqrt(np.abs(square - mean**2)) + 1)
        patches = normal.reshape(normal.shape[0] // patch, patch, -1, patch).swapaxes(1, 2).reshape(-1, patch, patch)
        return np.array([self._of_patch(one) for one in patches])

    def _of_patch(self, patch: NDArray[np.float64]) -> list[float]:
        alpha, left, right = self._fit(patch)
        features = [alpha, (left + right) / 2]
        for shift in self.SHIFTS:
            alpha, left, right = self._fit(patch * np.roll(patch, shift, axis=(0, 1)))
            mean = (right - left) * special.gamma(2 / alpha) / special.gamma(1 / alpha)
            # The published model was fitted with the left scale twice on both diagonals.
            features += [alpha, mean, left, left if all(shift) else right]
        return features

    def _fit(self, values: NDArray[np.float64]) -> tuple[float, float, float]:
        """Fit an asymmetric generalised Gaussian by moments: shape, left scale, right scale."""
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.sqrt(np.square(values[values < 0]).sum() / np.count_nonzero(values < 0))
            right = np.sqrt(np.square(values[values >= 0]).sum() / np.count_nonzero(values >= 0))
            gamma = left / right
            ratio = np.abs(values).mean() ** 2 / (values**2).mean()
            wanted = ratio * (gamma**3 + 1) * (gamma + 1) / (gamma**2 + 1) ** 2
        alpha = self._alphas[np.argmin((self._ratios - wanted) ** 2)]
        scale = np.sqrt(special.gamma(1 / alpha) / special.gamma(3 / alpha))
        return float(alpha), float(left * scale), float(right * scale)


class _Numbers(pickle.Unpickler):
    """Reads numpy arrays in plain containers and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        message = f"{module}.{name} is no array"
        raise pickle.UnpicklingError(message)


def read_arrays(file: Path) -> dict[str, Any]:
    """Return the arrays of a pickle, by the names of networks, layers and parts."""
    with file.open("rb") as opened:
        model = _Numbers(opened).load()
    assert isinstance(model, dict)  # noqa: S101  the file's own format
    return model


class Lpips:
    """Learned perceptual distance on AlexNet features, computed with matrix products."""

    LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
    """Stride, padding and whether a 3 × 3 maximum comes before, by convolution."""

    def __init__(self, weights: Path) -> None:
        """Read `alexnet.ckpt`: a pickle of arrays, kernels as (rows, columns, in, out)."""
        model = read_arrays(weights)
        self._kernels = [
            (model["AlexNet_0"][f"Conv_{index}"]["kernel"], model["AlexNet_0"][f"Conv_{index}"]["bias"])
            for index in range(len(self.LAYERS))
        ]
        self._heads = [
            model[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].reshape(-1) for index in range(len(self.LAYERS))
        ]

    def __call__(self, image: Array, wanted: Array) -> float:
        """Return the distance (lower is better)."""
        return self.distance(self.features(image), self.features(wanted))

    def features(self, image: Array) -> list[Array]:
        """Return the unit-length features of every layer, for reuse with many pictures."""
        shift = np.array([-0.030, -0.088, -0.188], np.float32)
        scale = np.array([0.458, 0.448, 0.450], np.float32)
        here: Array = ((image * 2 - 1 - shift) / scale).astype(np.float32)
        found = []
        for (kernel, bias), (stride, padding, pooled) in zip(self._kernels, self.LAYERS, strict=True):
            if pooled:
                here = sliding_window_view(here, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(3, 4))
            here = np.maximum(_convolve(here, kernel, stride, padding) + bias, 0)
            found.append(here / (np.sqrt(np.square(here).sum(axis=2, keepdims=True)) + np.float32(1e-10)))
        return found

    def distance(self, first: list[Array], second: list[Array]) -> float:
        """Return the distance of two pictures by their features."""
        parts = (
            float((np.square(a - b) @ head).mean(dtype=np.float64))
            for a, b, head in zip(first, second, self._heads, strict=True)
        )
        return sum(parts)


def _convolve(image: Array, kernel: Array, stride: int, padding: int) -> Array:
    rows, columns, into, out = kernel.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(padded, (rows, columns), axis=(0, 1))[::stride, ::stride]
    weights = kernel.transpose(2, 0, 1, 3).reshape(into * rows * columns, out)
    result = np.empty((*windows.shape[:2], out), np.float32)
    for low in range(0, len(windows), 16):
        part = windows[low : low + 16]
        result[low : low + 16] = (part.reshape(-1, into * rows * columns) @ weights).reshape(*part.shape[:2], out)
    return result

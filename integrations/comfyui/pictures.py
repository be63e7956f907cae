"""ComfyUI's pictures, float32 0..1 with channels last, to PNG files and back."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_png(picture: np.ndarray) -> bytes:
    """Return a picture, (rows, columns, channels) float32 0..1, as a PNG file with 8 bits a channel."""
    values = (np.clip(picture, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def to_tensor(encoded: str, channels: int) -> torch.Tensor:
    """Return a picture in base64 as (rows, columns, channels) float32 0..1."""
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        values = np.asarray(picture.convert(MODES[channels]), np.float32) / 255.0
    return torch.from_numpy(values.reshape(*values.shape[:2], channels))

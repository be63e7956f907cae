"""Runs the engine and writes its strips to a raw file; an error leaves no file."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from fluxvision import engine
from fluxvision.core.errors import Unavailable, UpstreamRefused
from fluxvision.core.system import delete_file
from fluxvision.core.types import RawImage


def enlarge_to_raster(request: engine.Request, folder: Path) -> tuple[RawImage, engine.Result]:
    """Run the engine and return the pixels as a new file in `folder`.

    Raises `UpstreamRefused` when the cluster that makes tiles is unavailable, so that another provider is tried.
    """
    bands = request.color.shape[2] + (request.alpha is not None)
    bits = request.color.dtype.itemsize * 8
    raster = RawImage(folder / f"{uuid4().hex}.raw", request.width, request.height, bands, bits)
    try:
        with raster.path.open("wb") as file:
            result = engine.enlarge(request, lambda strip: strip.tofile(file))
    except BaseException as error:
        delete_file(raster.path)
        if isinstance(error, Unavailable) and error.param == "cluster":
            raise UpstreamRefused(error.message) from error
        raise
    return raster, result

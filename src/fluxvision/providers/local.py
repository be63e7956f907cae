"""What providers on this machine share: the engine's strips become a raw file, or an error leaves nothing."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from fluxvision import engine
from fluxvision.errors import Unavailable, UpstreamRefused
from fluxvision.machine import NO_SPACE
from fluxvision.types import Raster

CLUSTER = "cluster"
"""The setting that is to blame where there is no cluster: the next provider may need none."""


def enlarged(request: engine.Request, folder: Path) -> tuple[Raster, engine.Result]:
    """Run the engine and return the pixels as a new file in `folder`.

    Raises `Unavailable` for missing room, `UpstreamRefused` where the cluster that should make tiles cannot be had.
    """
    bands = request.color.shape[2] + (request.alpha is not None)
    bits = request.color.dtype.itemsize * 8
    raster = Raster(folder / f"{uuid4().hex}.raw", request.width, request.height, bands, bits)
    try:
        with raster.path.open("wb") as file:
            result = engine.enlarge(request, lambda strip: strip.tofile(file))
    except OSError as error:
        raster.path.unlink(missing_ok=True)
        if error.errno in NO_SPACE:
            raise Unavailable("There is no room on this server's disk for the result.") from error
        raise
    except BaseException as error:
        raster.path.unlink(missing_ok=True)
        if isinstance(error, Unavailable) and error.param == CLUSTER:
            raise UpstreamRefused(error.message) from error
        raise
    return raster, result

"""How much memory a job takes at its peak, planned before any work begins. Pure.

The plan is the largest of the stages, each made of what its pictures and formats were measured to take. It is meant to
be too high rather than too low; `bench/memory.py` compares it with the truth.
"""

from __future__ import annotations

from fluxvision import engine, imaging
from fluxvision.catalog.geometry import Geometry
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Job, Plan
from fluxvision.engine import BACKENDS, Backend

BASE = 100_000_000
"""Bytes of what is there for any picture: buffers of lines, of strips that are measured, of one file."""
WEIGHTS = 16
"""Bytes for each pixel of a mask while it is turned into weights."""


def job_memory(job: Job, geometry: Geometry, plan: Plan, row: Backend | None) -> int:
    """Return the bytes that one picture of a job takes at its peak; `row` is the local engine, None for a remote one.

    ::

        read     = the source's samples + what its format needs to be read
        enlarge  = twice the source's samples + tiles at work + one row of tiles of the result
        mask     = read + weights + enlarge
        write    = what the output format needs to be written
        measure  = read + what the output format needs to be read back
    """
    image = job.image
    alpha = image.alpha or geometry.fit == "pad"
    source, made = (image.width, image.height), (geometry.made_width, geometry.made_height)
    read = imaging.decoding(image)
    enlarge = 0
    if row is not None or plan.masked:
        bands = image.channels + image.alpha
        enlarge = 2 * imaging.samples(*source, bands, image.bits)
        enlarge += engine.memory(row or BACKENDS[0], source, made, bands=bands, bits=image.bits)
    result = plan.output_format, geometry.width, geometry.height
    write = imaging.encoding(*result, alpha=alpha, bits=image.bits)
    stages = [read, enlarge, write]
    if plan.masked:
        stages.append(read + WEIGHTS * image.width * image.height + enlarge)
    if plan.measured:
        stages.append(read + imaging.reading_back(*result, bits=image.bits))
    return BASE + max(stages)


def check_memory(needed: int, most: int, job: Job, plan: Plan) -> None:
    """Raise `InvalidRequest` naming the parameter at fault where a job needs more than `most` bytes of memory."""
    if needed <= most:
        return
    whole = imaging.encoding(plan.output_format, 1, 1, alpha=True) > 0 and plan.output_format != "jpeg"
    hint = "png, jpeg and tiff take less." if whole else "Ask for a smaller result, or send a smaller picture."
    asked = ("output_format",) if whole else ("size", "resolution", "scale_factor")
    param = next((name for name in asked if name in job.values), "image")
    amounts = f"this needs about {needed / 1e9:.1f} GB of memory and this server gives a job {most / 1e9:.1f} GB"
    message = f"{param}: {amounts}. {hint}"
    raise InvalidRequest(message, param=param)

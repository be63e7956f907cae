"""How much of the disk the pictures of a job need, from a provider's file to the finished ones. Pure."""

from __future__ import annotations

from fluxvision.catalog.geometry import Geometry
from fluxvision.core.types import Job, Plan

SPARE = 1_000_000
"""Bytes for what a finished file holds beside its pixels, and for the file system's own."""


def room_needed(geometry: Geometry, job: Job, plan: Plan, parallel: int) -> int:
    """Return the most bytes that all pictures of a job take at once, `parallel` of them at work.

    ::

        raw  = pixels * samples per pixel * bytes per sample, of the largest size on the way
        room = raw * (n + work * min(n, parallel)) + pictures that are in memory + 1 MB

    No file is taken to be larger than its pixels: a provider's file, then a finished one, stands beside one raw file
    (work = 1), beside two where a mask is applied (work = 2). A picture that is in memory is written when a reader
    needs its path.
    """
    image = job.image
    samples = image.channels + (image.alpha or geometry.fit == "pad")
    raw = geometry.largest * samples * (image.bits // 8)
    held = sum(len(source.content) for source in (image, job.mask) if source is not None and source.content is not None)
    return raw * (plan.n + (2 if plan.masked else 1) * min(plan.n, parallel)) + held + SPARE

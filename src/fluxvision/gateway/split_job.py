"""Splits a job for `n` pictures into one job per picture, with its own seed and callbacks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.types import Job, ReceiptEntry


def sent_seed(receipt: Sequence[ReceiptEntry]) -> int | None:
    """Return the seed that was sent to the provider, None when none was."""
    lines = (line for line in receipt if line.parameter == "seed" and line.honoured)
    return next((line.became for line in lines if isinstance(line.became, int)), None)


def without_seed(job: Job) -> Job:
    """Return a job without its seed."""
    return replace(job, values={name: value for name, value in job.values.items() if name != "seed"}, random_seed=False)


def split_versions(job: Job, n: int) -> list[Job]:
    """Return one job per picture, with the seeds seed, seed+1 and so on."""
    first = int(job.values.get("seed", 0))
    return [replace(job, values={**job.values, "seed": first + index}) for index in range(n)]


def split_callbacks(callbacks: JobCallbacks, n: int) -> list[JobCallbacks]:
    """Return callbacks for each picture, which together report the progress of all of them."""
    done, total = [0] * n, [0] * n

    def progress(index: int, now: int, of: int) -> None:
        done[index], total[index] = now, of
        callbacks.progress(sum(done), max(total) * n)

    return [replace(callbacks, progress=partial(progress, index), preview=None) for index in range(n)]

"""Processes one picture: checks it, enlarges it in a hidden folder beside the result, moves the result to its place."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar
from uuid import uuid4

from fluxvision.cli.options import UpscaleRequest
from fluxvision.cli.paths import COMPARED, OutputTarget
from fluxvision.cli.result_source import Provenance, hash_file, write_source
from fluxvision.cli.scratch import ScratchFolders, is_being_made
from fluxvision.cli.stored_submissions import store_submissions
from fluxvision.cli.text import error_sentence, safe_path
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Busy, Cancelled, ClientError, InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.money import sum_costs
from fluxvision.core.types import Attempt, Job, JobResult, Quote
from fluxvision.gateway.execution import PreparedJob
from fluxvision.gateway.gateway import Gateway
from fluxvision.imaging import Limits, probe

T = TypeVar("T")
Status = Literal["done", "planned", "skipped", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """The result of one picture."""

    name: str
    status: Status
    outputs: Sequence[Path] = ()
    compared: Sequence[Path] = ()
    """The files of --compare."""
    source: InputImage | None = None
    delivery: JobResult | None = None
    quote: Quote | None = None
    seconds: float = 0.0
    error: str = ""
    unusable: bool = False
    """Whether the picture or a parameter is invalid, rather than the work having failed."""
    attempts: Sequence[Attempt] = ()
    """Those of failed or interrupted work."""

    @property
    def cost(self) -> int | None:
        """The picture's cost in micro-dollars, including failed attempts; None when unknown."""
        return sum_costs(attempt.cost for attempt in self.attempts) if self.delivery is None else self.delivery.cost


@dataclass(frozen=True, slots=True)
class PictureRunner:
    """Processes single pictures, with the resources that all pictures of a run share."""

    gateway: Gateway
    request: UpscaleRequest
    limits: Limits
    mask: InputImage | None = None
    scratch: ScratchFolders = field(default_factory=ScratchFolders)
    provenance: Provenance = field(default_factory=Provenance)
    is_stopped: Callable[[], bool] = lambda: False

    async def enlarge(self, target: OutputTarget, callbacks: JobCallbacks) -> PictureRecord:
        """Process one picture; raises if it is refused, and removes its files then. A failed job returns a record."""
        name = target.picture.name
        if target.problem:
            raise InvalidRequest(target.problem)
        hashed = await asyncio.to_thread(hash_file, target.picture.path)
        if self.request.resume:
            for names in target.names:
                if all(self._is_made(path, target, hashed) for path in names):
                    return PictureRecord(name, "skipped", names)
            target = self._with_free_names(target, hashed)
        elif not self.request.overwrite:
            for path in filter(os.path.lexists, target.outputs):
                message = f"{safe_path(path)} exists already; --overwrite replaces it, --resume skips what is done."
                raise InvalidRequest(message)
        source = await asyncio.to_thread(probe, target.picture.path, self.limits)
        job = self.gateway.admit(self.request.name, self.request.fields, source, self.mask, uuid4().hex)
        prepared = self.gateway.prepare(job)
        if self.request.dry_run:
            await prepared.check_mask()
            return PictureRecord(name, "planned", target.outputs, source=source, quote=prepared.quote())
        return await self._make(target, prepared, callbacks, hashed)

    def _is_made(self, path: Path, target: OutputTarget, hashed: str) -> bool:
        return self.provenance.is_made_of(path, target.picture.path, hashed)

    def _with_free_names(self, target: OutputTarget, hashed: str) -> OutputTarget:
        """Return the target with paths that are free, or have results of the same picture.

        Raises `InvalidRequest` when there are none.
        """
        for names in (target.outputs, target.long or target.outputs):
            if not any(os.path.lexists(path) and not self._is_made(path, target, hashed) for path in names):
                return replace(target, outputs=names)
        message = f"{safe_path(target.outputs[0])} exists already and was not made of this picture as it is now; "
        raise InvalidRequest(message + "--overwrite replaces it.")

    def failure(self, name: str, error: BaseException, attempts: Sequence[Attempt] = ()) -> PictureRecord:
        """Return the record of a picture that was not made; raises errors that do not concern the picture."""
        if isinstance(error, asyncio.CancelledError) or (self.is_stopped() and isinstance(error, Cancelled)):
            return PictureRecord(name, "interrupted", attempts=attempts)
        if isinstance(error, BrokenPipeError) or not isinstance(error, Exception):
            raise error
        if self.request.debug:
            traceback.print_exception(error)
        unusable = isinstance(error, ClientError)
        return PictureRecord(name, "failed", error=error_sentence(error), unusable=unusable, attempts=attempts)

    async def _make(
        self, target: OutputTarget, prepared: PreparedJob, callbacks: JobCallbacks, hashed: str
    ) -> PictureRecord:
        for path in target.outputs[:1]:
            if await asyncio.to_thread(is_being_made, path):
                message = f"{safe_path(path)} is being made by another run."
                raise Busy(message)
        started = time.perf_counter()
        with self._workshop(target) as folder:
            attempts: Sequence[Attempt] = ()
            try:
                async with store_submissions(prepared, callbacks) as (job, followed):
                    report = await job.run(followed, folder)
                    attempts, seconds = report.attempts, time.perf_counter() - started
                    return await self._deliver(target, report.unwrap(), folder, hashed, seconds)
            except BaseException as error:  # noqa: BLE001, `failure` raises what is none
                return self.failure(target.picture.name, error, attempts)

    async def _deliver(
        self, target: OutputTarget, result: JobResult, folder: Path, hashed: str, seconds: float
    ) -> PictureRecord:
        """Move a job's files to their final paths."""
        name, job = target.picture.name, result.job
        made = [picture.path for picture in result.pictures]
        if not target.outputs:
            await _wait_for_thread(partial(_send_to_stdout, made[0]))
            return PictureRecord(name, "done", (), (), job.image, result, None, seconds)
        compared = await _wait_for_thread(partial(_compare, job, made, folder)) if self.request.compare else []
        for path in made:
            write_source(path, hashed)
        if not self.request.overwrite:  # another program may have written there meanwhile
            target = self._with_free_names(target, hashed)
        outputs = [_move_result(path, end) for path, end in zip(made, target.outputs, strict=False)]
        beside = [
            _move_result(path, end.with_name(f"{end.stem}{COMPARED}.png"))
            for path, end in zip(compared, outputs, strict=False)
        ]
        errors = " ".join(failure.message for failure in result.failures)
        return PictureRecord(name, "done", outputs, beside, job.image, result, None, seconds, errors)

    @contextmanager
    def _workshop(self, target: OutputTarget) -> Iterator[Path]:
        """Yield a new hidden folder on the result's file system, and remove it with its files."""
        where = target.outputs[0].parent if target.outputs else Path(tempfile.gettempdir())
        new = [parent for parent in (where, *where.parents) if not parent.exists()]
        where.mkdir(parents=True, exist_ok=True)
        try:
            with self.scratch.make(where, target.outputs[0].name if target.outputs else "") as folder:
                yield folder
        finally:
            with suppress(OSError):  # stops at the first that is not empty
                for parent in new:
                    parent.rmdir()


async def _wait_for_thread(work: Callable[[], T]) -> T:
    """Run work in a thread; a cancelled task waits until the thread has ended."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with suppress(BaseException):
            await future
        raise


def _compare(job: Job, made: Sequence[Path], folder: Path) -> list[Path]:
    from fluxvision.cli.compare import write_comparison  # noqa: PLC0415, only for those who ask for it

    return [write_comparison(job, path, folder / f"{number}{COMPARED}.png") for number, path in enumerate(made)]


def _move_result(path: Path, end: Path) -> Path:
    """Move a finished file atomically to its final path, after it is flushed to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(end)
    return end


def _send_to_stdout(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()

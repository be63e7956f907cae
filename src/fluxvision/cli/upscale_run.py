"""Runs `fluxvision upscale` for all its pictures: in parallel, with one gateway, without partial files on signals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir

import click

from fluxvision.catalog import catalog
from fluxvision.cli import paths
from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.options import STREAM, UpscaleRequest, override_models_dir
from fluxvision.cli.output import BatchReport
from fluxvision.cli.paths import FoundInputs, InputFile, OutputTarget
from fluxvision.cli.progress import ProgressDisplay, create_display
from fluxvision.cli.scratch import ScratchFolders, remove_abandoned
from fluxvision.cli.text import replace_with_flags, safe_path
from fluxvision.cli.upscale_one import PictureRecord, PictureRunner
from fluxvision.cli.watch import INTERVAL, FolderWatch
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import Settings
from fluxvision.core.system import total_memory
from fluxvision.gateway.gateway import Gateway
from fluxvision.imaging import Limits, probe

OK, FAILED, UNUSABLE, HANGUP, INTERRUPTED = 0, 1, 2, 129, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FILE_BYTES = 1 << 40
WEEK = 7 * 24 * 3600.0
LARGEST_FACTOR = 16


def run_upscale(request: UpscaleRequest, dependencies: Dependencies) -> int:
    """Enlarge all pictures of a request and return the exit code. Raises errors that concern the whole request."""
    if request.to_stream and sys.stdout.isatty() and not request.dry_run:
        raise click.UsageError("A picture is not written to a terminal; redirect the output or name a file with --out.")
    if request.inputs == (STREAM,) and sys.stdin.isatty():
        raise click.UsageError("Standard input is a terminal; pipe a picture into it.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: sys.exit(HANGUP))
    scratch = ScratchFolders()
    with ExitStack() as stack:
        if request.watch and request.out is not None:
            Path(request.out).mkdir(parents=True, exist_ok=True)
            request = replace(request, resume=not request.overwrite)
            return _run_all(request, FoundInputs((), (), 0), dependencies, scratch)
        found = paths.find_inputs(request.inputs)
        if request.inputs == (STREAM,):
            temporary = Path(gettempdir())
            remove_abandoned(temporary)
            folder = stack.enter_context(scratch.make(temporary))
            found = replace(found, pictures=[_spool_standard_input(picture, folder) for picture in found.pictures])
        return _run_all(request, found, dependencies, scratch)


def _spool_standard_input(picture: InputFile, folder: Path) -> InputFile:
    """Write the picture from standard input to a file in `folder` and return it."""
    path = folder / picture.path.name
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return replace(picture, path=path)


def _run_all(request: UpscaleRequest, found: FoundInputs, dependencies: Dependencies, scratch: ScratchFolders) -> int:
    request, planned = paths.plan_targets(found.pictures, request)
    if not request.dry_run:
        for folder in {target.outputs[0].parent if target.outputs else Path(gettempdir()) for target in planned}:
            remove_abandoned(folder)
    total = len(planned) + len(found.problems)
    started = time.monotonic()
    still = request.json or request.quiet or request.dry_run or request.watch
    with create_display(total, still=still) as screen:
        report = BatchReport(request, screen.say)
        for problem in found.problems:
            report.add(PictureRecord(problem.name, "failed", error=problem.sentence, unusable=True))
            screen.end(problem.name)
        run = _Run(request, report, screen, deque(planned), scratch)
        interrupted = asyncio.run(run.all(dependencies)) if planned or request.watch else False
    total = max(total, len(report.records) + len(run.left))
    report.close(time.monotonic() - started, total=total, results=found.results, interrupted=interrupted)
    return run.exit_code if interrupted else _exit_code(report.records)


def _exit_code(records: Iterable[PictureRecord]) -> int:
    records = list(records)
    failed = [record for record in records if record.error]
    if not failed:
        return OK
    return UNUSABLE if len(records) == 1 and failed[0].unusable else FAILED


@dataclass(slots=True)
class _Run:
    """The remaining pictures, and the tasks that process them."""

    request: UpscaleRequest
    report: BatchReport
    screen: ProgressDisplay
    left: deque[OutputTarget]
    scratch: ScratchFolders
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    stopped: bool = False
    exit_code: int = INTERRUPTED
    terminals: tuple[int, ...] = ()

    async def all(self, dependencies: Dependencies) -> bool:
        """Process all pictures; return whether a signal stopped it before the end."""
        settings = _override_settings(self.request)
        limits = Limits(FILE_BYTES, settings.max_input_pixels, settings.max_frames)
        mask = _open_mask(self.request, limits)
        self.terminals = tuple(filter(os.isatty, (1, 2)))
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores the signal
                loop.add_signal_handler(number, self._stop, number)
        gateway = dependencies.create_gateway(settings)
        try:
            _check_name(self.request, gateway)
            runner = PictureRunner(
                gateway,
                _limit_cost(self.request, gateway),
                limits,
                mask,
                self.scratch,
                is_stopped=lambda: self.stopped,
            )
            workers = self.request.jobs if self.request.watch else min(self.request.jobs, len(self.left))
            self.tasks = [asyncio.create_task(self._work(runner)) for _ in range(workers)]
            if self.request.watch:
                self.tasks.append(asyncio.create_task(self._watch(self.request.inputs[0], self.request.out or "")))
            for result in await asyncio.gather(*self.tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await gateway.aclose()
        return self.stopped and (bool(self.left) or self.report.interrupted)

    async def _work(self, runner: PictureRunner) -> None:
        """Process pictures until none is left, a signal arrives, or the output is closed."""
        try:
            while not self.stopped and (self.left or self.request.watch):
                if not self.left:
                    await asyncio.sleep(INTERVAL)
                    continue
                record = await self._one(runner, self.left.popleft())
                self.screen.end(record.name)
                self.report.add(record)
        except BaseException:
            self.stopped = True
            raise

    async def _watch(self, folder: str, out: str) -> None:
        """Add the pictures that come into a folder, until a signal arrives."""
        watch = FolderWatch(folder, out)
        while not self.stopped:
            found = await asyncio.to_thread(watch.scan)
            self.left.extend(paths.plan_targets(found, self.request)[1])
            await asyncio.sleep(INTERVAL)

    def _callbacks(self, name: str) -> JobCallbacks:
        """Return a picture's callbacks; with --debug they also show the traceback of an unexpected provider error."""
        callbacks = JobCallbacks(self.screen.begin(name))
        return replace(callbacks, on_unexpected_error=traceback.print_exception) if self.request.debug else callbacks

    async def _one(self, runner: PictureRunner, target: OutputTarget) -> PictureRecord:
        """Process one picture; its failure does not stop the others."""
        name = target.picture.name
        try:
            return await runner.enlarge(target, self._callbacks(name))
        except BaseException as error:  # noqa: BLE001, `failure` raises what is none
            return runner.failure(name, error)

    def _stop(self, number: signal.Signals) -> None:
        """Stop after the current tile at the first signal, and at once at the second."""
        if number == signal.SIGHUP:
            self.exit_code = HANGUP
            for terminal in self.terminals:  # it is closed, and writing to it would fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        if self.stopped:
            self.screen.__exit__(None, None, None)
            self.scratch.remove_all()
            os._exit(self.exit_code)
        self.stopped = True
        for task in self.tasks:
            task.cancel()
        if not self.request.quiet:
            with suppress(OSError):  # standard error is closed
                self.screen.say("Stopping when the tile at work is done; once more to leave at once.")


def _override_settings(request: UpscaleRequest) -> Settings:
    """Return the settings without the limits that protect a server from its callers."""
    own = load_settings()
    pixels = own.max_input_pixels * LARGEST_FACTOR
    limits: dict[str, object] = {
        "workers": request.jobs,
        "queue": request.jobs,
        "deadline": WEEK,
        "max_output_pixels": pixels,
    }
    if own.origin["max_job_memory"] == "default":
        limits["max_job_memory"] = total_memory() // 4 * 3
    given = {"flux_model": request.model_path, "device": request.device}
    limits |= override_models_dir(request.network)
    return load_settings(flags={**limits, **{name: value for name, value in given.items() if value is not None}})


def _open_mask(request: UpscaleRequest, limits: Limits) -> InputImage | None:
    if request.mask is None:
        return None
    path = Path(request.mask)
    if not path.is_file():
        message = f"--mask: there is no file {safe_path(path)}."
        raise InvalidRequest(message, param="mask")
    return probe(path, limits, "mask")


def _limit_cost(request: UpscaleRequest, gateway: Gateway) -> UpscaleRequest:
    """Return the request with max_cost 0, unless the caller allows costs explicitly.

    Thus a provider key that happens to be in the environment is not charged unexpectedly. Costs are allowed by
    --max-cost, or by naming a provider: with --provider, or before the model as in fal/topaz-upscale. An alias may have
    a slash too, without naming a provider.
    """
    _, pin = catalog.find_model(request.name, gateway.models)
    free = pin is None and "max_cost" not in request.values
    return replace(request, fields={**request.fields, "max_cost": 0}) if free else request


def _check_name(request: UpscaleRequest, gateway: Gateway) -> None:
    """Raise an error for an unknown model or provider, before any picture is read."""
    model, _ = catalog.find_model(request.model, gateway.models)
    providers = [offer.provider for offer in model.offers]
    ready = [name for name in providers if name in gateway.providers]
    if request.provider is not None and request.provider.lower() not in providers:
        instead = f"use {' or '.join(ready)}" if ready else "and no provider of it is configured"
        message = f"--provider: {model.id} is not offered by {request.provider[:40]!r}; {instead}."
        raise InvalidRequest(replace_with_flags(message), param="model")
    if request.provider is not None and request.provider.lower() not in gateway.providers:
        message = f"--provider: {request.provider} is not configured here; `fluxvision config show` has its settings."
        raise InvalidRequest(message, param="model")

"""Enlarges the frames of an animation one after another at a provider of this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.images import Animation, InputImage, RawImage
from fluxvision.core.system import delete_file
from fluxvision.core.types import Call, ProviderResult
from fluxvision.gateway.finish import FinishState
from fluxvision.gateway.finish.steps import fit, receive
from fluxvision.imaging.animation import Timing, extract_frame, read_timing


@dataclass(frozen=True, slots=True)
class FrameWork:
    """The frames of one picture of a job."""

    source: InputImage
    count: int
    """Number of frames, more than one."""
    callbacks: JobCallbacks
    pool: ThreadPoolExecutor
    """Threads that read and fit frames."""
    new_path: Callable[[], Path]
    """Returns an unused path for a PNG file."""
    enlarge: Callable[[Call, JobCallbacks], Awaitable[ProviderResult]]
    """Calls the provider."""
    make_state: Callable[[ProviderResult], FinishState]
    """Returns how a provider's result is finished."""

    async def run(self, call: Call) -> tuple[ProviderResult, FinishState]:
        """Enlarge all frames.

        Returns the provider's result for the first frame, with the time of all, and the state to be finished: the
        frames are raw files of the final size, and its source is the first frame, which it is compared with.
        """
        timing = await run_in_pool(self.pool, self.callbacks, lambda: read_timing(self.source))
        made = [await self._make_frame(call, number, timing) for number in range(self.count)]
        result, state = made[0]
        timings = {name: sum(each.timings.get(name, 0.0) for each, _ in made) for name in result.timings}
        frames = [each.picture for _, each in made if isinstance(each.picture, RawImage)]
        animation = Animation(frames, timing.delays, timing.loop)
        plan = replace(state.plan, fit=None)  # every frame has been fitted
        details = {**result.details, "frames": self.count}
        return replace(result, timings=timings, details=details), replace(
            state, animation=animation, plan=plan, described=self.source
        )

    async def _make_frame(self, call: Call, number: int, timing: Timing) -> tuple[ProviderResult, FinishState]:
        self.callbacks.check_cancelled()
        target = self.new_path()
        image = await run_in_pool(
            self.pool,
            self.callbacks,
            lambda: extract_frame(self.source, number, target, alpha=timing.alpha, callbacks=self.callbacks),
        )
        callbacks = replace(
            self.callbacks,
            progress=partial(self._report, number),
            preview=None if number else self.callbacks.preview,
        )
        result = await self.enlarge(replace(call, image=image, key=f"{call.key}-{number}"), callbacks)
        state = replace(self.make_state(result), source=image)
        state = await run_in_pool(self.pool, self.callbacks, lambda: fit(receive(state)))
        if number:  # the result is compared with the first one
            delete_file(target, *([state.reference.path] if state.reference is not None else []))
        return result, state

    def _report(self, number: int, done: int, total: int) -> None:
        self.callbacks.progress(number * total + done, self.count * total)

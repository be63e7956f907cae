"""Sends a server twice as much as it can do for ten minutes, and looks at its answers, its memory and its patience.

    python bench/soak.py
    python bench/soak.py --minutes 2

The server is `fluxvision serve` as an operator starts it, with the engine on the CPU and a fake fal.ai whose faults
change every few seconds. First four callers find out how much it can do; then requests arrive at random moments, twice
as many, whether or not the ones before are answered. Some callers hang up, and who was refused asks once more after
the time that he was told. Last, tiny pictures are timed beside one of 50 megapixels. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import numpy as np
import psutil  # type: ignore[import-untyped]
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.fal import FakeFal, running_fal  # type: ignore[import-not-found]
from fakes.server import Server  # type: ignore[import-not-found]

KEYS = ("bulk-0123456789abcdef", "other-0123456789abcdef", "tiny-0123456789abcdef", "large-0123456789abcdef")
BULK, OTHER, TINY, LARGE = KEYS
DEADLINE = 120
SIZES = ((32, 0.6), (128, 0.3), (384, 0.08), (1000, 0.02))
"""Side of a source in pixels, and its share of the requests."""
LARGE_SIDE = 3536
"""Twice as large, it has 50 megapixels."""
FAULTS = ("", "submit 503", "upload 500", "status hang x3", "result garbage", "file cut", "submit lost", "token 500")
FAULT_SECONDS = 5.0
HANGS_UP = 0.03
REMOTE = 0.2
"""Share of the requests that may go to fal.ai; the others ask for the engine."""
SLACK = 2.0
"""Seconds by which an answer may come after the deadline: its way, and a busy machine."""


def picture(side: int) -> bytes:
    """Return a square JPEG of a photograph."""
    packed = io.BytesIO()
    photo = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
    photo.resize((side, side)).save(packed, "JPEG", quality=95)
    return packed.getvalue()


@dataclass(slots=True)
class Log:
    """What was answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    again: Counter[str] = field(default_factory=Counter)
    """Statuses of those who asked once more after the time that they were told."""
    told: list[float] = field(default_factory=list)
    """The times that were told, in seconds."""

    def add(self, status: str, seconds: float) -> None:
        """Add an answer."""
        self.statuses[status] += 1
        self.seconds.setdefault(status, []).append(seconds)


@dataclass(slots=True)
class Caller:
    """Sends pictures to a server."""

    url: str
    session: aiohttp.ClientSession
    log: Log = field(default_factory=Log)

    async def ask(self, content: bytes, key: str, model: str, patience: float = DEADLINE + 30) -> tuple[str, float]:
        """Send a picture; return the status, or what went wrong, and the seconds that a refused one is told to wait."""
        form = aiohttp.FormData({"model": model, "response_format": "b64_json"})
        form.add_field("image", content, filename="a.jpg")
        headers = {"Authorization": f"Bearer {key}"}
        begun = time.perf_counter()
        wait = 0.0
        try:
            timeout = aiohttp.ClientTimeout(total=patience)
            address = f"{self.url}/v1/images/edits"
            async with self.session.post(address, data=form, headers=headers, timeout=timeout) as answer:
                await answer.read()
                status, wait = str(answer.status), float(answer.headers.get("retry-after", 0))
        except TimeoutError:
            status = "hung up" if patience < DEADLINE else "no answer"
        except aiohttp.ClientError as error:
            status = type(error).__name__
        self.log.add(status, time.perf_counter() - begun)
        return status, wait

    async def ask_twice(self, content: bytes, key: str, model: str, *, hangs_up: bool) -> None:
        """Send a picture, and once more where it is refused."""
        status, wait = await self.ask(content, key, model, 0.5 if hangs_up else DEADLINE + 30)
        if status == "429":
            self.log.told.append(wait)
            await asyncio.sleep(wait)
            again, _ = await self.ask(content, key, model)
            self.log.again[again] += 1


class Memory:
    """Follows the memory of a process and its children, in bytes."""

    def __init__(self, pid: int) -> None:
        """Follow `pid`."""
        self._process = psutil.Process(pid)
        self._begun = time.monotonic()
        self.samples: list[tuple[float, int]] = []

    async def follow(self) -> None:
        """Look every second until cancelled."""
        while True:
            family = [self._process, *self._process.children(recursive=True)]
            self.samples.append((time.monotonic() - self._begun, sum(one.memory_info().rss for one in family)))
            await asyncio.sleep(1)

    def drift(self, minutes: Sequence[float]) -> tuple[float, float]:
        """Return the median of the first minute after the warm-up and of the last, in bytes."""
        first, last = minutes
        begin = [size for at, size in self.samples if first <= at < first + 60]
        end = [size for at, size in self.samples if last - 60 <= at < last]
        return statistics.median(begin), statistics.median(end)


async def change_faults(fal: FakeFal, seed: int) -> None:
    """Let something else go wrong every few seconds."""
    choices = random.Random(seed)  # noqa: S311
    while True:
        fal.fail(choices.choice(FAULTS))
        await asyncio.sleep(FAULT_SECONDS)


async def measure_capacity(caller: Caller, pictures: Sequence[bytes], shares: Sequence[float], seconds: float) -> float:
    """Return how many pictures a second four callers get."""
    choices = random.Random(1)  # noqa: S311
    end, made = time.monotonic() + seconds, 0

    async def repeat() -> None:
        nonlocal made
        while time.monotonic() < end:
            status, _ = await caller.ask(choices.choices(pictures, shares)[0], BULK, "embedded/flux-vision-upscaler")
            made += status == "200"

    begun = time.monotonic()
    await asyncio.gather(*(repeat() for _ in range(4)))
    return made / (time.monotonic() - begun)


async def overload(caller: Caller, pictures: Sequence[bytes], shares: Sequence[float], rate: float, end: float) -> None:
    """Send pictures at random moments, `rate` a second, until `end`; wait for all answers."""
    choices = random.Random(2)  # noqa: S311
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < end:
            content = choices.choices(pictures, shares)[0]
            model = "flux-vision-upscaler" if choices.random() < REMOTE else "embedded/flux-vision-upscaler"
            key = choices.choice((BULK, OTHER))
            group.create_task(caller.ask_twice(content, key, model, hangs_up=choices.random() < HANGS_UP))
            await asyncio.sleep(choices.expovariate(rate))


async def time_tiny(caller: Caller, seconds: float) -> list[float]:
    """Send a tiny picture every half second beside a large one; return the seconds that each took."""
    large, tiny = picture(LARGE_SIDE), picture(24)
    beside = asyncio.create_task(caller.ask(large, LARGE, "embedded/flux-vision-upscaler", patience=seconds + 30))
    await asyncio.sleep(10)  # it is at work
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not beside.done():
        begun = time.perf_counter()
        status, _ = await caller.ask(tiny, TINY, "embedded/flux-vision-upscaler")
        taken.append(time.perf_counter() - begun if status == "200" else float("inf"))
        await asyncio.sleep(0.5)
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    return taken


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all are not above."""
    return float(np.quantile(values, share)) if values else float("nan")


def milliseconds(values: Sequence[float], share: float) -> str:
    """Return a percentile of seconds as a text in milliseconds."""
    return f"{percentile(values, share) * 1000:.0f} ms"


def counted(counts: Counter[str]) -> str:
    """Return counts as a text."""
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))


async def run(server: Server, fal: FakeFal, minutes: float) -> None:
    """Measure, and print the table."""
    pictures, shares = [picture(side) for side, _ in SIZES], [share for _, share in SIZES]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        warm = Caller(server.url, session)
        await measure_capacity(warm, pictures, shares, 5)
        capacity = await measure_capacity(warm, pictures, shares, 30)
        memory = Memory(server.process.pid)
        background = [asyncio.create_task(memory.follow()), asyncio.create_task(change_faults(fal, 3))]
        caller = Caller(server.url, session)
        begun = time.monotonic()
        await overload(caller, pictures, shares, 2 * capacity, begun + minutes * 60)
        for task in background:
            task.cancel()
        fal.fail("")
        log, seconds = caller.log, caller.log.seconds
        tiny = await time_tiny(Caller(server.url, session), 60)
    before, after = memory.drift((60.0, minutes * 60))
    answers = {status: times for status, times in seconds.items() if status not in {"hung up", "429"}}
    slowest = max(max(times) for times in answers.values())
    refused = seconds.get("429", [])
    rows = {
        "capacity, sent": f"{capacity:.1f}, {2 * capacity:.1f} pictures a second",
        "answers": counted(log.statuses),
        "slowest answer, deadline": f"{slowest:.1f} s, {DEADLINE} s",
        "a refusal (429): median, p99": f"{milliseconds(refused, 0.5)}, {milliseconds(refused, 0.99)}",
        "told to wait: median, most": f"{percentile(log.told, 0.5):.0f} s, {max(log.told, default=0):.0f} s",
        "asked again after that": counted(log.again),
        "memory, second minute and last": f"{before / 1e6:.0f} MB, {after / 1e6:.0f} MB ({after / before - 1:+.1%})",
        f"{len(tiny)} tiny beside 50 megapixels: median, p99": f"{milliseconds(tiny, 0.5)}, {milliseconds(tiny, 0.99)}",
    }
    print(f"{datetime.now(UTC).date().isoformat()}, `python bench/soak.py --minutes {minutes:g}`\n\n| | |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))
    broken = [status for status in log.statuses if status not in {"200", "429", "504", "hung up"}]
    if broken or slowest > DEADLINE + SLACK:
        sys.exit(f"Not as promised: {broken or 'an answer after the deadline'}.")


def main() -> None:
    """Start fake and server, and measure."""
    parser = argparse.ArgumentParser(description="Twice the capacity for ten minutes.")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    with running_fal(work=0.3) as fal:
        settings = {
            "fal_queue_url": fal.queue_url,
            "fal_storage_url": fal.storage_url,
            "api_keys": ",".join(KEYS),
            "deadline": str(DEADLINE),
            "attempt_timeout": "20",
            "history": "true",
        }
        server = Server(folder / "data", settings, {"FAL_KEY": fal.key}, module=("fluxvision", "serve"))
        with server:
            asyncio.run(run(server, fal, arguments.minutes))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

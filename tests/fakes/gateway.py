"""A gateway that makes real pictures, slowly or wrongly if asked: what the HTTP edge is tested against.

A job's extras steer it: `tiles` (how many, 4), `tile_seconds` (0), `bulk` (bytes behind each result, 0), `lost` (the
number of a version that is not made), `begun` (a cancelled job may have cost its price), `fail` (busy, upstream, crash,
refuse, vet, or path, which only wants the picture's file, and library, which has a C library send a warning).
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fakes.reports import report
from fluxvision import server
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME, PARAMS
from fluxvision.catalog.rules import Converted, Emulated, Model, Offer, Passthrough, Price, Renamed, Rule
from fluxvision.core import errors
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import Fidelity, ResultImage
from fluxvision.core.settings import Settings
from fluxvision.core.types import (
    ANYBODY,
    Attempt,
    Caller,
    Failure,
    Job,
    JobResult,
    PostprocessPlan,
    PriceComponent,
    Quote,
    ReceiptEntry,
)
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.gateway.gateway import ParsedFields
from fluxvision.imaging import vips_warnings

PRICE = 100_000
RULES: dict[str, tuple[Rule, ...]] = {
    **{row.name: (Passthrough(),) for row in PARAMS},
    "image": (Renamed("picture"),),
    "prompt": (Passthrough("this provider takes no prompt", sent=False),),
    "scale_factor": (Renamed("factor"),),
    "size": (Converted("factor", lambda value, _job: value, note="a factor"), Emulated("fit", note="exact pixels")),
}
MODEL = Model(
    id="flux-vision-upscaler",
    name="Flux Vision Upscaler",
    creator="fal-ai",
    created=1_760_000_000,
    description="Enlarges pictures.",
    aliases=("fal-ai/flux-vision-upscaler",),
    b64_aliases=("gpt-image-1",),
    tags=("upscaling",),
    offers=(
        Offer("embedded", "span", Price("image", 0), RULES),
        Offer("fal", "fal-ai/flux-vision-upscaler", Price("output_megapixel", PRICE), RULES),
    ),
)


def png(width: int, height: int, colour: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    """Return a real PNG of one colour."""
    rows = (b"\x00" + bytes(colour) * width) * height
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


class Gateway:
    """The flow, faked: `workers` jobs at once, `queue` more may wait."""

    models = (MODEL,)
    providers = ("embedded", "fal")
    has_remote = False
    deadline = 900.0

    def __init__(self, workers: int = 1, queue: int = 2) -> None:
        """Begin with nothing to do."""
        self._places = asyncio.Semaphore(workers)
        self._room = workers + queue
        self.inside = 0
        self.running = 0
        self.started: list[Job] = []
        self.cancelled: list[str] = []
        self.closed = False
        self.begun = asyncio.Event()

    def engines(self) -> Mapping[str, str]:
        """Have two engines."""
        return {"span": "SPAN", "realesrgan": "Real-ESRGAN"}

    def full(self, _caller: Caller = ANYBODY) -> float | None:
        """Say when there may be room again."""
        return 2.0 if self.inside >= self._room else None

    def find(self, model: str) -> tuple[Model, str | None, str]:
        """Know one model under several names."""
        pin, slash, rest = model.partition("/")
        pinned = pin if slash and pin in {offer.provider for offer in MODEL.offers} else None
        name = rest if pinned else model
        if name.lower() not in {MODEL.id, *MODEL.aliases, *MODEL.b64_aliases}:
            message = f"There is no model {model[:64]!r}. Did you mean {MODEL.id}?"
            raise errors.ModelNotFound(message, param="model")
        return MODEL, pinned, name

    def parse(self, model: str, fields: Mapping[str, Any]) -> ParsedFields:
        """Coerce by the rows, as the real one does."""
        found, pin, alias = self.find(model or MODEL.id)
        values = {name: coerce(BY_NAME[name], value) for name, value in fields.items() if name in BY_NAME}
        return ParsedFields(
            model=found,
            pin=pin,
            prefers_base64=alias.lower().startswith("gpt-image"),
            factor=2.0,
            values={name: value for name, value in values.items() if value is not None},
            extras={name: value for name, value in fields.items() if name not in BY_NAME},
        )

    def prepare(self, job: Job) -> Prepared:
        """Price the job; `fail=refuse` is refused here, as a strict request would be."""
        if job.extras.get("fail") == "refuse":
            raise errors.InvalidRequest("size cannot be honoured exactly.", param="size")
        width, height = self._size(job)
        part = PriceComponent("output", "output_megapixel", width * height / 1e6, 1.0, PRICE, PRICE)
        quote = Quote(job.model, job.pin or "embedded", PRICE, (part,), self._receipt(job), width, height)
        return Prepared(self, job, quote)

    async def run(self, job: Job, callbacks: JobCallbacks, folder: Path, attempts: list[Attempt]) -> JobResult:
        """Wait for a place, count through the tiles, write the pictures."""
        if self.full() is not None or job.extras.get("fail") == "busy":
            raise errors.Busy("The queue is full.", retry_after=2.0)
        self.inside += 1
        try:
            async with self._places:
                self.running += 1
                self.started.append(job)
                self.begun.set()
                try:
                    return await self._make(job, callbacks, folder)
                except asyncio.CancelledError:
                    self.cancelled.append(job.id)
                    if "begun" in job.extras:
                        attempts.append(Attempt("fal", "CANCELLED", 0.1, None, "job-1", "Cancelled.", PRICE))
                    raise
                finally:
                    self.running -= 1
        finally:
            self.inside -= 1

    async def ping(self) -> Mapping[str, bool]:
        """Have one provider that is ready and one that is not."""
        return {"embedded": True, "fal": False}

    async def check(self, folder: Path) -> None:
        """Find nothing wrong."""

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    async def _make(self, job: Job, callbacks: JobCallbacks, folder: Path) -> JobResult:
        started = time.monotonic()
        match job.extras.get("fail"):
            case "path":
                assert job.image.path.exists()
            case "library":
                vips_warnings._library.g_log(b"GLib-GObject", 1 << 4, b"value of /a/path is out of range \xdf")
            case "upstream":
                raise errors.UpstreamError("Every provider failed.")
            case "crash":
                raise ZeroDivisionError("the prompt: " + str(job.values.get("prompt")))
        tiles = int(job.extras.get("tiles", 4))
        previews = int(job.values.get("partial_images", 0)) if job.values.get("stream") else 0
        for number in range(tiles):
            if callbacks.preview is not None and number < previews:
                path = folder / f"preview-{number}.png"
                path.write_bytes(png(job.image.width, job.image.height, (0, number, 0)))
                if number == 0:
                    callbacks.preview(path)
                else:
                    await asyncio.to_thread(callbacks.preview, path)
            await asyncio.sleep(float(job.extras.get("tile_seconds", 0)))
            if callbacks.cancel.is_set():
                raise errors.Cancelled("stopped")
            await asyncio.to_thread(callbacks.progress, number + 1, tiles)
        width, height = self._size(job)
        pictures = []
        n, lost = int(job.values.get("n", 1)), job.extras.get("lost")
        for number in (number for number in range(n) if number != lost):
            path = folder / f"{number}.png"
            path.write_bytes(png(width, height, (number, 30, 60)) + bytes(int(job.extras.get("bulk", 0))))
            fidelity = Fidelity(lr_psnr_db=48.5, seam_ratio=None, delta_e=0.4)
            pictures.append(ResultImage(path, "png", "image/png", width, height, "a red square", 7 + number, fidelity))
        default = "b64_json" if job.prefers_base64 else "url"
        plan = PostprocessPlan(response_format=str(job.values.get("response_format", default)), n=n)
        return JobResult(
            job=job,
            provider="embedded",
            provider_name="Embedded",
            upstream="span",
            pictures=pictures,
            plan=plan,
            receipt=self._receipt(job),
            attempts=(Attempt("embedded", "ok", time.monotonic() - started, int(job.extras.get("charged", 0))),),
            failures=() if lost is None else (Failure(lost, 7 + lost, "UPSTREAM_ERROR", "It broke."),),
            cost=0,
            details={"caption": "a red square"},
            timings={"total": 0.1},
        )

    def _size(self, job: Job) -> tuple[int, int]:
        factor = float(job.values.get("scale_factor", 2.0))
        return round(job.image.width * factor), round(job.image.height * factor)

    def _receipt(self, job: Job) -> tuple[ReceiptEntry, ...]:
        return tuple(ReceiptEntry(name, "passthrough", value, value) for name, value in job.values.items())


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that was priced; `fail=vet` has a mask that only its pixels show to be unusable."""

    gateway: Gateway
    job: Job
    priced: Quote

    def quote(self) -> Quote:
        """Return the price."""
        return self.priced

    @property
    def may_cost(self) -> bool:
        """Cost money at `fal` only."""
        return self.job.pin == "fal"

    def most_cost(self) -> int:
        """Return the price where there is one."""
        return PRICE if self.may_cost else 0

    def prefer(self, providers: Collection[str], *, waits: bool = False) -> None:
        """Have one provider only."""

    async def check_mask(self) -> None:
        """Refuse the mask of `fail=vet`."""
        if self.job.extras.get("fail") == "vet":
            raise errors.InvalidRequest("mask: nothing of it is transparent.", param="mask")

    async def run(self, callbacks: JobCallbacks, folder: Path) -> ExecutionReport:
        """Do the job and report."""
        return await report(partial(self.gateway.run, self.job, callbacks, folder))


def limits() -> server.ConnectionLimits:
    """Return the limits of a served process; FAKE_CONNECTIONS and FAKE_IDLE in the environment change them."""
    given = server.DEFAULT_LIMITS
    return server.ConnectionLimits(
        connections=int(os.environ.get("FAKE_CONNECTIONS", given.connections)),
        idle=float(os.environ.get("FAKE_IDLE", given.idle)),
    )


def make(settings: Settings) -> Gateway:
    """Make the fake for a served process."""
    return Gateway(workers=settings.workers, queue=settings.queue)


if __name__ == "__main__":
    from functools import partial

    from fluxvision.core.load_settings import load_settings
    from fluxvision.http import app as http
    from fluxvision.http.upload_limits import BodyMemory

    http.BodyMemory = partial(BodyMemory, each=0)  # tests look at what uploads leave on the disk
    server.serve(load_settings(dict(os.environ)), make, limits=limits())

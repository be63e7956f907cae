"""A gateway that enlarges by plain resampling: what the command line is tested against, also as its own command.

As a command it is steered by the environment: `FAKE_TILES` (how many, 4) and `FAKE_TILE_SECONDS` (0).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from fakes.reports import report
from fluxvision import cli, imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.geometry import solve_geometry
from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.params import BY_NAME
from fluxvision.catalog.rules import Model
from fluxvision.cli.dependencies import Finding
from fluxvision.core import errors
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import Fidelity, InputImage, ResultImage
from fluxvision.core.settings import Settings
from fluxvision.core.types import Attempt, Job, JobResult, PriceComponent, Quote
from fluxvision.gateway.execution import ExecutionReport

PRICE = 100_000
"""Micro-dollars of a picture."""


class Gateway:
    """The flow, faked. Pictures named `crash`, `upstream`, `billed`, `unanswered` or `stopped` end in that way.

    One named `taken` costs something even if it is interrupted; a mask named `closed` lets nothing change.
    """

    models: tuple[Model, ...] = catalog.CATALOG
    providers = ("embedded",)

    def __init__(self, tiles: int = 4, tile_seconds: float = 0.0) -> None:
        """Begin with nothing done."""
        self.tiles = tiles
        self.tile_seconds = tile_seconds
        self.jobs: list[Job] = []
        self.running = 0
        self.most = 0
        self.closed = False

    def admit(
        self, model: str, fields: Mapping[str, Any], image: InputImage, mask: InputImage | None, request_id: str
    ) -> Job:
        """Coerce by the rows, as the real one does."""
        found, pin = catalog.find_model(model)
        pairs = {name: coerce(BY_NAME[name], value) for name, value in fields.items()}
        values = {name: value for name, value in pairs.items() if value is not None}
        return Job(request_id, found.id, image, values, mask, pin=pin)

    def prepare(self, job: Job) -> Prepared:
        """Ask ten cents for every picture."""
        _, plan, receipt = normalize(job, self.models[0].offers[-1])
        geometry = solve_geometry(job)
        total = PRICE * plan.n
        part = PriceComponent("output", "image", plan.n, plan.n, PRICE, total)
        quote = Quote(job.model, "embedded", total, (part,), receipt, geometry.width, geometry.height)
        return Prepared(self, job, quote)

    async def run(self, job: Job, callbacks: JobCallbacks, folder: Path, attempts: list[Attempt]) -> JobResult:
        """Count through the tiles, then write the pictures."""
        self.jobs.append(job)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._make(job, callbacks, folder, attempts)
        except asyncio.CancelledError:
            attempts.append(Attempt("fal", "CANCELLED", 0.5, PRICE if job.image.path.stem == "taken" else 0))
            raise
        finally:
            self.running -= 1

    async def ping(self) -> Mapping[str, bool]:
        """Be ready."""
        return {"embedded": True}

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    async def _make(self, job: Job, callbacks: JobCallbacks, folder: Path, attempts: list[Attempt]) -> JobResult:
        started = time.monotonic()
        offer = self.models[0].offers[-1]
        _, plan, receipt = normalize(job, offer)
        (folder / "begun.raw").write_bytes(b"half")
        for number in range(self.tiles):
            await asyncio.sleep(self.tile_seconds)
            if callbacks.cancel.is_set():
                raise errors.Cancelled("stopped")
            await asyncio.to_thread(callbacks.progress, number + 1, self.tiles)
        match job.image.path.stem:
            case "crash":
                raise ZeroDivisionError
            case "upstream":
                raise errors.UpstreamError("The provider is down.")
            case "billed" | "unanswered" as name:
                cost = PRICE if name == "billed" else None
                attempts += [Attempt("fal", "UPSTREAM_ERROR", 0.5, cost), Attempt("embedded", "UNAVAILABLE", 0.1)]
                raise errors.Exhausted("All of them failed.")
            case "stopped":
                attempts.append(Attempt("fal", "CANCELLED", 0.5, None))
                raise errors.Cancelled("It was stopped over there.")
        geometry = solve_geometry(job)
        row = imaging.find_format(plan.output_format)
        pictures = []
        colours = imaging.decode(job.image).color
        upright = Image.fromarray(colours).convert("RGB").resize((geometry.width, geometry.height))
        for number in range(plan.n):
            path = folder / f"{number}.{row.extension}"
            upright.save(path, row.name)
            scores = Fidelity(lr_psnr_db=52.34, seam_ratio=1.0, delta_e=0.4)
            picture = ResultImage(path, row.name, row.mime, geometry.width, geometry.height, None, 7 + number, scores)
            pictures.append(picture)
        return JobResult(
            job=job,
            provider="embedded",
            provider_name="Embedded",
            upstream="span",
            pictures=pictures,
            plan=plan,
            receipt=receipt,
            attempts=(Attempt("embedded", "ok", time.monotonic() - started),),
            failures=(),
            cost=PRICE * plan.n,
            details={"engine": "span"},
            timings={"total": time.monotonic() - started},
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that was priced."""

    gateway: Gateway
    job: Job
    priced: Quote
    may_cost: ClassVar[bool] = False
    """Nothing is kept for a repetition; tests/faults/test_paid_once.py has that."""

    def quote(self) -> Quote:
        """Return the price."""
        return self.priced

    async def check_mask(self) -> None:
        """Refuse the mask `closed`."""
        if self.job.mask is not None and self.job.mask.path.stem == "closed":
            raise errors.InvalidRequest("mask: nothing of it is transparent.", param="mask")

    async def run(self, callbacks: JobCallbacks, folder: Path) -> ExecutionReport:
        """Do the job and report."""
        return await report(partial(self.gateway.run, self.job, callbacks, folder))


def dependencies(
    gateway: Gateway, *, served: list[Settings] | None = None, findings: Sequence[Finding] = ()
) -> cli.Dependencies:
    """Return dependencies that hand out this gateway and serve by remembering the settings; the port is 8123."""

    def serve(settings: Settings, announce: Callable[[int], None]) -> None:
        announce(8123)
        if served is not None:
            served.append(settings)

    return cli.Dependencies(
        create_gateway=lambda _settings: gateway,
        check=lambda _settings: None,
        serve=serve,
        fetch=lambda name: Path("/weights") / name,
        serve_cluster=lambda _host, _port, _replicas: None,
        serve_mcp=lambda _server, _key: None,
        open_database=lambda settings: import_module("fluxvision.server").open_database(settings, create=True),
        diagnose=lambda _settings: findings,
    )


if __name__ == "__main__":
    fake = Gateway(int(os.environ.get("FAKE_TILES", "4")), float(os.environ.get("FAKE_TILE_SECONDS", "0")))
    sys.exit(cli.run_cli(sys.argv[1:], dependencies(fake)))

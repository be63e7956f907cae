"""What a job is planned to take, and what it then takes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fakes.painter import Painter
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.geometry import Geometry
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job, PostprocessPlan
from fluxvision.engine import BACKENDS
from fluxvision.gateway.gateway import Gateway
from fluxvision.gateway.resource_estimate import BASE, NETWORKS, JobMemoryBudget, check_memory, job_memory

MODEL = CATALOG[0].id


def source(tmp_path, width, height, **facts):
    """Return the facts of a picture that nobody reads."""
    given = {"format": "png", "channels": 3, "alpha": False, "bits": 8, "size": 1000, **facts}
    return InputImage(file=tmp_path / "a", width=width, height=height, **given)


def geometry(width, height, made):
    """Return a size that is enlarged, then stretched."""
    return Geometry(width, height, width, height, *made, 4.0, "stretch")


def test_the_plan_grows_with_the_picture_and_the_format(tmp_path):
    """More pixels, more bits, a format that is held whole, a mask: each takes more."""
    small = Job("1", MODEL, source(tmp_path, 1000, 1000), {})
    large = Job("1", MODEL, source(tmp_path, 4000, 4000), {})
    deep = Job("1", MODEL, source(tmp_path, 4000, 4000, bits=16), {})
    twice, row = geometry(8000, 8000, (8000, 8000)), BACKENDS[0]
    plans = [
        job_memory(small, geometry(2000, 2000, (2000, 2000)), PostprocessPlan(), row),
        job_memory(large, twice, PostprocessPlan(), row),
        job_memory(deep, twice, PostprocessPlan(), row),
        job_memory(deep, twice, PostprocessPlan(output_format="avif"), row),
    ]
    assert plans == sorted(set(plans))
    assert job_memory(large, twice, PostprocessPlan(apply_mask=True), None) > job_memory(
        large, twice, PostprocessPlan(), None
    )


def test_a_small_picture_stretched_far_is_planned_small(tmp_path):
    """24x24 pixels that become 400 megapixels take no more than a fixed amount: nothing holds the result whole."""
    job = Job("1", MODEL, source(tmp_path, 24, 24), {})
    planned = job_memory(job, geometry(20_000, 20_000, (96, 96)), PostprocessPlan(), BACKENDS[0])
    assert planned < BASE + NETWORKS + 50_000_000


@pytest.mark.parametrize(
    ("values", "plan", "param"),
    [
        ({"size": "9x9"}, PostprocessPlan(), "size"),
        ({"scale_factor": 4}, PostprocessPlan(), "scale_factor"),
        ({}, PostprocessPlan(), "image"),
        ({"output_format": "avif", "size": "9x9"}, PostprocessPlan(output_format="avif"), "output_format"),
    ],
)
def test_too_much_names_what_asked_for_it(tmp_path, values, plan, param):
    """The parameter that the caller can change, the amounts, and what helps."""
    job = Job("1", MODEL, source(tmp_path, 9, 9), values)
    with pytest.raises(
        InvalidRequest, match=rf"^{param}: this needs about 3.0 GB .* 1.0 GB\. .*less|smaller"
    ) as caught:
        check_memory(3_000_000_000, 1_000_000_000, job, plan)
    assert caught.value.param == param
    check_memory(1_000_000_000, 1_000_000_000, job, plan)


def test_a_job_over_the_servers_limit_is_refused_before_any_work(tmp_path):
    """The quote refuses it, as the run does, and nobody is asked."""
    painter = Painter()
    gateway = Gateway({"embedded": painter}, max_job_memory=1_000_000_000)
    large = gateway.admit(MODEL, {}, source(tmp_path, 6000, 6000), None, "1")
    with pytest.raises(InvalidRequest, match="GB of memory"):
        gateway.prepare(large).quote()
    assert gateway.prepare(gateway.admit(MODEL, {}, source(tmp_path, 600, 600), None, "2")).quote().width == 1200
    assert painter.calls == []


MEASURED = """
import asyncio, json, pathlib, sys
from fluxvision.core.load_settings import load_settings
from fluxvision.create_gateway import create_gateway
from fluxvision.imaging import Limits, probe
from fluxvision.core.callbacks import JobCallbacks

def figure(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

async def main(folder, path, fields):
    gateway = create_gateway(load_settings({}, {}))
    small = gateway.admit("flux-vision-upscaler", {}, probe(folder / "small.png", Limits()), None, "0")
    (await gateway.prepare(small).run(JobCallbacks(), folder)).unwrap()
    job = gateway.admit("flux-vision-upscaler", fields, probe(path, Limits()), None, "1")
    prepared = gateway.prepare(job)
    planned = prepared.decision.candidates[0].memory
    before = figure("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
    (await prepared.run(JobCallbacks(), folder)).unwrap()
    print(json.dumps([planned, figure("VmHWM") - before]))

path = pathlib.Path(sys.argv[1])
asyncio.run(main(path.parent, path, json.loads(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the figures")
@pytest.mark.parametrize(
    ("size", "fields"),
    [
        ((300, 200), {"scale_factor": 2, "creativity": 0.3}),
        ((300, 200), {"scale_factor": 4, "creativity": 0, "output_format": "webp"}),
        ((120, 90), {"scale_factor": 8}),
        ((24, 24), {"size": "4000x4000", "fit": "stretch", "output_format": "jpeg"}),
    ],
    ids=["usual", "held whole", "two passes", "stretched"],
)
def test_no_job_takes_more_than_its_plan(tmp_path, size, fields):
    """Measured in a process of its own, which has made a small picture before."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels[:24, :24]).save(tmp_path / "small.png")
    Image.fromarray(pixels).save(tmp_path / "large.png")
    order = [sys.executable, "-c", MEASURED, str(tmp_path / "large.png"), json.dumps(fields)]
    planned, peak = json.loads(subprocess.run(order, check=True, capture_output=True, text=True).stdout)
    assert peak < planned


READ = """
import pathlib, sys
from fluxvision import imaging

def figure(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

path = pathlib.Path(sys.argv[1])
imaging.decode(imaging.probe(path.parent / "small.png", imaging.Limits()))
source = imaging.probe(path, imaging.Limits())
before = figure("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")
imaging.decode(source)
print(figure("VmHWM") - before, imaging.decoding_bytes(source))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the figures")
@pytest.mark.parametrize(
    ("kind", "mode", "times", "options"),
    [
        ("png", "RGB", 16, {}),
        ("jpeg", "RGB", 16, {"progressive": True, "subsampling": 0}),
        ("jpeg", "CMYK", 24, {"progressive": True, "subsampling": 0}),
        ("webp", "RGB", 16, {"method": 0}),
        ("gif", "RGB", 16, {}),
        ("avif", "RGB", 16, {"speed": 10}),
        ("tiff", "RGB", 16, {"compression": "tiff_deflate", "tiffinfo": {278: 2000}}),
        ("bmp", "RGB", 16, {}),
        ("jp2", "RGB", 16, {"irreversible": True, "quality_layers": [40]}),
        ("tga", "RGB", 16, {"compression": "tga_rle"}),
        ("ppm", "RGB", 16, {}),
    ],
)
def test_reading_takes_no_more_than_the_format_says(tmp_path, kind, mode, times, options):
    """Four or nine megapixels of each format, in the variants that are dearest to read."""
    random = np.random.default_rng(0).integers(0, 256, (125, 125, 3), np.uint8)
    pixels = np.kron(random, np.ones((times, times, 1), np.uint8))
    Image.fromarray(pixels[:24, :24]).save(tmp_path / "small.png")
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(tmp_path / f"large.{kind}", **options)
    order = [sys.executable, "-c", READ, str(tmp_path / f"large.{kind}")]
    taken, planned = map(int, subprocess.run(order, check=True, capture_output=True, text=True).stdout.split())
    assert taken < planned + 20_000_000


WRITTEN = """
import pathlib, sys
from fluxvision import imaging
from fluxvision.core.images import Metadata, RawImage

def figure(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def write(width, height):
    raster = RawImage(path, width, height, bands, 16)
    imaging.encode(raster, path.with_suffix(".avif"), "avif", quality=None, metadata=Metadata(), strip=True)

path, bands = pathlib.Path(sys.argv[1]), int(sys.argv[2])
write(64, 64)
before = figure("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")
write(1600, 1280)
print(figure("VmHWM") - before, imaging.encoding_bytes("avif", 1600, 1280, alpha=bands == 4, bits=16))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the figures")
@pytest.mark.parametrize("bands", [3, 4])
def test_writing_many_bits_takes_no_more_than_the_format_says(tmp_path, bands):
    """Two megapixels of AVIF, which is written with 12 bits."""
    random = np.random.default_rng(0).integers(0, 65536, (80, 100, bands), np.uint16)
    np.kron(random, np.ones((16, 16, 1), np.uint16)).tofile(tmp_path / "raw")
    order = [sys.executable, "-c", WRITTEN, str(tmp_path / "raw"), str(bands)]
    taken, planned = map(int, subprocess.run(order, check=True, capture_output=True, text=True).stdout.split())
    assert taken < planned + 30_000_000


async def take(budget, size, log, name, ends):
    """Hold some bytes until `ends` is set."""
    async with budget.hold(size):
        log.append(name)
        await ends.wait()


async def begin(budget, *sizes):
    """Let work of these sizes begin in this order; return the tasks, what ends each, and who has begun."""
    log, ends = [], [asyncio.Event() for _ in sizes]
    tasks = [asyncio.create_task(take(budget, size, log, n, ends[n])) for n, size in enumerate(sizes)]
    await asyncio.sleep(0.01)
    return tasks, ends, log


async def test_work_begins_when_its_bytes_are_free():
    """The third waits until the first has ended."""
    tasks, ends, log = await begin(JobMemoryBudget(100), 60, 40, 30)
    assert log == [0, 1]
    ends[0].set()
    await asyncio.sleep(0.01)
    assert log == [0, 1, 2]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)


async def test_large_work_is_not_passed_by():
    """What comes after it waits behind it, except for what is very little."""
    tasks, ends, log = await begin(JobMemoryBudget(100), 60, 80, 30, 2)
    assert log == [0, 3]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)
    assert log == [0, 3, 1, 2]


async def test_more_than_there_is_counts_as_all():
    """Work of more bytes than the budget has begins alone instead of never."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 500)
    assert (log, budget.free) == ([0], 0)
    ends[0].set()
    await asyncio.gather(*tasks)
    assert budget.free == 100


async def test_cancelled_work_gives_back_what_it_held_or_waited_for():
    """After all is cancelled the budget is whole, and what waited behind the first begins."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 60, 80, 40)
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert log == [0, 2]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert budget.free == 100
    assert not ends[0].is_set()


async def test_work_cancelled_in_the_turn_in_which_other_work_ends_takes_nothing():
    """The work that ended is none the worse for it, the next begins, and in the end the budget is whole."""
    budget = JobMemoryBudget(100)
    tasks, ends, log = await begin(budget, 60, 80, 70)
    ends[0].set()
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert tasks[0].exception() is None
    assert log == [0, 2]
    ends[2].set()
    await tasks[2]
    assert budget.free == 100


async def test_what_is_paid_for_goes_first():
    """It passes by whatever waits, and waits for free bytes alone."""
    budget, log = JobMemoryBudget(100), []
    tasks, ends, _ = await begin(budget, 60, 80)

    async def finish(size):
        async with budget.hold(size, first=True):
            log.append(size)

    await finish(40)
    assert log == [40]
    waiting = asyncio.create_task(finish(50))
    await asyncio.sleep(0.01)
    assert log == [40]
    ends[0].set()
    await waiting
    assert log == [40, 50]
    ends[1].set()
    await asyncio.gather(*tasks)
    assert budget.free == 100

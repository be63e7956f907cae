"""What every provider promises the gateway, run for each row of PROVIDERS: the real one, against a real upstream."""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import math
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.fal import FOREVER, FakeFal
from fakes.jobs import job
from fakes.openai import FakeOpenAI
from fakes.outcomes import delivered
from fluxvision import imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.normalize import normalize
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Error, InvalidRequest
from fluxvision.core.images import RawImage
from fluxvision.core.load_settings import load_settings
from fluxvision.core.types import Call, ProviderResult
from fluxvision.engine import pipeline
from fluxvision.engine.backends import registry
from fluxvision.gateway.provider_input import prepare_input
from fluxvision.providers.registry import PROVIDERS

PROMPT = "a very private wish"
SOON = 60.0
RED, BLUE = (200, 40, 30), (20, 60, 210)


@dataclass(slots=True)
class House:
    """A row's settings, and its upstream as a test sees it.

    `slow` makes all work last for ever; `begun` tells how many works have reached the upstream, `left` how many have
    been given up there, `asked` how many requests came. `spoil` makes of a call one that nobody can do; `fail` makes
    the next work fail.
    """

    name: str
    environment: dict[str, str]
    spoil: Callable[[Call], Call]
    fail: Callable[[str, Call], None]
    secrets: tuple[str, ...] = ()
    remote: bool = True
    slow: Callable[[], None] = lambda: None
    begun: Callable[[], int] = lambda: 0
    left: Callable[[], int] = lambda: 0
    asked: Callable[[], int] = lambda: 0


@asynccontextmanager
async def fal_house() -> AsyncIterator[House]:
    """Have a fal.ai on loopback."""
    async with FakeFal() as fal:
        yield House(
            "fal",
            {
                "FAL_KEY": fal.key,
                "FLUXVISION_FAL_QUEUE_URL": fal.queue_url,
                "FLUXVISION_FAL_STORAGE_URL": fal.storage_url,
            },
            spoil=lambda call: replace(call, image=replace(call.image, size=10**10)),
            fail=lambda fault, _call: fal.fail(fault),
            secrets=(*fal.key.split(":"), f":{fal.port}"),
            slow=lambda: setattr(fal, "work", FOREVER),
            begun=lambda: len(fal.submissions),
            left=lambda: len(fal.cancelled),
            asked=lambda: len(fal.asked),
        )


@asynccontextmanager
async def openai_house() -> AsyncIterator[House]:
    """Have another images server on loopback."""
    async with FakeOpenAI() as upstream:
        models = {CATALOG[0].id: "theirs"}
        table = {"name": "other", "base_url": upstream.base_url, "key": upstream.key, "models": models}
        yield House(
            "openai",
            {"FLUXVISION_OPENAI": json.dumps([table])},
            spoil=lambda call: replace(call, body={**call.body, "creativity": math.nan}),
            fail=lambda fault, _call: upstream.behave(fault),
            secrets=(upstream.key, f":{upstream.port}"),
            slow=lambda: setattr(upstream, "delay", FOREVER),
            begun=lambda: len(upstream.requests),
            left=lambda: upstream.abandoned,
            asked=lambda: len(upstream.requests),
        )


@asynccontextmanager
async def embedded_house() -> AsyncIterator[House]:
    """Have this machine."""

    def fail(fault: str, call: Call) -> None:
        content = call.image.path.read_bytes()
        call.image.path.write_bytes({"cut off": content[: len(content) // 2], "no picture": b"text" * 99}[fault])

    with pytest.MonkeyPatch.context() as patch:

        def slow() -> None:
            """Have small tiles, and so many of them."""
            for row in (registry.BACKENDS[0], registry.TWICE):
                small = replace(row, tile=2 * row.halo + 28)
                patch.setitem(pipeline.BY_NAME, row.name, small)
                patch.setitem(registry.BY_NAME, row.name, small)

        yield House(
            "embedded",
            {"FLUXVISION_THREADS": "2"},
            spoil=lambda call: replace(call, body={**call.body, "backend": "nonsense"}),
            fail=fail,
            slow=slow,
            remote=False,
        )


@cache
def flux_weights() -> Path:
    """Make the tiny FLUX of all these tests, with the captioner beside it."""
    pytest.importorskip("torch", reason="needs the extra flux")
    from fakes.flux_models import make_captioner, make_flux2  # noqa: PLC0415, takes seconds

    root = Path(tempfile.mkdtemp(prefix="flux-contract-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    make_flux2(root / "flux")
    make_captioner(root / "captioner")
    return root


@asynccontextmanager
async def flux_house() -> AsyncIterator[House]:
    """Have weights of FLUX on this machine, which each test may break."""
    made = flux_weights()
    job = import_module("fluxvision.engine.flux.upscale")
    plain = job.backend_row
    with tempfile.TemporaryDirectory() as own, pytest.MonkeyPatch.context() as patch:
        root = Path(own, "weights")
        shutil.copytree(made, root)

        def fail(fault: str, call: Call) -> None:
            if fault in {"cut off", "no picture"}:
                content = call.image.path.read_bytes()
                call.image.path.write_bytes(
                    {"cut off": content[: len(content) // 2], "no picture": b"text" * 99}[fault]
                )
                return
            break_weights(root, fault)

        def slow() -> None:
            """Have small tiles, and so many of them."""
            patch.setattr(job, "backend_row", lambda row, *rest: plain(replace(row, tile=128), *rest))

        yield House(
            "flux",
            {
                "FLUXVISION_FLUX_MODEL": str(root / "flux"),
                "FLUXVISION_FLUX_DEVICE": "cpu",
                "FLUXVISION_CAPTION_MODEL": str(root / "captioner"),
                "FLUXVISION_FLUX_RESUME": "none",
                "FLUXVISION_THREADS": "2",
            },
            spoil=lambda call: replace(call, body={**call.body, "creativity": math.nan}),
            fail=fail,
            secrets=(str(root), own),
            slow=slow,
            remote=False,
        )


def break_weights(root: Path, fault: str) -> None:
    """Take a file away, cut one short, or have another network's."""
    if fault == "no index":
        (root / "flux" / "model_index.json").unlink()
    elif fault == "no captioner":
        shutil.rmtree(root / "captioner")
    elif fault == "other weights":
        config = root / "flux" / "transformer" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 64}), encoding="utf-8")
    else:
        [file] = (root / "flux" / "vae").glob("*.safetensors")
        if fault == "half the weights":
            file.unlink()
        else:
            file.write_bytes({"short weights": file.read_bytes()[:9999], "empty weights": b""}[fault])


HOUSES = {"flux": flux_house, "fal": fal_house, "openai": openai_house, "embedded": embedded_house}
FAILURES = {
    "flux": (
        *("cut off", "no picture", "no index", "half the weights", "short weights", "empty weights", "other weights"),
        "no captioner",
    ),
    "fal": (
        *("submit 400", "submit 401", "submit 422", "submit 429", "submit 500", "submit html", "submit lost"),
        *("submit policy", "submit balance", "submit elsewhere", "status failed", "status policy", "result 499"),
        *("result none", "result black", "result text", "result ftp", "file missing", "file private"),
    ),
    "openai": (
        *("unauthorized", "unprocessable", "invalid_words", "busy", "499", "500_html", "html", "garbage", "policy"),
        *("disconnect", "redirect", "quota", "no_image", "bad_base64", "not_a_picture", "truncated", "url_404"),
        *("url_private", "url_html"),
    ),
    "embedded": ("cut off", "no picture"),
}
NAMES = [row.name for row in PROVIDERS]


def case(name: str, *values: str) -> Any:
    """Return parameters of a test of a provider, in the provider's tier."""
    return pytest.param(name, *values, marks=[pytest.mark.flux] if name == "flux" else [])


@pytest.fixture(params=map(case, NAMES))
async def house(request):
    """The surroundings of each row's provider."""
    async with HOUSES[request.param]() as made:
        yield made


@pytest.fixture
def parts(house):
    """The name, provider and offer that a row makes of the settings."""
    return built(house)


@pytest.fixture
async def provider(parts):
    """The provider, closed afterwards."""
    yield parts[1]
    await parts[1].aclose()


def built(house):
    settings = load_settings(house.environment)
    module, _, function = next(row.entry for row in PROVIDERS if row.name == house.name).partition(":")
    [(named, provider)] = getattr(import_module(module), function)(settings).items()
    model = catalog.configure_offers(CATALOG, settings)[0]
    return named, provider, next(offer for offer in model.offers if offer.provider == named)


def asking(parts, path: Path, sides=(40, 24), colour=RED, **values: Any) -> Call:
    """Return the call that the gateway would make for a gradient of a colour."""
    shade = Image.linear_gradient("L").resize(sides)
    Image.merge("RGB", [shade.point(lambda grey, most=most: grey * most // 255) for most in colour]).save(path)
    source = imaging.probe(path, imaging.Limits())
    asked = replace(job(*sides, prompt=PROMPT, **values), image=source)
    call = normalize(asked, parts[2])[0]
    image = prepare_input(source, parts[2].accepts, path.parent, JobCallbacks())
    return replace(call, image=image, key=f"work-{path.stem}")


def pixels(outcome: ProviderResult) -> np.ndarray[Any, Any]:
    """Return what was made, as (rows, columns, bands)."""
    if isinstance(outcome.picture, RawImage):
        raster = outcome.picture
        return np.fromfile(raster.path, np.uint8).reshape(raster.height, raster.width, raster.bands)
    with Image.open(delivered(outcome)) as picture:
        return np.asarray(picture)


def everything(root: Path) -> set[Path]:
    return set(root.rglob("*"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110, of other machinery
            await asyncio.sleep(0.01)


def test_every_row_is_tried():
    """A provider without surroundings and failures of its own here is not tested."""
    assert set(HOUSES) == set(FAILURES) == set(NAMES)


def test_what_a_provider_says_of_itself(house, parts):
    """It has a title for people, room for at least one call, and says whether the work is done elsewhere."""
    _, provider, _ = parts
    assert provider.title.strip() == provider.title != ""
    assert 1 <= provider.parallel <= 64
    assert 1 <= provider.workers <= 1024
    assert provider.remote is house.remote


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, (80, 48)),
        ({"scale_factor": 1.5}, (60, 36)),
        ({"scale_factor": 4}, (160, 96)),
        ({"size": "100x60"}, (100, 60)),
        ({"scale_factor": 1, "creativity": 0, "seed": 7}, (40, 24)),
    ],
)
async def test_a_picture_of_about_the_size_asked_for(parts, provider, folder, values, size):
    """What check lets pass is made: as large as asked for to a few pixels, and the same colours."""
    call = asking(parts, folder.parent / "in.png", **values)
    provider.check(call)
    made = pixels(await provider.run(call, JobCallbacks(), folder))
    assert (made.shape[1], made.shape[0]) == pytest.approx(size, abs=2)
    with Image.open(folder.parent / "in.png") as source:
        wanted = np.asarray(source).mean(axis=(0, 1))
    assert made.mean(axis=(0, 1)) == pytest.approx(wanted, abs=3)


async def test_files_are_written_into_the_folder_only(parts, provider, tmp_path, folder, monkeypatch):
    """One file remains, in the job's folder; nothing lies beside it, here or among the system's temporary files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    monkeypatch.chdir(elsewhere)
    call = asking(parts, folder.parent / "in.png")
    before = everything(tmp_path)
    outcome = await provider.run(call, JobCallbacks(), folder)
    found = delivered(outcome)
    assert everything(tmp_path) - before == {found}
    assert found.parent == folder


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_a_cancelled_task_stops_the_work(house, parts, provider, folder, twice):
    """It ends soon, no file is left, and nothing goes on: not here, and not at the upstream."""
    house.slow()
    tiles = []
    callbacks = JobCallbacks(lambda done, _total: tiles.append(done))
    call = asking(parts, folder.parent / "in.png", (400, 300), scale_factor=4)
    task = asyncio.ensure_future(provider.run(call, callbacks, folder))
    await until(lambda: house.begun() == 1 or bool(tiles))
    assert not task.done()
    task.cancel()
    if twice:
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(SOON):
            await task
    await until(lambda: house.left() == house.begun())
    seen, asked = len(tiles), house.asked()
    await asyncio.sleep(0.2)
    assert (len(tiles), house.asked()) == (seen, asked)
    assert list(folder.iterdir()) == []


async def test_two_calls_at_once_do_not_disturb_each_other(parts, provider, tmp_path, folder):
    """Each gets the picture that it would get alone, in a file of its own, though both have one folder."""
    calls = [
        asking(parts, tmp_path / "red.png", (40, 24), RED, seed=3),
        asking(parts, tmp_path / "blue.png", (30, 42), BLUE, seed=4, scale_factor=3),
    ]
    alone = [pixels(await provider.run(call, JobCallbacks(), folder)) for call in calls]
    both = await asyncio.gather(*(provider.run(call, JobCallbacks(), folder) for call in calls))
    for outcome, wanted in zip(both, alone, strict=True):
        assert np.array_equal(pixels(outcome), wanted)
    assert len(list(folder.iterdir())) == 4


async def test_a_call_outlives_the_one_beside_it(house, parts, provider, tmp_path, folder):
    """A call that is cancelled or fails takes no other with it."""
    good = asking(parts, tmp_path / "good.png")
    tasks = [asyncio.ensure_future(provider.run(good, JobCallbacks(), folder)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    with pytest.raises(Error):
        await provider.run(house.spoil(good), JobCallbacks(), folder)
    for task in tasks[1:]:
        assert pixels(await task).shape == (48, 80, 3)
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert len(list(folder.iterdir())) == 2


async def test_check_refuses_what_run_refuses(house, parts, provider, tmp_path, folder):
    """A call that cannot be done is refused by both in the same words, naming the parameter, and nobody is asked."""
    call = house.spoil(asking(parts, tmp_path / "in.png"))
    with pytest.raises(InvalidRequest) as early:
        provider.check(call)
    with pytest.raises(InvalidRequest) as late:
        await provider.run(call, JobCallbacks(), folder)
    assert (early.value.message, early.value.param) == (late.value.message, late.value.param)
    assert early.value.message.startswith(f"{early.value.param}: ")
    assert house.asked() == 0
    assert list(folder.iterdir()) == []


async def test_ping(house, provider):
    """It says that a call could be served, and asks nobody for money."""
    assert await provider.ping() is True
    assert house.begun() == 0


@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
async def test_closing_twice_leaves_nothing(house, tmp_path, folder, used):
    """After aclose no task, thread or open connection of the provider is left, however often it is called."""
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    parts = built(house)
    provider = parts[1]
    if used:
        await provider.run(asking(parts, tmp_path / "in.png"), JobCallbacks(), folder)
    await provider.aclose()
    await provider.aclose()
    own = {thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")}
    assert own == set()
    del provider, parts
    gc.collect()  # what was not closed would warn now
    await until(lambda: asyncio.all_tasks() - tasks <= _of_the_fakes())


def _of_the_fakes() -> set[asyncio.Task[Any]]:
    """Return the tasks of servers in this loop: jobs, and connections that are about to close."""
    return {task for task in asyncio.all_tasks() if "aiohttp/web" in str(task.get_coro()) or "FakeFal" in str(task)}


@pytest.mark.parametrize(
    ("house", "fault"),
    [case(name, fault) for name, faults in FAILURES.items() for fault in faults],
    indirect=["house"],
)
async def test_a_failure_is_told_in_plain_words(house, parts, provider, folder, fault):
    """It is an error of ours: one or two sentences without key, address, prompt, path or technical words."""
    call = asking(parts, folder.parent / "in.png")
    house.fail(fault, call)
    with pytest.raises(Error) as caught:
        await provider.run(call, JobCallbacks(), folder)
    message = caught.value.message
    assert message.endswith(".")
    assert message.isprintable()
    assert 10 < len(message) < 400
    private = (*house.secrets, PROMPT, "127.0.0.1", "169.254", "ftp:", "base64,", str(folder.parent), "Errno")
    assert [word for word in private if word in message] == []
    assert [word for word in (*house.secrets, PROMPT) if word in repr(vars(caught.value))] == []
    assert list(folder.iterdir()) == []

"""FLUX whose tiles are made by a team: captions of tiles, memory that runs out in a worker, and what workers load."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image
from skimage import data

pytest.importorskip("torch", reason="needs the extra flux")

from fakes.flux_calls import call, opened, samples
from fakes.flux_runs import ROW
from fakes.flux_tight import WISHES, Tight, windows
from fluxvision.core.errors import Unavailable, UpstreamError, UpstreamRefused
from fluxvision.core.types import JobCallbacks
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.flux import remote
from fluxvision.engine.flux.options import AccelerationConfig, SamplingOptions
from fluxvision.engine.flux.upscale import decode_colours
from fluxvision.engine.teams import TEAMS, Terms
from fluxvision.engine.teams.squad import Squad
from fluxvision.providers import flux

WIDE = (24, 170)
"""Rows and columns of a picture that has two tiles at factor 2."""
TILE = 256


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "wide.png"
    Image.fromarray(data.astronaut()[60 : 60 + WIDE[0], 90 : 90 + WIDE[1]]).save(path)
    return path


class Here:
    """A team of this process, whose workers have room where `fits` says so of what they load and make."""

    def __init__(self, fits=lambda _weights, _work: True, fault=None):
        """Fail with `fault`, None: as a worker does when not even one tile fits."""
        self._fits, self._fault = fits, fault or MemoryError("There is no room for a single tile.")
        self.asked = []

    def crew(self, wanted):
        """Return a crew."""
        return _Crew(wanted, self._fits, self._fault, self.asked)

    def close(self):
        """Have nothing to end."""


class _Crew:
    def __init__(self, wanted, fits, fault, asked):
        self._recipe, self._fits, self._fault, self._asked = wanted, fits, fault, asked

    def make(self, work, stop, batches=None):
        """Make the tiles, if there is room."""
        weights = self._recipe.arguments[0]
        self._asked.append((weights, work))
        if not self._fits(weights, work):
            raise self._fault
        yield from ThreadExecutor(self._recipe.backend(stop), 1).make(work, stop, batches)


def on(team, weights, captioner="none", **ways):
    """Return a provider whose tiles a team makes."""
    provider = opened(weights, tile=TILE, ways={"team": team, **ways})
    named = str(weights / "captioner") if captioner != "none" else ""
    provider.models.source = flux.ModelSource(str(weights / "flux2"), None, "cpu", captioner, named, elsewhere=True)
    return provider


@pytest.fixture(autouse=True)
def nothing_loaded():
    """What a worker loads is loaded in this process here."""
    yield
    remote._kept.clear()


async def test_tiles_in_a_worker_have_captions_of_their_own(weights, wide, folder, monkeypatch):
    """A real worker makes the bytes of this process, guided tile by tile; without captions they are others."""
    wanted, made = call(wide, (340, 48), prompt="soft fur", seed=3), {}

    def said(pictures, _words):
        return [f"A wall of {int(1e6 * picture.mean())} bricks." for picture in pictures]

    team = TEAMS[0].open(Terms(1))
    providers = {
        "here": opened(weights, tile=TILE, ways={"tile_captions": True}),
        "worker": on(team, weights, "qwen3-vl-2b", tile_captions=True),
        "plain": opened(weights, tile=TILE),
    }
    for name, provider in providers.items():
        captioner = provider.models.get().captioner
        monkeypatch.setattr(captioner._sight, "describe", said)
        made[name] = await provider.run(wanted, JobCallbacks(), folder)
        await provider.aclose()
    assert samples(made["worker"]) == samples(made["here"])
    assert samples(made["worker"]) != samples(made["plain"])
    assert [one.details["tile_captions"] for one in made.values()] == [True, True, False]
    assert made["worker"].details["tiles"] == 2


@pytest.mark.parametrize(
    ("fits", "memory"),
    [
        (lambda weights, _work: weights.speed.fp8, ["fp8"]),
        (lambda _weights, work: work.row.tile <= 96, ["fp8", "tile 192"]),
    ],
)
async def test_what_does_not_fit_into_a_worker_is_asked_with_less(weights, wide, folder, fits, memory):
    """All workers load 8 bits, then all tiles become smaller; it is told, and the next job begins with that."""
    team = Here(fits)
    provider = on(team, weights)
    for _ in range(2):
        outcome = await provider.run(call(wide, (340, 48)), JobCallbacks(), folder)
        assert outcome.details["memory"] == memory
        assert outcome.details["levers"]["fp8"] == remote.ASKED
    assert len(team.asked) == len(memory) + 2
    assert [one.speed.fp8 for one, _ in team.asked] == [False] + [True] * (len(memory) + 1)
    await provider.aclose()


async def test_workers_that_have_no_room_at_all_are_not_asked_for_ever(weights, wide, folder):
    """Once for each thing that can be given up; then it is said, and the next call asks a single time."""
    team = Here(lambda _weights, _work: False)
    provider = on(team, weights)
    for tries in (4, 5):
        with pytest.raises(UpstreamError) as caught:
            await provider.run(call(wide, (340, 48)), JobCallbacks(), folder)
        assert (caught.value.message, len(team.asked)) == (flux.NO_ROOM, tries)
    assert list(folder.iterdir()) == []
    await provider.aclose()


async def test_a_worker_that_cannot_load_lets_the_next_provider_go_on(weights, wide, folder, monkeypatch):
    """Weights that a machine lacks, or that are damaged there, are one clear sentence without a path."""

    def damaged(*_args, **_rest):
        raise OSError("Error while deserializing", str(weights))

    monkeypatch.setattr(remote, "load_networks", damaged)
    for team, sentence in (
        (Here(), flux.NOT_LOADED),
        (Here(lambda *_: False, Unavailable("They are not on this machine.", param="engine")), "They are not"),
    ):
        provider = on(team, weights)
        with pytest.raises(UpstreamRefused, match=sentence) as caught:
            await provider.run(call(wide, (340, 48)), JobCallbacks(), folder)
        assert caught.value.goes_on
        await provider.aclose()


class Telling:
    """A team of this process, whose worker has to give something up for each picture."""

    def crew(self, wanted):
        """Return a crew."""
        return Squad(self, wanted)

    def make(self, wanted, work, stop, batches, tell):
        """Make the tiles, and tell of it."""
        backend = wanted.backend(stop)
        for _, room in remote._kept.values():
            assert room.less()
        yield from ThreadExecutor(backend, 1).make(work, stop, batches)
        tell(backend.notes)
        tell(backend.notes)

    def close(self):
        """Have nothing to end."""


async def test_what_workers_gave_up_is_told(weights, wide, folder):
    """Each once, with the levers that are in force there."""
    provider, here = on(Telling(), weights), opened(weights, tile=TILE)
    made = await provider.run(call(wide, (340, 48)), JobCallbacks(), folder)
    plain = await here.run(call(wide, (340, 48)), JobCallbacks(), folder)
    levers = [f"{name}: {way}" for name, way in plain.details["levers"].items()]
    assert made.details["workers"] == {"memory": ["batch 2"]} | ({"levers": levers} if levers else {})
    assert "workers" not in plain.details
    await provider.aclose()
    await here.aclose()


async def test_levers_of_workers_are_part_of_a_job(weights, wide, folder):
    """Tiles that were kept by workers with 8 bits are not taken by workers without."""
    keys = set()
    for speed in (AccelerationConfig(), AccelerationConfig(fp8=True), AccelerationConfig(compile=False)):
        provider = on(Here(), weights)
        provider.models.source = flux.ModelSource(
            str(weights / "flux2"), None, "cpu", "none", "", speed, elsewhere=True
        )
        found = provider.models.get()
        job = decode_colours(provider._ways, found, call(wide), JobCallbacks(), lambda: None, folder)
        keys.add(job._key(SamplingOptions(), None))
        await provider.aclose()
    assert len(keys) == 3


async def test_all_workers_load_one_revision(weights, tmp_path, monkeypatch):
    """Of weights in the hub's cache that of this machine, whatever is newest on another."""
    import huggingface_hub  # noqa: PLC0415, of the extra

    commit, repo = "0123456789" * 4, tmp_path / "hub" / "models--someone--flux"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit, encoding="utf-8")
    shutil.copytree(weights / "flux2", repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    provider = on(Here(), weights)
    provider.models.source = flux.ModelSource("someone/flux", None, "cpu", "none", "", elsewhere=True)
    assert provider.models.get().networks.weights.revision == commit
    await provider.aclose()


def test_a_worker_gives_up_only_what_changes_no_byte(weights, monkeypatch):
    """Fewer tiles at once, then the text encoder's place; after that it says that there is no room."""
    stub = Tight(most=0)
    monkeypatch.setattr(remote, "load_networks", lambda *_args, **_rest: stub)
    wanted = remote.flux_recipe(remote.Weights(ROW, str(weights)), 2, WISHES, 1)
    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            wanted.backend(lambda: None).detail(windows(4))
    assert (stub.given, stub.tries) == (["text"], [4, 2, 1, 1, 1])


def test_a_worker_holds_one_set_of_networks(monkeypatch):
    """The old ones are closed before others are loaded: there is no room for both."""
    events = []

    class Loaded(Tight):
        def close(self):
            events.append("closed")

    monkeypatch.setattr(remote, "load_networks", lambda *_args, **_rest: (events.append("loaded"), Loaded())[1])
    for model in ("one", "one", "two"):
        remote.flux_recipe(remote.Weights(ROW, model), 2, WISHES, 1).backend(lambda: None)
    assert events == ["loaded", "closed", "loaded"]

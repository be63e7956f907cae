"""What holds on a Ray cluster: servers share it, room is given back, and its loss is one clear sentence."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import numpy as np
import psutil
import pytest
from PIL import Image
from skimage import data

from fakes.cli_process import REAL, environment
from fakes.cluster import FACTS, JOINS, Cluster
from fakes.teamwork import MOCK, PATIENCE, PICTURES, expected, fake, samples, until, work
from fluxvision import imaging
from fluxvision.core.errors import Unavailable, UpstreamRefused
from fluxvision.core.types import Call, JobCallbacks
from fluxvision.engine.teams import TEAMS, Limits, Terms, session
from fluxvision.engine.teams.fleet import Fleet
from fluxvision.providers import embedded

RAY = next(row for row in TEAMS if row.name == "ray")


@pytest.fixture(scope="module", autouse=True)
def joins():
    """What a program that joins needs; Ray reads it when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        for name in JOINS:
            patch.setenv(name, FACTS[name])
        pytest.importorskip("ray", reason="needs the extra cluster")
        yield


@pytest.fixture(scope="module")
def cluster():
    """A cluster of four processor cores, and a GPU that is one by name only."""
    made = Cluster("--num-gpus=1")
    yield made
    made.close()


@pytest.fixture
def team(cluster):
    """What opens teams that are servers of their own, each with a process of its own on the cluster."""
    with ExitStack() as stack:
        yield lambda **terms: stack.enter_context(closing(RAY.open(Terms(cluster=cluster.address, **terms))))


class Run(threading.Thread):
    """A job in the background; `ended` is when it was done."""

    def __init__(self, crew, of):
        """Begin it."""
        super().__init__(daemon=True)
        self._crew, self._of = crew, of
        self.found, self.ended = None, None
        self.start()

    def run(self):
        """Do it."""
        self.found = samples(self._crew, self._of)
        self.ended = time.monotonic()


def makers(folder):
    """Return the processes that make tiles, those that began last first, and how many batches there are."""
    files = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns, reverse=True)
    return [one.name.split("-")[0] for one in files]


def command(picture, out, address):
    """Start the command line on a picture."""
    arguments = ["upscale", str(picture), "--out", str(out), "--scale", "4", "--provider", "embedded"]
    more = {"FLUXVISION_CLUSTER": address} if address else {}
    return subprocess.Popen(
        [*REAL, *arguments], env=environment(**more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_two_command_lines_share_a_cluster(cluster, tmp_path):
    """Different pictures at once, by either kind of address: the pixels of this machine, and both come to their end."""
    pictures = {"long": data.astronaut()[:300, :300], "short": data.chelsea()[:150, :200]}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    runs = {
        name: command(tmp_path / f"{name}.png", tmp_path / f"{name}-there.png", address)
        for name, address in (("long", cluster.address), ("short", cluster.client))
    }
    said = {name: run.communicate(timeout=PATIENCE)[1] for name, run in runs.items()}
    assert [run.returncode for run in runs.values()] == [0, 0], said
    for name in pictures:
        here = command(tmp_path / f"{name}.png", tmp_path / f"{name}-here.png", "")
        assert here.wait(PATIENCE) == 0
        here.stderr.close()
        assert np.array_equal(pixels(tmp_path / f"{name}-there.png"), pixels(tmp_path / f"{name}-here.png"))


def test_room_is_shared_fairly_and_given_back(team, tmp_path):
    """Who comes second gets half of it in the middle of the first job, and all is the first one's again later."""
    first, second = team(), team()
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    of = work(batch=1)
    long = Run(first.crew(fake("placed", str(tmp_path / "1"), 1.2)), of)
    until(lambda: len(set(makers(tmp_path / "1"))) == 4)
    short = Run(second.crew(fake("placed", str(tmp_path / "2"), 0.2)), of)
    until(lambda: short.ended)
    assert len(set(makers(tmp_path / "2"))) >= 2
    assert long.ended is None
    second.close()
    before = len(makers(tmp_path / "1"))
    until(lambda: long.ended or len(set(makers(tmp_path / "1")[:-before])) >= 3)
    long.join(PATIENCE)
    assert [long.found, short.found] == [expected(of)] * 2


def test_servers_take_turns_where_there_are_more_than_places(team, tmp_path, caplog):
    """Two servers and one GPU: who waits is told why, and both get it before the first job is done."""
    limits = Limits(short_turn=2.0, quiet=1.0)
    teams = [team(gpus=1.0, limits=limits) for _ in range(2)]
    of = work(batch=2)
    with caplog.at_level(logging.WARNING):
        long = Run(teams[0].crew(fake("placed", str(tmp_path), 1.0)), of)
        until(lambda: makers(tmp_path))
        short = Run(teams[1].crew(MOCK), of)
        until(lambda: short.ended)
    assert long.ended is None
    long.join(PATIENCE)
    assert [long.found, short.found] == [expected(of)] * 2
    assert len(set(makers(tmp_path))) >= 2
    waits = [record.getMessage() for record in caplog.records]
    assert "A picture waits for a GPU on the cluster: all 1 are taken, other servers with work there: 1." in waits


def test_who_waits_for_strangers_too_long_says_so(team):
    """Room that others hold for ever ends a job with a sentence that names the setting."""
    limits = Limits(queue=3.0, short_turn=600.0)
    holder = team(gpus=1.0, limits=limits)
    assert samples(holder.crew(MOCK), work("small")) == expected(work("small"))
    long = Run(holder.crew(fake("slow", 8.0)), work("small"))
    with pytest.raises(Unavailable, match="taken by others") as caught:
        samples(team(gpus=1.0, limits=limits).crew(MOCK), work("small"))
    assert caught.value.param == "cluster"
    long.join(PATIENCE)
    assert long.found == expected(work("small"))


@pytest.mark.parametrize(("limit", "seconds"), [("idle", 1.0), ("turn", 2.0)])
def test_room_is_given_back(cluster, limit, seconds, tmp_path):
    """After a time with nothing to do, or a turn in the middle of a job; the job after it begins anew."""
    import ray  # noqa: PLC0415, of the extra

    fleet = Fleet(Terms(2, cluster=cluster.address, limits=Limits(**{limit: seconds})))
    try:
        of = work(batch=4)
        assert samples(fleet.crew(fake("placed", str(tmp_path), 0.8)), of) == expected(of)
        if limit == "turn":
            assert len(set(makers(tmp_path))) > 2
        until(lambda: fleet.size == 0)
        until(lambda: ray.available_resources().get("CPU") == 4)
        assert samples(fleet.crew(MOCK), work("small")) == expected(work("small"))
    finally:
        fleet.close()


def test_a_killed_server_frees_its_room(cluster, tmp_path):
    """A process that is killed takes its actors along: another one gets their room."""
    script = (
        "import sys\n"
        "from fakes.teamwork import *\n"
        "from fluxvision.engine.teams import TEAMS, Terms\n"
        "samples(TEAMS[1].open(Terms(cluster=sys.argv[1])).crew(fake('placed', sys.argv[2], 30.0)), work(batch=1))\n"
    )
    arguments = [sys.executable, "-c", script, cluster.address, str(tmp_path)]
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL) as process:
        until(lambda: len(set(makers(tmp_path))) == 4)
        process.kill()
    until(lambda: not any(psutil.pid_exists(int(one)) for one in makers(tmp_path)))
    with closing(RAY.open(Terms(cluster=cluster.address))) as team:
        assert samples(team.crew(MOCK), work()) == expected(work())


@pytest.mark.parametrize("kind", ["address", "client"])
async def test_a_lost_cluster_is_one_sentence(kind, tmp_path):
    """The head dies in the middle of a job: the next provider is asked, soon; so it is with the job after that."""
    made = await asyncio.to_thread(Cluster)
    provider = embedded.Provider(1, team=RAY.open(Terms(2, cluster=getattr(made, kind), limits=Limits(lost=4.0))))
    # Large enough that the job cannot end before the loss is seen.
    Image.fromarray(np.tile(data.astronaut()[:400, :400], (3, 3, 1))).save(tmp_path / "in.png")
    source = imaging.probe(tmp_path / "in.png", imaging.Limits())
    call = Call("embedded", "span", {"size": (4800, 4800), "creativity": 0.3}, source, None)
    lost = []

    def progress(done, _total):
        if done == 1:
            made.nodes[0].kill()
            lost.append(time.monotonic())

    try:
        for watch in (JobCallbacks(progress), JobCallbacks()):
            with pytest.raises(UpstreamRefused, match="that the setting cluster names") as caught:
                await provider.run(call, watch, tmp_path)
            assert caught.value.goes_on
        assert time.monotonic() - lost[0] < 20
        assert [one.name for one in tmp_path.iterdir()] == ["in.png"]
    finally:
        await provider.aclose()
        made.close()


def test_by_ray_client_it_is_the_same(cluster, tmp_path):
    """From outside, by ray://, the bytes are those of threads, and a worker that dies loses nothing."""
    with closing(RAY.open(Terms(2, cluster=cluster.client))) as team:
        for name in PICTURES:
            of = work(name, 3)
            assert samples(team.crew(MOCK), of) == expected(of)
        assert samples(team.crew(fake("deadly", str(tmp_path), 2)), work()) == expected(work())
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_said(address):
    """An address where nothing listens gives one sentence that names the setting, and soon."""
    made = RAY.open(Terms(cluster=address))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="setting cluster") as caught:
        samples(made.crew(MOCK), work())
    assert caught.value.param == "cluster"
    assert time.monotonic() - began < 20
    made.close()


def test_a_missing_extra_is_said(monkeypatch):
    """Without Ray there is one sentence that names the setting and what to install."""
    find = session.find_spec
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == "ray" else find(name))
    made = RAY.open(Terms(cluster="auto"))
    with pytest.raises(Unavailable, match=r"fluxvision\[cluster\]"):
        samples(made.crew(MOCK), work())
    made.close()

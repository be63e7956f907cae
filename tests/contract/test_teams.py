"""What every team of workers promises, run for each row: the bytes of this process's own threads, whatever dies."""

import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fakes.cluster import FACTS, JOINS, Cluster
from fakes.teamwork import MOCK, PATIENCE, PICTURES, expected, fake, go_on, samples, until, work
from fakes.tiles import spoken
from fluxvision.core.errors import Cancelled, Unavailable, UpstreamError
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.teams import TEAMS, Terms
from fluxvision.engine.teams.fleet import Fleet
from fluxvision.engine.teams.lending import AHEAD


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        for name in JOINS:  # Ray reads them when it is imported
            patch.setenv(name, FACTS[name])
        pytest.importorskip("ray", reason="needs the extra cluster")
        made = Cluster()
        yield made
        made.close()


PLACES = {"processes": None, "ray": "address"}
"""The rows, and which of the cluster's addresses each takes; `test_cluster.py` has the others."""


@pytest.fixture(scope="module", params=PLACES)
def terms(request):
    """The row, and terms for a team of two."""
    address = PLACES[request.param]
    row = next(row for row in TEAMS if row.name == request.param)
    return row, Terms(2, cluster=(address and getattr(request.getfixturevalue("cluster"), address)) or "")


@pytest.fixture(scope="module")
def team(terms):
    row, wanted = terms
    made = row.open(wanted)
    yield made
    made.close()


@pytest.mark.parametrize(("picture", "batch"), [("colour", 1), *((name, 3) for name in PICTURES)])
def test_a_team_makes_the_bytes_of_threads(team, picture, batch):
    """Any picture and any size of a batch come out as from threads of this process, in order."""
    of = work(picture, batch)
    assert samples(team.crew(MOCK), of) == expected(of)


def test_words_go_with_their_tiles(team):
    """Every tile is guided by its own, wherever it is made."""
    of = work()
    of = replace(of, words=tuple("x" * (number % 7) for number in range(of.total)))
    made = samples(team.crew(fake("spoken")), of)
    assert made == samples(ThreadExecutor(spoken(), 1), of)
    assert made != expected(of)


def test_the_tiles_can_be_written_to(team):
    """What comes out belongs to who asked: the pipeline fades tiles where they lie."""
    for batch in team.crew(MOCK).make(work(), go_on):
        for tile in batch:
            tile[...] = 0


def test_a_crew_makes_the_batches_asked_for(team):
    """Some of a job's batches come out as they do among all."""
    of = work()
    some = of.batches[1::3]
    assert samples(team.crew(MOCK), of, batches=some) == expected(of)[1::3]


def test_several_jobs_share_a_team(team):
    """Three jobs at once, of different backends, get their own bytes."""
    jobs = [(MOCK, work("colour")), (fake("slow", 0.01), work("alpha", 1)), (MOCK, work("grey", 3))]
    found = {}
    threads = [
        threading.Thread(target=lambda n=n, r=r, w=w: found.update({n: samples(team.crew(r), w)}))
        for n, (r, w) in enumerate(jobs)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [found[number] for number in range(3)] == [expected(of) for _, of in jobs]


def test_what_is_made_ahead_is_bounded(team, tmp_path):
    """A job whose tiles nobody takes stops after a few batches: memory does not grow with the picture."""
    of = work(batch=1)
    with closing(team.crew(fake("noted", str(tmp_path))).make(of, go_on)) as batches:
        next(batches)
        time.sleep(1)
        assert 1 <= len(list(tmp_path.iterdir())) <= AHEAD * 2 + 1 < of.total  # one is on its way


@pytest.mark.parametrize("when", ["at once", "later"])
def test_stop_ends_the_work(team, tmp_path, when):
    """What `stop` raises comes out soon, while a worker is at a batch; the worker gives that up and is good again."""
    began = time.monotonic()

    def stop():
        if when == "at once" or (tmp_path / "began").exists():
            raise Cancelled("The work was cancelled.")
        assert time.monotonic() - began < PATIENCE

    with pytest.raises(Cancelled):
        samples(team.crew(fake("waiting", str(tmp_path), stops=True)), work(), stop)
    if when == "later":
        until((tmp_path / "stopped").exists)
    assert samples(team.crew(MOCK), work()) == expected(work())


def test_closing_the_iterator_ends_the_work(team):
    """A job that is left in its middle is over, and the next one gets the workers."""
    batches = team.crew(fake("slow", 0.05)).make(work(batch=1), go_on)
    next(batches)
    batches.close()
    assert samples(team.crew(MOCK), work()) == expected(work())


def test_an_error_in_a_worker_comes_out(team):
    """What a backend raises in a worker is raised here, and the worker goes on."""
    with pytest.raises(ValueError, match="no such luck"):
        samples(team.crew(fake("broken", "no such luck")), work())
    assert samples(team.crew(MOCK), work()) == expected(work())


def test_a_worker_that_dies_loses_nothing(team, tmp_path):
    """A batch whose worker is killed is made by another one: the same bytes."""
    assert samples(team.crew(fake("deadly", str(tmp_path), 2)), work()) == expected(work())
    assert len(list(tmp_path.iterdir())) == 2


def test_a_batch_that_always_kills_ends_the_job(team, tmp_path):
    """After three workers a batch is taken for the reason; the team goes on with other work."""
    of = work(batch=100)
    with pytest.raises(UpstreamError, match="three workers"):
        samples(team.crew(fake("deadly", str(tmp_path), 1000)), of)
    assert len(list(tmp_path.iterdir())) == 3
    assert samples(team.crew(MOCK), of) == expected(of)


@pytest.mark.parametrize("how", ["asleep", "stuck"])
def test_a_worker_that_hangs_is_replaced(team, tmp_path, how):
    """A batch whose worker gives no sign of life for too long is made by another one: the same bytes."""
    recipe = fake("hanging", str(tmp_path), how, patience=2.0)
    assert samples(team.crew(recipe), work()) == expected(work())
    until(lambda: not psutil.pid_exists(int((tmp_path / "hung").read_text(encoding="ascii"))))


def test_a_worker_that_works_slowly_is_left_alone(team, tmp_path):
    """A batch may take longer than that as long as there are signs of life."""
    made = samples(team.crew(fake("lasting", str(tmp_path), 2.5, stops=True, patience=1.5)), work(batch=100))
    assert made == expected(work(batch=100))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_worker_that_does_not_give_up_is_not_lent(team, tmp_path):
    """A job that was cancelled leaves a worker that goes on: the next job is made by the others, and it is replaced."""

    def stop():
        if (tmp_path / "hung").exists():
            raise Cancelled("The work was cancelled.")

    with pytest.raises(Cancelled):
        samples(team.crew(fake("hanging", str(tmp_path), "asleep", patience=4.0)), work(), stop)
    began = time.monotonic()
    assert samples(team.crew(MOCK), work()) == expected(work())
    assert time.monotonic() - began < 3.5
    hung = int((tmp_path / "hung").read_text(encoding="ascii"))
    assert psutil.pid_exists(hung)
    until(lambda: samples(team.crew(MOCK), work("small")) and not psutil.pid_exists(hung))


def test_what_workers_tell_comes_back(team):
    """The notes of backends are there when the job is done, each once."""
    crew = team.crew(fake("telling", "memory", "smaller batches"))
    assert samples(crew, work(batch=1)) == expected(work(batch=1))
    assert crew.notes == (("memory", "smaller batches"),)


def test_a_closed_team_says_so(terms):
    """A team that was closed starts nothing any more."""
    row, wanted = terms
    made = row.open(wanted)
    made.close()
    with pytest.raises(Unavailable):
        samples(made.crew(MOCK), work())


def test_closing_a_team_ends_its_jobs(terms, tmp_path):
    """A job that is at work when its team is closed ends with an error instead of waiting for ever."""
    row, wanted = terms
    made = row.open(wanted)
    closer = threading.Thread(target=lambda: (until((tmp_path / "began").exists), made.close()))
    closer.start()
    with pytest.raises(Unavailable):
        samples(made.crew(fake("waiting", str(tmp_path), stops=True)), work())
    closer.join()


# Processes alone.


@pytest.fixture
def processes():
    made = TEAMS[0].open(Terms(2))
    yield made
    made.close()


def opened():
    """Return how many blocks of shared memory this process has open or mapped."""
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sum("memfd:fluxvision" in one for one in [*links, *maps])


def named():
    """Return the shared memory of this machine that has a name."""
    return {entry.name for entry in Path("/dev", "shm").iterdir()}


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_processes_changes_no_byte(count):
    """One process and three make the same."""
    made = TEAMS[0].open(Terms(count))
    assert samples(made.crew(MOCK), work()) == expected(work())
    assert len(made.processes) == count
    made.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_is_left_behind(processes):
    """After a job that was left, and a closed team, there is no process and no shared memory."""
    shared = named()
    before = opened()
    batches = processes.crew(fake("slow", 0.02)).make(work(batch=1), go_on)
    next(batches)
    alive = processes.processes
    batches.close()
    assert opened() == before
    processes.close()
    assert len(alive) == 2
    assert not any(psutil.pid_exists(one) for one in alive)
    assert named() <= shared


def test_a_killed_process_is_replaced(processes):
    """A kill -9 from outside, in the middle of a job and between jobs, changes no byte."""
    with closing(processes.crew(fake("slow", 0.02)).make(work(batch=1), go_on)) as batches:
        made = [next(batches)]
        psutil.Process(processes.processes[0]).kill()
        made += batches
    assert [batch[0].tobytes() for batch in made] == expected(work(batch=1))
    for one in processes.processes:
        psutil.Process(one).kill()
    assert samples(processes.crew(MOCK), work()) == expected(work())
    assert len(processes.processes) == 2


def test_a_machine_without_room_for_processes_says_so(processes, tmp_path, monkeypatch):
    """Where a dead worker cannot be replaced, the jobs end with an error; later there is room again."""

    def full(*_args, **_rest):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    samples(processes.crew(MOCK), work())
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", full)
        for _ in range(2):
            with pytest.raises(Unavailable, match="worker process"):
                samples(processes.crew(fake("deadly", str(tmp_path), 1000)), work())
    assert samples(processes.crew(MOCK), work()) == expected(work())


def test_workers_are_kept_between_jobs(processes):
    """The second job runs in the processes of the first."""
    samples(processes.crew(MOCK), work())
    first = processes.processes
    samples(processes.crew(MOCK), work("grey"))
    assert processes.processes == first


def test_processes_end_with_their_parent(tmp_path):
    """When the parent is killed, its workers end at once, even in the middle of a batch."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_teams import *\n"
        "team = TEAMS[0].open(Terms(2))\n"
        "batches = team.crew(fake('slow', 30)).make(work(), go_on)\n"
        "threading.Thread(target=lambda: next(batches), daemon=True).start()\n"
        "until(lambda: len(team.processes) == 2)\n"
        "print(*team.processes, flush=True)\n"
        "time.sleep(2)\n"
        "import os; os.kill(os.getpid(), 9)\n"
    )
    with psutil.Popen([sys.executable, str(script), str(Path(__file__).parent)], stdout=subprocess.PIPE) as parent:
        alive = [int(one) for one in parent.stdout.readline().split()]
        assert len(alive) == 2
        parent.wait(PATIENCE)
    until(lambda: not any(psutil.pid_exists(one) for one in alive), 5)


def test_each_process_sees_its_own_device():
    """Workers get the devices one after the other, before anything could look at them."""
    made = TEAMS[0].open(Terms(3, devices=("4", "GPU-7")))
    samples(made.crew(MOCK), work())
    seen = [psutil.Process(one).environ()["CUDA_VISIBLE_DEVICES"] for one in made.processes]
    made.close()
    assert seen == ["4", "GPU-7", "4"]


# The cluster alone.


def test_a_node_that_dies_loses_nothing(cluster):
    """A second machine joins, works, and is lost in the middle of a job: the same bytes."""
    made = Fleet(Terms(6, cluster=cluster.address))
    of = work(batch=1)
    try:
        samples(made.crew(MOCK), of)
        alone = set(made.ready)
        node = cluster.grow()
        until(lambda: len(samples(made.crew(MOCK), of)) and len(made.ready) >= len(alone) + 2)
        there = set(made.ready) - alone
        with closing(made.crew(fake("slow", 0.3)).make(of, go_on)) as batches:
            found = [next(batches)]
            node.kill()
            found += batches
        assert [batch[0].tobytes() for batch in found] == expected(of)
        assert there - set(made.ready)
    finally:
        made.close()

"""A real deployment on a Ray cluster: the bytes of threads, whatever dies, and one sentence where it cannot be had."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec
import pytest
from PIL import Image
from skimage import data

from fakes.cluster import TOKEN, Cluster
from fakes.flux_calls import call as flux_call
from fakes.tile_jobs import PICTURES, expected, go_on, samples, until, work
from fakes.tiles import spoken
from fluxvision import __version__, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, Unavailable, UpstreamError, UpstreamRefused
from fluxvision.core.load_settings import load_settings
from fluxvision.core.types import Call
from fluxvision.engine.executors.messages import Deployment, Failure, decode, encode
from fluxvision.engine.executors.ray_serve import RayServe
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.providers import embedded, flux

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra cluster"),
    pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra flux"),
]

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
FLUX = {"flux_device": "cpu", "captioner": "none", "flux_resume": "none"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Tiny networks of FLUX."""
    from fakes.flux_models import make_flux2  # noqa: PLC0415, takes seconds

    root = tmp_path_factory.mktemp("weights")
    make_flux2(root / "flux2")
    return root / "flux2"


@pytest.fixture(scope="module")
def deployed(weights):
    """A deployment of two replicas."""
    made = Cluster(flux_model=str(weights), **FLUX)
    yield made
    made.close()


@pytest.fixture
def cluster(deployed):
    """Its client."""
    return RayServe(deployed.address, TOKEN)


def mock(cluster):
    return cluster.executor("embedded", {"name": "mock"})


def fake(cluster, name, *arguments, stops=False):
    return cluster.executor("fake", (name, arguments, stops))


@pytest.mark.parametrize("picture", PICTURES)
def test_the_bytes_are_those_of_threads(cluster, picture):
    """Any picture comes out as from threads of this process, in order, and its tiles can be written to."""
    of = work(picture, 3)
    assert samples(mock(cluster), of) == expected(of)
    assert samples(mock(cluster), of, batches=of.batches[1::2]) == expected(of)[1::2]
    for batch in mock(cluster).make(of, go_on):
        for tile in batch:
            tile[...] = 0


def test_words_go_with_their_tiles(cluster):
    """Every tile is guided by its own."""
    of = work()
    of = replace(of, prompts=tuple("x" * (number % 7) for number in range(of.total)))
    assert samples(fake(cluster, "spoken"), of) == samples(ThreadExecutor([spoken()], 1), of) != expected(of)


async def test_embedded_makes_the_same_picture(deployed, tmp_path):
    """A real network, from the settings to the pixels."""
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(tmp_path / "photo.png")
    source = imaging.probe(tmp_path / "photo.png", imaging.Limits())
    call, made = Call("embedded", "span", {"size": (64, 48), "creativity": 0.3, "restoration": 1.0}, source, None), []
    for given in ({}, {"cluster": deployed.address, "cluster_token": TOKEN}):
        provider = embedded.configured(load_settings({}, given))["embedded"]
        made.append((await provider.run(call, JobCallbacks(), tmp_path)).picture.path.read_bytes())
        await provider.aclose()
    assert made[0] == made[1]


async def test_flux_makes_the_same_picture(deployed, weights, tmp_path):
    """The gateway loads no network, and the bytes are those of one that does."""
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(tmp_path / "photo.png")
    made = []
    for given in ({}, {"cluster": deployed.address, "cluster_token": TOKEN}):
        provider = flux.configured(load_settings({}, {"flux_model": str(weights), **FLUX, **given}))["flux"]
        call = flux_call(tmp_path / "photo.png", (64, 48), prompt="crisp feathers", seed=3)
        made.append((await provider.run(call, JobCallbacks(), tmp_path)).picture.path.read_bytes())
        await provider.aclose()
    assert made[0] == made[1]


@pytest.mark.parametrize("other", [{"flux_model": "someone/else"}, {"flux_revision": "0123"}])
async def test_other_weights_are_one_sentence(deployed, weights, tmp_path, other):
    """Settings that mean other weights than the cluster has let the next provider take over."""
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(tmp_path / "photo.png")
    given = {"flux_model": str(weights), **FLUX, "cluster": deployed.address, "cluster_token": TOKEN, **other}
    provider = flux.configured(load_settings({}, given))["flux"]
    with pytest.raises(UpstreamRefused, match="The cluster has the weights") as caught:
        await provider.run(flux_call(tmp_path / "photo.png"), JobCallbacks(), tmp_path)
    assert caught.value.tries_next_provider
    await provider.aclose()


def test_a_replica_with_other_weights_is_one_sentence(cluster):
    """A picture is never made of two sets of weights."""
    with pytest.raises(Unavailable, match="not all the same weights"):
        samples(cluster.executor("fake", ("slow", (0,), False), "others"), work("small"))


def test_a_killed_replica_loses_nothing(cluster, tmp_path):
    """Kill -9 in the middle of batches: they are made again, and the bytes are the same."""
    assert samples(fake(cluster, "deadly", str(tmp_path), 2), work()) == expected(work())
    assert len(list(tmp_path.iterdir())) == 2


def test_a_batch_that_always_fails_ends_the_job(cluster):
    """It is tried four times, the sentence says nothing of the engine's own, and the replicas go on."""
    with pytest.raises(UpstreamError) as caught:
        samples(fake(cluster, "broken", "a secret place"), work("small", 100))
    assert "secret" not in caught.value.message
    assert samples(mock(cluster), work("small")) == expected(work("small"))


def test_cancelling_frees_the_replicas_within_a_batch(cluster, tmp_path):
    """What `stop` raises comes out at once, the replica gives up, and the next job is made."""

    def stop():
        if (tmp_path / "began").exists():
            raise Cancelled("The work was cancelled.")

    with pytest.raises(Cancelled):
        samples(fake(cluster, "waiting", str(tmp_path), stops=True), work(batch=1), stop)
    began = time.monotonic()
    until((tmp_path / "stopped").exists)
    assert samples(mock(cluster), work("small")) == expected(work("small"))
    assert time.monotonic() - began < 20


def test_a_job_that_is_left_ends(cluster):
    """Closing the iterator ends the calls; no thread is left."""
    with closing(fake(cluster, "slow", 0.1).make(work(batch=1), go_on)) as batches:
        next(batches)
    assert not any(one.name.startswith("cluster") for one in threading.enumerate())


def shares(deployed):
    """Return how many batches two gateways got while both had work."""
    of, counts = work(batch=1), [0, 0]
    ended, both = threading.Event(), threading.Barrier(2)

    def run(number):
        with closing(fake(RayServe(deployed.address, TOKEN), "slow", 0.2).make(of, go_on)) as batches:
            next(batches)
            both.wait()
            for _ in batches:
                if ended.is_set():
                    return
                counts[number] += 1
        ended.set()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return counts


def test_two_gateways_share_a_deployment(deployed):
    """While both have work each gets 40 % of the throughput at least, in one of three rounds on a busy machine."""
    rounds = []
    while len(rounds) < 3 and not any(min(counts) >= 0.4 * sum(counts) for counts in rounds):
        rounds.append(shares(deployed))
    assert any(min(counts) >= 0.4 * sum(counts) for counts in rounds), rounds


def test_the_gateway_imports_no_ray(cluster):
    """All this time this process has done without Ray's modules."""
    assert samples(mock(cluster), work("small")) == expected(work("small"))
    assert not any(name.startswith("ray.serve") for name in sys.modules)


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        """Name the file."""
        self._path = path

    def __reduce__(self):
        """Make the file."""
        return open, (self._path, "w")


def test_nothing_is_unpickled(deployed, tmp_path):
    """Bytes that are no message are refused, and nothing in them is run."""
    for body in (pickle.dumps(Bomb(str(tmp_path / "bomb"))), b"", b"\xc1" * 100):
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(deployed.address, body, HEADERS))  # noqa: S310, of this test
        assert caught.value.code == 500
        caught.value.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_one_sentence(deployed, token):
    """Without the secret nothing is told and nothing is made."""
    with pytest.raises(Unavailable, match="cluster_token"):
        samples(mock(RayServe(deployed.address, token)), work("small"))


def test_another_application_is_one_sentence(deployed):
    """An address of the cluster at which no fluxvision is."""
    with pytest.raises(Unavailable, match="no deployment of fluxvision"):
        samples(mock(RayServe(deployed.address + "s", TOKEN)), work("small"))


def test_another_version_is_one_sentence(deployed):
    """A deployment makes no tile for a gateway of another version; the rest of such a request is not read."""
    connection = RayServe(deployed.address, TOKEN).connect()
    body = msgspec.msgpack.encode({"version": "0.0.1", "engine": 5})
    connection.request("POST", urlsplit(deployed.address).path, body, {"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    failure = decode(response.read(), Failure)
    connection.close()
    assert (response.status, response.getheader("X-Fluxvision-Failure")) == (409, "unavailable")
    assert failure.message == f"The setting cluster names a deployment of fluxvision {__version__}, and this is 0.0.1."


def test_the_engines_of_another_version_are_not_used():
    """FLUX asks first what a deployment has, and refuses one of another version."""

    class Old(BaseHTTPRequestHandler):
        def do_GET(self):
            body = encode(Deployment("0.0.1", {}))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_given):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever).start()
        with pytest.raises(Unavailable, match=r"fluxvision 0\.0\.1"):
            RayServe(f"http://127.0.0.1:{server.server_address[1]}/fluxvision").describe("flux")
        server.shutdown()


async def test_a_lost_cluster_is_one_sentence(deployed, tmp_path):
    """The cluster dies in the middle of a job: the next provider is asked, soon; so it is with the job after that."""
    Image.fromarray(data.astronaut()[:400, :400]).save(tmp_path / "in.png")
    source = imaging.probe(tmp_path / "in.png", imaging.Limits())
    call = Call(
        "embedded",
        "mock",
        {"size": (1600, 1600), "creativity": 0.3, "restoration": 0.0, "backend": "mock"},
        source,
        None,
    )
    provider = embedded.configured(load_settings({}, {"cluster": deployed.address, "cluster_token": TOKEN}))["embedded"]

    def progress(done, _total):
        if done == 1:
            deployed.kill()

    for callbacks in (JobCallbacks(progress), JobCallbacks()):
        began = time.monotonic()
        with pytest.raises(UpstreamRefused, match="cannot be reached") as caught:
            await provider.run(call, callbacks, tmp_path)
        assert caught.value.tries_next_provider
        assert time.monotonic() - began < 30
    await provider.aclose()
    assert [one.name for one in tmp_path.iterdir()] == ["in.png"]

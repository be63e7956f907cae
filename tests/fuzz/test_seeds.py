"""A fixed set of seeds against a real server, and mutated pictures against the reader itself."""

from __future__ import annotations

import random

import pytest

from fakes.server import Server
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, decode, probe
from fuzz import cases, corpus, pictures
from fuzz.campaign import SETTINGS, Campaign
from fuzz.containers import checked, layout

SEEDS = 500
PICTURES = 600
MOST = 200_000


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Play the seeds once."""
    with Server(tmp_path_factory.mktemp("served") / "data", SETTINGS, module=("fluxvision", "serve")) as server:
        played = Campaign(server)
        played.run(range(SEEDS))
        played.control()
        yield played


def test_every_case_gets_a_right_answer(campaign):
    """No 5xx, no hang, no error in another shape; good requests between them get their picture."""
    assert campaign.findings == []
    assert campaign.played == SEEDS
    assert {"200", "400", "401", "404", "405", "413", "415"} <= set(campaign.statuses)


def test_nothing_is_left(campaign):
    """The process lives, no upload stays, and every line of the log is JSON and none an error."""
    before = len(campaign.findings)
    campaign.check_rest()
    assert campaign.findings[before:] == []


def test_a_seed_is_one_case():
    """The same seed gives the same bytes."""
    assert [cases.case(seed) for seed in range(60)] == [cases.case(seed) for seed in range(60)]


@pytest.mark.parametrize("name", corpus.NAMES)
def test_the_corpus_is_read(name, tmp_path):
    """What is mutated is a good picture, whose parts are found."""
    path = tmp_path / "upload"
    path.write_bytes(corpus.file(name))
    assert decode(probe(path, Limits())).color.size
    found = layout(corpus.file(name))
    assert found.pieces
    assert found.numbers
    assert checked(corpus.file(name)) == corpus.file(name)


def test_mutated_pictures(tmp_path):
    """Each is a picture of at most the limit, or refused in one line that names no file."""
    path, refused = tmp_path / "upload", 0
    for seed in range(PICTURES):
        path.write_bytes(pictures.picture(random.Random(seed)) or b"\0")  # noqa: S311, a seed has to give the same file
        try:
            pixels = decode(probe(path, Limits(pixels=MOST, frames=50)))
        except (InvalidRequest, PayloadTooLarge) as error:
            refused += 1
            assert error.param == "image", seed  # noqa: PT017
            assert "upload" not in error.message, seed  # noqa: PT017
            assert error.message.isprintable(), seed  # noqa: PT017
        else:
            assert pixels.color.shape[0] * pixels.color.shape[1] <= MOST, seed
    assert PICTURES // 4 < refused < PICTURES

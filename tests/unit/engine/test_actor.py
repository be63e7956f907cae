"""What runs on the nodes of a cluster gives up what nobody wants, whatever comes after it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from fluxvision.core.errors import Cancelled
from fluxvision.engine.backends.registry import BY_NAME
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.teams.actor import Actor
from fluxvision.engine.teams.recipe import Recipe
from fluxvision.engine.tile import TileJob

COLOR = np.zeros((20, 20, 3), np.uint8)
ROW = replace(BY_NAME["mock"])
WORK = TileJob(COLOR, None, None, 0.5, 0, ROW, *plan_tiles(Request(COLOR, 40, 40), ROW))
PATIENCE = 20.0


def test_an_order_is_given_up_although_the_next_one_has_come(tmp_path):
    """The next one waits for its turn: until then the worker's number is that of the order that is to end."""
    actor, ended = Actor(), []

    def first():
        with pytest.raises(Cancelled):
            actor.make(1, Recipe("fakes.tiles:waiting", (str(tmp_path),), stops=True), WORK, [0])
        ended.append(1)

    def second():
        ended.append(
            len(actor.make(2, Recipe("fluxvision.engine.backends.registry:load_backend", ("mock", 1)), WORK, [0]).tiles)
            + 1
        )

    threads = [threading.Thread(target=one, daemon=True) for one in (first, second)]
    threads[0].start()
    until = time.monotonic() + PATIENCE
    while not (tmp_path / "began").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    threads[1].start()
    time.sleep(0.05)
    actor.stop(1)
    for one in threads:
        one.join(PATIENCE)
    assert ended == [1, 2]


def test_an_order_that_was_stopped_before_it_began_loads_nothing():
    """Nobody waits for a backend that nobody wants."""
    actor = Actor()
    actor.stop(3)
    with pytest.raises(Cancelled):
        actor.make(3, Recipe("fakes.tiles:missing"), WORK, [0])

"""What each of several pictures of a job has of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.types import ReceiptEntry
from fluxvision.gateway.split_job import sent_seed, split_callbacks, split_versions, without_seed


@pytest.mark.parametrize(("values", "first"), [({}, 0), ({"seed": 7}, 7)])
def test_seeds_follow_one_another(values, first):
    """One job for each picture, alike but for the seed."""
    asked = job(n=3, **values)
    made = split_versions(asked, 3)
    assert [one.values["seed"] for one in made] == [first, first + 1, first + 2]
    assert {without_seed(one).values.get("seed") for one in made} == {None}
    assert replace(made[0], values=asked.values) == asked


def test_a_job_without_a_seed_has_none_drawn():
    """What was drawn here goes with the mark that it was."""
    assert not without_seed(replace(job(seed=3), random_seed=True)).random_seed


@pytest.mark.parametrize(
    ("line", "seed"),
    [
        (ReceiptEntry("seed", "passthrough", 5, 5), 5),
        (ReceiptEntry("seed", "passthrough", 5, None, "No seed here.", honoured=False), None),
        (ReceiptEntry("seed", "converted", 5, {"a": 5}), None),
        (ReceiptEntry("n", "emulated", 5, 5), None),
    ],
)
def test_only_a_seed_that_was_sent_is_told(line, seed):
    """One that had no effect is none."""
    assert sent_seed([line]) == seed


def test_the_progress_of_all_is_one():
    """Tiles of all pictures are counted together, of as many as the largest has; a preview is nobody's."""
    told = []
    first, second = split_callbacks(JobCallbacks(lambda *both: told.append(both), preview=print), 2)
    first.progress(1, 4)
    second.progress(2, 4)
    assert (told, first.preview) == ([(1, 8), (3, 8)], None)

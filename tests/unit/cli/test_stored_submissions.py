"""What a killed run of the command line had bought is known to the next one, and to no other."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from fakes.gateway import Gateway, png
from fluxvision.cli import stored_submissions as module
from fluxvision.cli.stored_submissions import KEPT_SECONDS, state_folder, store_submissions
from fluxvision.core.callbacks import JobCallbacks, SubmissionStore
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "fluxvision"


@pytest.fixture
def prepared(tmp_path):
    """A job that may cost."""
    path = tmp_path / "in.png"
    path.write_bytes(png(8, 6))
    image = InputImage(path, "png", 8, 6, 3, alpha=False, bits=8, size=path.stat().st_size)
    return Gateway().prepare(Job(id="req_1", model="m", image=image, values={}, pin="fal"))


async def killed(prepared):
    """Submit the job and be killed before its end; return the job's id."""
    with suppress(RuntimeError):
        async with store_submissions(prepared, JobCallbacks()) as (job, callbacks):
            await callbacks.submissions.announce("key", "fal")
            await callbacks.submissions.save("key", {"id": 1})
            raise RuntimeError
    return job.job.id


async def test_the_next_run_follows(prepared, state):
    """The same job has the same id in the next run, which finds what was bought until the picture is there."""
    first = await killed(prepared)
    async with store_submissions(prepared, JobCallbacks()) as (job, callbacks):
        assert job.job.id == first != "req_1"
        assert await callbacks.submissions.find("key") == {"id": 1}
    async with store_submissions(prepared, JobCallbacks()) as (_, callbacks):
        assert await callbacks.submissions.find("key") is None
    assert state_folder() == state
    assert state.stat().st_mode & 0o077 == 0


async def test_another_job_has_another_id(prepared):
    """Other settings are another job."""
    first = await killed(prepared)
    other = replace(prepared, job=replace(prepared.job, values={"prompt": "x"}))
    async with store_submissions(other, JobCallbacks()) as (job, callbacks):
        assert job.job.id != first
        assert await callbacks.submissions.providers() == []


async def test_old_work_is_not_followed(prepared, monkeypatch):
    """What was bought longer ago than fal.ai keeps it is forgotten."""
    await killed(prepared)
    now = module.time.time() + KEPT_SECONDS + 1
    monkeypatch.setattr(module.time, "time", lambda: now)
    async with store_submissions(prepared, JobCallbacks()) as (_, callbacks):
        assert await callbacks.submissions.find("key") is None


async def test_a_free_job_touches_no_disk(prepared, state):
    """A job that costs nothing is run as it is, without a database."""
    free = replace(prepared, job=replace(prepared.job, pin=None))
    async with store_submissions(free, JobCallbacks()) as (job, callbacks):
        assert job is free
        assert type(callbacks.submissions) is SubmissionStore
    assert not state.exists()


async def test_without_a_state_folder_the_job_runs_all_the_same(prepared, state):
    """Where nothing can be kept, the job is run as it is."""
    state.parent.mkdir()
    state.write_bytes(b"")
    async with store_submissions(prepared, JobCallbacks()) as (job, _):
        assert job is prepared

"""The input of a stored job: the same job comes back, by its files and its fingerprint."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.gateway import png
from fluxvision.core.errors import Unavailable
from fluxvision.core.key_limits import Limits
from fluxvision.core.types import Caller, InputImage, Job
from fluxvision.jobs.job_files import ENTERING_SECONDS, JobFiles, fingerprint

CALLER = Caller("alice", limits=Limits(budget_day=5))


def picture(path, content=None, colour=(1, 2, 3)):
    """Return a picture in a file, or in memory."""
    raw = png(8, 6, colour)
    if content is None:
        path.write_bytes(raw)
    return InputImage(path, "png", 8, 6, 3, alpha=False, bits=8, size=len(raw), content=content and raw)


@pytest.fixture
def job(tmp_path):
    """A job with a mask and all kinds of parameters."""
    return Job(
        id="req_1",
        model="m",
        image=picture(tmp_path / "image.png"),
        mask=picture(tmp_path / "mask.png", content=True),
        values={"prompt": "a cat", "scale_factor": 2.5, "n": 2, "stream": True},
        extras={"odd": ["x", 1, None]},
        pin="fal",
        caller=CALLER,
    )


@pytest.fixture
def files(tmp_path):
    """The pictures of jobs."""
    return JobFiles(tmp_path / "jobs")


def test_a_job_comes_back(files, job):
    """Through JSON and the disk a job is the same, its pictures in the folder of the service."""
    found = files.load(json.loads(json.dumps(files.save(job))))
    assert replace(found, image=job.image, mask=job.mask) == job
    assert found.image.path.read_bytes() == job.image.path.read_bytes()
    assert found.mask.path.read_bytes() == job.mask.content
    assert found.image.path.parent == files.folder / "req_1"


def test_the_facts_hold_no_picture(files, job):
    """What goes to the database is small: the pictures are files."""
    assert len(json.dumps(files.save(job))) < 2000


def test_pictures_outlive_the_request(files, job):
    """A stored picture is there although the request's own file was deleted."""
    facts = files.save(job)
    job.image.path.unlink()
    assert files.load(facts).image.path.is_file()


def test_a_lost_picture_is_said(files, job):
    """A job whose picture is gone is an error that tells no path."""
    facts = files.save(job)
    files.delete("req_1")
    with pytest.raises(Unavailable) as error:
        files.load(facts)
    assert str(files.folder) not in str(error.value)


def test_nothing_is_left_of_what_cannot_be_stored(files, job, tmp_path):
    """When a picture cannot be copied, the job's folder is removed and the caller is told."""
    job.image.path.unlink()
    with pytest.raises(Unavailable):
        files.save(job)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_the_pictures_of_ended_jobs_are_swept(files, job):
    """Pictures of no unfinished job are deleted, except those of a job that is just being entered."""
    for name in ("req_1", "req_2", "req_3"):
        files.save(replace(job, id=name))
    for name in ("req_1", "req_2"):
        old = time.time() - ENTERING_SECONDS - 1
        os.utime(files.folder / name, (old, old))
    files.sweep({"req_1"})
    assert sorted(path.name for path in files.folder.iterdir()) == ["req_1", "req_3"]
    JobFiles(Path("/nowhere")).sweep(())


def test_the_same_is_asked_for(job, tmp_path):
    """Neither id, nor caller, nor where the picture is, nor the order of parameters is part of what is asked for."""
    same = replace(
        job,
        id="req_2",
        caller=Caller("bob"),
        image=picture(tmp_path / "elsewhere.png", content=True),
        values=dict(reversed(job.values.items())),
    )
    assert fingerprint(same) == fingerprint(job)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"pin": None},
        {"values": {}},
        {"extras": {}},
        {"prefers_base64": True},
        {"mask": None},
    ],
)
def test_another_is_asked_for(job, change):
    """Every parameter is part of what is asked for."""
    assert fingerprint(replace(job, **change)) != fingerprint(job)


def test_another_picture_is_asked_for(job, tmp_path):
    """The pixels are part of what is asked for, and image and mask cannot be exchanged."""
    other = picture(tmp_path / "other.png", colour=(9, 9, 9))
    assert fingerprint(replace(job, image=other)) != fingerprint(job)
    assert fingerprint(replace(job, image=other, mask=job.image)) != fingerprint(
        replace(job, image=job.image, mask=other)
    )

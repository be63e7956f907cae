"""The input of a stored job: the same job comes back, by its files and its fingerprint."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.gateway import png
from fakes.server import free_port
from fluxvision.core.errors import Unavailable
from fluxvision.core.images import InputImage
from fluxvision.core.key_limits import Limits
from fluxvision.core.types import Caller, Job
from fluxvision.jobs import job_files
from fluxvision.jobs.job_files import ENTERING_SECONDS, JobFiles, fingerprint
from fluxvision.storage.bucket import Bucket

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


async def test_a_job_comes_back(files, job):
    """Through JSON and the disk a job is the same, its pictures in the folder of the service."""
    found = await files.load(json.loads(json.dumps(await files.save(job))))
    assert replace(found, image=job.image, mask=job.mask) == job
    assert found.image.path.read_bytes() == job.image.path.read_bytes()
    assert found.mask.path.read_bytes() == job.mask.content
    assert found.image.path.parent == files.folder / "req_1"


async def test_the_facts_hold_no_picture(files, job):
    """What goes to the database is small: the pictures are files."""
    assert len(json.dumps(await files.save(job))) < 2000


async def test_pictures_outlive_the_request(files, job):
    """A stored picture is there although the request's own file was deleted."""
    facts = await files.save(job)
    job.image.path.unlink()
    assert (await files.load(facts)).image.path.is_file()


async def test_a_lost_picture_is_said(files, job):
    """A job whose picture is gone is an error that tells no path."""
    facts = await files.save(job)
    await files.delete("req_1")
    with pytest.raises(Unavailable) as error:
        await files.load(facts)
    assert str(files.folder) not in str(error.value)


async def test_nothing_is_left_of_what_cannot_be_stored(files, job, tmp_path):
    """When a picture cannot be copied, the job's folder is removed and the caller is told."""
    job.image.path.unlink()
    with pytest.raises(Unavailable):
        await files.save(job)
    assert list((tmp_path / "jobs").iterdir()) == []


async def test_the_pictures_of_ended_jobs_are_swept(files, job):
    """Pictures of no unfinished job are deleted, except those of a job that is just being entered."""
    for name in ("req_1", "req_2", "req_3"):
        await files.save(replace(job, id=name))
    for name in ("req_1", "req_2"):
        old = time.time() - ENTERING_SECONDS - 1
        os.utime(files.folder / name, (old, old))
    await files.sweep({"req_1"})
    assert sorted(path.name for path in files.folder.iterdir()) == ["req_1", "req_3"]
    await JobFiles(Path("/nowhere")).sweep(())


@pytest.fixture
def machines(bucket_url, tmp_path):
    """The pictures of jobs at two machines with one bucket."""
    return [JobFiles(tmp_path / name / "jobs", Bucket(bucket_url)) for name in ("one", "two")]


async def test_another_machine_loads_the_pictures_from_the_bucket(machines, job, tmp_path):
    """Where the first machine's disk is gone the second one has the same job and the same pictures."""
    facts = json.loads(json.dumps(await machines[0].save(job)))
    shutil.rmtree(tmp_path / "one")
    found = await machines[1].load(facts)
    assert replace(found, image=job.image, mask=job.mask) == job
    assert (found.image.path.read_bytes(), found.mask.path.read_bytes()) == (png(8, 6, (1, 2, 3)), job.mask.content)
    assert found.image.path.parent == tmp_path / "two" / "jobs" / "req_1"


async def test_a_picture_that_is_here_is_not_downloaded(machines, job):
    """The machine that entered a job does not need the bucket to load it."""
    facts = await machines[0].save(job)
    await machines[1].delete("req_1")
    assert (await machines[0].load(facts)).image.path.is_file()


async def test_a_picture_that_is_nowhere_is_said(machines, job, tmp_path):
    """A job that was deleted everywhere is an error that tells no path and no key."""
    facts = await machines[0].save(job)
    await machines[0].delete("req_1")
    with pytest.raises(Unavailable, match=f"^{re.escape(job_files.LOST)}$"):
        await machines[1].load(facts)
    assert [path for path in tmp_path.rglob("image*") if path.parent != tmp_path] == []


async def test_deleting_deletes_the_objects(machines, job, s3, bucket_url):
    """The pictures of an ended job go at once, at whichever machine it ended."""
    await machines[0].save(job)
    assert sorted(s3.keys(bucket_url)) == ["jobs/req_1/image", "jobs/req_1/mask"]
    await machines[1].delete("req_1")
    assert s3.keys(bucket_url) == []


async def test_old_pictures_of_unknown_jobs_are_swept(machines, job, s3, bucket_url, monkeypatch):
    """An object of no unfinished job goes after a week, because servers with another database may use the bucket."""
    for name in ("req_1", "req_2"):
        await machines[0].save(replace(job, id=name, mask=None))
    await machines[1].sweep({"req_1"})
    assert len(s3.keys(bucket_url)) == 2
    monkeypatch.setattr(job_files, "FOREIGN_SECONDS", -60.0)
    await machines[1].sweep({"req_1"})
    assert s3.keys(bucket_url) == ["jobs/req_1/image"]


async def test_without_the_bucket_no_job_is_kept(job, s3, tmp_path, monkeypatch):
    """A job that other gateways could not take up is refused, and nothing of it is left on the disk."""
    for name, value in {**s3.environment, "AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    files = JobFiles(tmp_path / "jobs", Bucket("s3://b"))
    with pytest.raises(Unavailable):
        await files.save(job)
    assert list(files.folder.iterdir()) == []


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

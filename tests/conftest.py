"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression
from hypothesis import HealthCheck, settings

from fakes.postgres import empty_database, running_postgres
from fakes.s3 import running_s3
from fluxvision.storage.database import Database, sqlite_url
from selection import tier

# Continuous integration shares its processors: how long a value takes to make says nothing of the code.
settings.register_profile("shared", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Tiny networks gain nothing by threads, which wait for each other on a busy machine. Read when PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the command line keeps of paid jobs is no business of the tests' user.
os.environ["XDG_STATE_HOME"] = str(Path(tempfile.gettempdir(), f"fluxvision-tests-{os.getuid()}"))


# What collection makes stays: looking through it for garbage again and again is a sixth of a worker's time.
gc.disable()


def pytest_collection_finish():
    """Keep what collection made out of the later rounds of garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path, config):
    """Do not import the files and folders of a tier that `-m` leaves out; PyTorch alone takes seconds."""
    marker = tier(collection_path)
    chosen = config.getoption("markexpr")
    if marker and chosen and not Expression.compile(chosen).evaluate(lambda name, **_: name == marker):
        return True
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Start one worker more than there are processors: many tests wait, for a server or a time limit."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests of a tier."""
    for item in items:
        if marker := tier(item.path):
            item.add_marker(marker)


@pytest.fixture
def folder(tmp_path):
    """An empty folder for results."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def postgres():
    """The address of a PostgreSQL server."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def s3():
    """An S3 server."""
    with running_s3() as server:
        yield server


@pytest.fixture
def bucket_url(s3, monkeypatch):
    """The address of an empty folder in a bucket, with what the environment must have for it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.make_bucket()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return empty_database(request.getfixturevalue("postgres"))


@pytest.fixture
def database(database_url):
    """A database with all tables, once of each kind."""
    found = Database(database_url)
    yield found
    found.close()

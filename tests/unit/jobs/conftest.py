"""A service of jobs, which the tests of this folder share."""

from __future__ import annotations

import pytest

from fakes.job_service import Site
from fluxvision.jobs import maintenance, runner


@pytest.fixture
async def site(database_url, tmp_path, monkeypatch):
    """A started service and all that it uses, once with each kind of database."""
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(maintenance, "HEARTBEAT_SECONDS", 0.2)
    found = Site(database_url, tmp_path / "data")
    await found.service.start()
    yield found
    await found.service.close()
    found.close()

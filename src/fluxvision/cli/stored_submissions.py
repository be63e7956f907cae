"""Lets a killed run of the command line be repeated without buying again what a provider had accepted.

The job's id is a digest of all that is asked for, and what providers accepted for it is kept in a small database in the
user's state folder until the picture is there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import ConfigError
from fluxvision.gateway.execution import PreparedJob
from fluxvision.jobs.job_files import fingerprint
from fluxvision.storage.data_dir import make_private

if TYPE_CHECKING:
    from fluxvision.storage.database import Database

STATE = "XDG_STATE_HOME"
KEPT_SECONDS = 3600.0
"""How long an accepted job is followed: fal.ai keeps its result for so long."""
ID_DIGITS = 32


def state_folder() -> Path:
    """Return the folder for what outlives a run of the command line."""
    return Path(os.environ.get(STATE) or Path.home() / ".local" / "state") / "fluxvision"


@asynccontextmanager
async def store_submissions(
    prepared: PreparedJob, callbacks: JobCallbacks
) -> AsyncIterator[tuple[PreparedJob, JobCallbacks]]:
    """Yield the job and callbacks to run it with; at the end, a job that did not raise is forgotten.

    They are yielded as they are for a job that cannot cost anything, and where nothing can be kept.
    """
    database = await asyncio.to_thread(_open_database) if prepared.may_cost else None
    if database is None:
        yield prepared, callbacks
        return
    try:
        digest = await asyncio.to_thread(fingerprint, prepared.job)
        stable = replace(prepared, job=replace(prepared.job, id=digest[:ID_DIGITS]))
        store = import_module("fluxvision.jobs.provider_submissions").StoredSubmissions(
            database, stable.job.id, time.time
        )
        await store.forget_before(time.time() - KEPT_SECONDS)
        stable.prefer(await store.providers())
        yield stable, replace(callbacks, submissions=store)
        await store.forget_all()
    finally:
        database.close()


def _open_database() -> Database | None:
    """Open the database in the state folder, None where it cannot be used."""
    module = import_module("fluxvision.storage.database")  # it takes a second
    try:
        make_private(state_folder())
        found: Database = module.open_in(state_folder())
    except (OSError, RuntimeError, ConfigError):  # no home, or a full disk
        return None
    return found

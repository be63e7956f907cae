"""The durable workflow of a job, by DBOS: started once by its id, and taken up again after a crash.

A workflow has no steps of its own: what must not happen twice, the purchase, is stored by `StoredSubmissions`, and the
end of a job, its result and its cost are written in one transaction. DBOS is a single instance in a process and takes
a second and 30 MB to import, so it is imported and started when the first job needs it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from fluxvision.core.concurrency import Once

BACKGROUND = "background"
VERSION = "1"
"""Of the workflow's code; jobs of another version are not taken up, so it changes only with the stored job."""
THREADS = 8
ATTEMPTS = 1000
"""How often a job may be taken up."""


class Workflows:
    """Starts the workflow of each job in this process's event loop."""

    def __init__(self, url: str, executor_id: str, run: Callable[[str], Awaitable[None]], parallel: int) -> None:
        """Keep workflows in the database at `url`; `run` runs a job, at most `parallel` background jobs at once."""
        self._url = url
        self._executor_id = executor_id
        self._run = run
        self._parallel = parallel
        self._workflow: Any = None
        self._once = Once(self._launch)

    async def launch(self) -> Any:
        """Import and start DBOS, once; must be called in the event loop in which jobs run."""
        return await self._once.get()

    async def _launch(self) -> Any:
        module = await asyncio.to_thread(import_module, "dbos")
        module.DBOS(
            config={
                "name": "fluxvision",
                "system_database_url": self._url,
                "executor_id": self._executor_id,
                "application_version": VERSION,
                "max_executor_threads": THREADS,
                "log_level": "CRITICAL",
            }
        )
        logger = logging.getLogger("dbos")
        logger.handlers.clear()
        logger.propagate = False  # its messages may hold arguments
        run = self._run

        async def workflow(request_id: str) -> None:
            await run(request_id)

        self._workflow = module.DBOS.workflow(name="run_job", max_recovery_attempts=ATTEMPTS)(workflow)
        module.DBOS.launch()
        await module.DBOS.register_queue_async(BACKGROUND, worker_concurrency=self._parallel)
        gc.freeze()  # what was imported stays: no collection has to look at it
        return module

    async def start(self, request_id: str, *, background: bool, is_patient: bool = False) -> bool:
        """Start a job's workflow; the same id twice is one workflow. Return whether this process runs it now.

        A background job that `is_patient` begins after all that are not.
        """
        module = await self.launch()
        with module.SetWorkflowID(request_id):
            if background:
                with module.SetEnqueueOptions(priority=1 if is_patient else None):
                    await module.DBOS.enqueue_workflow_async(BACKGROUND, self._workflow, request_id)
                return False
            handle = await module.DBOS.start_workflow_async(self._workflow, request_id)
            return hasattr(handle, "task")  # the handle of another process's workflow looks into the database

    async def take_up(self, executor_ids: Iterable[str]) -> None:
        """Take up the unfinished jobs of gateways that are gone."""
        module = await self.launch()
        recover = module.DBOS._recover_pending_workflows  # noqa: SLF001, what its own server for operators calls
        await asyncio.to_thread(recover, list(executor_ids))

    async def close(self) -> None:
        """Stop DBOS; unfinished jobs are taken up by the next process."""
        module = await self._once.wait()
        if module is not None:
            await asyncio.to_thread(module.DBOS.destroy, destroy_registry=True)
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())  # it had put in its own

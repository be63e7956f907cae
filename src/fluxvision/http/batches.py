"""Batches over HTTP: /v1/batches in OpenAI's shape, and how a line becomes a job."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from fluxvision.accounts.keys import check_model
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import InvalidRequest, NotFound
from fluxvision.core.job_status import CANCELLED, COMPLETED, FAILED
from fluxvision.core.types import Caller
from fluxvision.gateway.execution import PreparedJob
from fluxvision.http import edits, stored_jobs, webhooks
from fluxvision.http.batch_responses import Batch, BatchError, BatchErrors, BatchList, BatchRequest, BatchRequestCounts
from fluxvision.http.batch_results import find_batch, result_file_ids
from fluxvision.http.files import find_file, refuse_visitor
from fluxvision.http.form_to_jobs import admit_jobs
from fluxvision.http.media import public_base, scope_of
from fluxvision.http.middleware import request_id
from fluxvision.http.parsing import json_body
from fluxvision.http.parsing.body import read_struct
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.state import AppState, caller_of, record_of
from fluxvision.http.stored_jobs import page_limit, send_json
from fluxvision.jobs.batch_input import PARAM, check_input
from fluxvision.jobs.batch_lines import PreparedLine
from fluxvision.jobs.batch_types import ENDPOINT, EXPIRED, PURPOSE, WINDOW_SECONDS, BatchCounts, BatchLine
from fluxvision.jobs.request_types import RequestIdentity, Webhook, owner

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.jobs.batch_records import BatchRow

NOT_IN_BATCHES = edits.DRY_RUN | {"stream", "partial_images"}
LOST = "The input file is not on this server any more. Lines that had been begun are in the other files."


async def create_batch(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Check the input file, enter the batch, and send how it stands."""
    refuse_visitor(scope)
    headers = Headers(scope=scope)
    key, is_retry = stored_jobs.idempotency_key(headers), stored_jobs.is_retry(headers)
    given = await read_struct(scope, receive, state.settings.upload_timeout, BatchRequest)
    identity = RequestIdentity(given.input_file_id, key, is_retry=is_retry, received_at=record_of(scope).received_at)
    service, key_id = await state.jobs.get(), caller_of(scope).id
    batch_id = await service.batch_store.find_same(key_id, identity)
    if batch_id is None:
        file = await find_file(state, caller_of(scope), given.input_file_id, PARAM)
        if file.purpose != PURPOSE:
            message = f"{PARAM}: this file was not uploaded with the purpose {PURPOSE}."
            raise InvalidRequest(message, param=PARAM)
        limit = json_body.body_limit(state.settings.max_upload_bytes)[0]
        async with state.batch_checks:
            total = await run_in_thread(check_input, await state.media.fetch(file.name, state.media_clock()), limit)
        batch_id = await service.batch_store.enter(
            identity,
            id=f"batch_{token_hex(12)}",
            key_id=key_id,
            expires_at=state.now() + WINDOW_SECONDS,
            name=file.name,
            metadata=given.metadata,
            base_url=public_base(state.settings.public_url, scope),
            total=total,
            feeder=service.batches.executor_id,
        )
        service.batches.wake(batch_id)
    await _send_batch(state, scope, send, batch_id)


async def list_batches(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send a page of the caller's batches, the newest first."""
    query = query_parameters(scope)
    limit, store = page_limit(query), (await state.jobs.get()).batch_store
    rows = await store.list(owner(caller_of(scope)), query.get("after"), limit)
    shown = [_batch_object(row, counts) for row, counts in rows[:limit]]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    await send_json(send, BatchList(data=shown, has_more=len(rows) > limit, first_id=first, last_id=last))


async def show_batch(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send how a batch stands."""
    await _send_batch(state, scope, send, scope["path_params"]["id"])


async def cancel_batch(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Begin no further lines of a batch, and cancel those that run; one that has ended stays as it is."""
    batch_id = scope["path_params"]["id"]
    await find_batch(state, scope, batch_id)
    service = await state.jobs.get()
    await service.batch_store.cancel(batch_id)
    service.batches.wake(batch_id)
    await _send_batch(state, scope, send, batch_id)


class LinePreparer:
    """Makes jobs of the lines of batches, as `create_edit` does of requests."""

    def __init__(self, state: AppState) -> None:
        """Use the state that all handlers share."""
        self._state = state

    async def fetch(self, name: str) -> Path:
        """Return the path of an input file; raises `NotFound`."""
        return await self._state.media.fetch(name, self._state.media_clock())

    async def caller(self, key_id: str) -> Caller | None:
        """Return the caller with this id, None where its key is not valid any more."""
        await self._state.keys.update()
        return self._state.keys.find_caller(key_id)

    def new_id(self) -> str:
        """Return the id of a request."""
        return request_id(time.time_ns() // 1_000_000)

    async def prepare(self, base_url: str, caller: Caller, line: BatchLine) -> PreparedLine:
        """Return the job of a line; raises its error."""
        data_dir = self._state.data_dir
        folder, whole = data_dir.folder(), False
        try:
            with data_dir.watch(folder):
                prepared, webhook = await self._admit(base_url, caller, line, folder)
            whole = True
        finally:
            if not whole:
                data_dir.release(folder, whole=False)
        return PreparedLine(prepared, webhook, partial(data_dir.release, folder, whole=True))

    async def _admit(
        self, base_url: str, caller: Caller, line: BatchLine, folder: Path
    ) -> tuple[PreparedJob, Webhook | None]:
        state = self._state
        form = await run_in_thread(json_body.parse_json, line.body)
        stored_jobs.wants_background(Headers(), form.fields)
        for name in form.fields:
            if name.lower() in NOT_IN_BATCHES:
                message = f"{name} cannot be used in a batch."
                raise InvalidRequest(message, param=name)
        webhook = await webhooks.take_webhook(state, scope_of(base_url), form.fields)
        job, *others = await admit_jobs(state, caller, form, folder, self.new_id())
        if others:
            message = "images_mode: a line of a batch enlarges one picture; write a line for each."
            raise InvalidRequest(message, param="images_mode")
        check_model(caller, job.model)
        prepared = state.gateway.prepare(job)
        await prepared.check_mask()
        return prepared, webhook


async def _send_batch(state: AppState, scope: Scope, send: Send, batch_id: str) -> None:
    await send_json(send, _batch_object(*await find_batch(state, scope, batch_id)))


def _batch_object(row: BatchRow, counts: BatchCounts) -> Batch:
    output, errors = result_file_ids(row, counts)
    ended = {row.status: None if row.ended_at is None else int(row.ended_at)}
    lost = BatchError(code=NotFound.code, message=LOST, param=PARAM, line=None)
    return Batch(
        id=row.id,
        endpoint=ENDPOINT,
        errors=BatchErrors(data=[lost]) if row.status == FAILED else None,
        input_file_id=row.input_file_id,
        completion_window="24h",
        status=row.status,
        output_file_id=output,
        error_file_id=errors,
        created_at=int(row.created_at),
        in_progress_at=int(row.created_at),
        expires_at=int(row.expires_at),
        completed_at=ended.get(COMPLETED),
        failed_at=ended.get(FAILED),
        expired_at=ended.get(EXPIRED),
        cancelling_at=None if row.cancelling_at is None else int(row.cancelling_at),
        cancelled_at=ended.get(CANCELLED),
        request_counts=BatchRequestCounts(total=row.total, completed=counts.completed, failed=counts.failed),
        metadata=row.metadata,
    )

"""Files over HTTP, in OpenAI's shape: /v1/files takes pictures and input of batches, and sends what these have made."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import Error, InvalidRequest, NotFound, PayloadTooLarge
from fluxvision.core.types import Caller
from fluxvision.http import batch_results
from fluxvision.http.batch_responses import FileDeleted, FileList, FileObject
from fluxvision.http.media import SAFE
from fluxvision.http.parsing import body, multipart
from fluxvision.http.parsing.fields import query_parameters, show_name
from fluxvision.http.playground_limits import is_visitor
from fluxvision.http.state import AppState, caller_of
from fluxvision.http.stored_jobs import page_limit, send_json
from fluxvision.jobs.batch_types import FILE_SECONDS, KEPT_SECONDS, PICTURE_PURPOSES, PURPOSE, PURPOSES
from fluxvision.jobs.request_types import owner
from fluxvision.storage.media_folder import JSONL, OCTETS

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.jobs.batch_store import FileRow

MARGIN = 100_000
"""Bytes of a form beside its file."""
FILES_OF_A_KEY = 10
"""How often the largest file of a batch may be kept for one key."""
HINT = " for a file"
NO_FILE = "There is no file with this id, or it has expired, or it is another key's."
UNNAMED = "file"


def refuse_visitor(scope: Scope) -> None:
    """Raise `InvalidRequest` for the page without a key, of which nothing is kept."""
    if is_visitor(scope):
        raise InvalidRequest("Files and batches need an API key.")


async def create_file(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Keep an uploaded file and send its facts."""
    refuse_visitor(scope)
    headers = Headers(scope=scope)
    media_type, limit = body.content_type(headers), max(map(partial(_limit, state), PURPOSES)) + MARGIN
    length = body.content_length(headers, limit, HINT)
    arriving = body.body_chunks(receive, limit, state.settings.upload_timeout, HINT, announced=length)
    folder, whole = state.data_dir.folder(), False
    try:
        with state.running.job(), state.data_dir.watch(folder), state.uploads.place(caller_of(scope).id, None):
            form = await multipart.read_multipart(media_type, arriving, folder, file_name=_file_name)
        found = await _keep(state, scope, form)
        whole = True
    finally:
        state.data_dir.release(folder, whole=whole)
    await send_json(send, found)


async def list_files(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send a page of the caller's uploaded files, the newest first."""
    query = query_parameters(scope)
    limit, store = page_limit(query), (await state.jobs.get()).batch_store
    purpose = query.get("purpose")
    if purpose and purpose not in PURPOSES:
        message = f"purpose must be one of {', '.join(PURPOSES)}."
        raise InvalidRequest(message, param="purpose")
    rows = await store.list_files(owner(caller_of(scope)), query.get("after"), limit, purpose)
    shown = [_file_object(row) for row in rows[:limit]]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    await send_json(send, FileList(data=shown, has_more=len(rows) > limit, first_id=first, last_id=last))


async def show_file(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send the facts of a file."""
    file_id = scope["path_params"]["id"]
    made = await batch_results.find_result_file(state, scope, file_id)
    await send_json(send, made or _file_object(await find_file(state, caller_of(scope), file_id)))


async def send_file(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a file: one that was uploaded as it is, one of a batch made from its requests."""
    file_id = scope["path_params"]["id"]
    if await batch_results.send_result_file(state, scope, send, file_id):
        return
    row = await find_file(state, caller_of(scope), file_id)
    path = await state.media.fetch(row.name, state.media_clock())
    headers = {**SAFE, "cache-control": "no-store"}
    await FileResponse(path, media_type=_stored_type(row.purpose), headers=headers)(scope, receive, send)


async def delete_file(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Delete an uploaded file."""
    store = (await state.jobs.get()).batch_store
    row = await store.hide_file(scope["path_params"]["id"], owner(caller_of(scope)))
    if row is None:
        raise NotFound(NO_FILE)
    await state.media.delete(row.name)  # before its row, so that a failure can be repeated
    await store.delete_file(row.id)
    await send_json(send, FileDeleted(id=row.id))


async def find_file(state: AppState, caller: Caller, file_id: str, param: str | None = None) -> FileRow:
    """Return the row of an uploaded file of the caller; raises `NotFound`, naming `param`."""
    row = await (await state.jobs.get()).batch_store.find_file(file_id, owner(caller))
    if row is None:
        raise NotFound(NO_FILE, param=param)
    return row


async def copy_picture(state: AppState, caller: Caller, file_id: str, param: str, path: Path) -> None:
    """Copy an uploaded picture of the caller to `path`; raises `NotFound` or `InvalidRequest`, naming `param`."""
    row = await find_file(state, caller, file_id, param)
    if row.purpose not in PICTURE_PURPOSES:
        message = f"{param}: the file of this file_id is no picture; upload one with the purpose {PICTURE_PURPOSES[0]}."
        raise InvalidRequest(message, param=param)
    await run_in_thread(shutil.copyfile, await state.media.fetch(row.name, state.media_clock()), path)


def _stored_type(purpose: str) -> str:
    return OCTETS if purpose in PICTURE_PURPOSES else JSONL


def _limit(state: AppState, purpose: str) -> int:
    """Return the most bytes of a file."""
    return state.settings.max_upload_bytes if purpose in PICTURE_PURPOSES else state.settings.max_batch_bytes


def _file_name(part: str) -> str | None:
    return part if part == "file" else None


async def _keep(state: AppState, scope: Scope, form: body.Form) -> FileObject:
    """Move the file of a form into the store and enter its row."""
    purpose = form.fields.pop("purpose", None)
    if purpose not in PURPOSES:
        message = (
            f"purpose must be {PURPOSE} for the lines of a batch, or {' or '.join(PICTURE_PURPOSES)} for a picture."
        )
        raise InvalidRequest(message, param="purpose")
    seconds = _take_seconds(form)
    for name in form.fields:
        message = f"{show_name(name)} is not supported here."
        raise InvalidRequest(message, param=show_name(name))
    path = form.pictures.get("file")
    if not isinstance(path, Path):
        raise InvalidRequest("file is missing: send it as a file part.", param="file")
    if form.contents.get("file") == b"":
        raise InvalidRequest("file is empty.", param="file")
    now, size = state.now(), path.stat().st_size
    if size > _limit(state, purpose):
        message = f"file: with the purpose {purpose} it may have at most {_limit(state, purpose):,} bytes."
        raise PayloadTooLarge(message, param="file")
    if purpose in PICTURE_PURPOSES:
        await run_in_thread(state.probe, path, "file", None)  # what is no picture is refused now
    store = (await state.jobs.get()).batch_store
    file_id = f"file-{token_hex(12)}"
    kept = seconds if purpose in PICTURE_PURPOSES else KEPT_SECONDS
    name = await state.media.put(path, _stored_type(purpose), state.media_clock(), kept)
    facts = {"purpose": purpose, "bytes": size, "created_at": now, "expires_at": now + seconds}
    filename = show_name(form.filenames.get("file", "")) or UNNAMED
    most = FILES_OF_A_KEY * state.settings.max_batch_bytes
    try:
        await store.add_file(most, id=file_id, key_id=caller_of(scope).id, name=name, filename=filename, **facts)
    except Error:
        await state.media.delete(name)
        raise
    return _file_object(await find_file(state, caller_of(scope), file_id))


def _take_seconds(form: body.Form) -> float:
    """Take OpenAI's `expires_after` out of a form, and return for how many seconds the file can be used."""
    given = form.fields.pop("expires_after", None)
    if given is None:
        return FILE_SECONDS
    text = given.get("seconds") if isinstance(given, dict) and given.get("anchor") == "created_at" else None
    if not isinstance(text, int) or isinstance(text, bool) or not 1 <= text <= FILE_SECONDS:
        message = f"expires_after must have the anchor created_at, and seconds from 1 to {FILE_SECONDS:,.0f}."
        raise InvalidRequest(message, param="expires_after")
    return float(text)


def _file_object(row: FileRow) -> FileObject:
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at),
        expires_at=int(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,
    )

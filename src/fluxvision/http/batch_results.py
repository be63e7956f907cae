"""What a batch has made: its output and error file, and one ZIP archive, sent from its requests piece by piece."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from zipfile import ZipFile, ZipInfo

from starlette.types import Scope, Send

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import Error, NotFound
from fluxvision.core.job_status import CANCELLED, COMPLETED, FAILED
from fluxvision.http.base64_stream import ChunkedBody, encode_base64
from fluxvision.http.batch_responses import FileObject, LineError, LineResponse, LineResult
from fluxvision.http.error_response import error_body
from fluxvision.http.state import AppState, caller_of
from fluxvision.http.stored_response import load_response, stored_body, stored_error
from fluxvision.jobs.batch_types import RUNNING_BATCHES
from fluxvision.jobs.request_types import owner
from fluxvision.storage.media_folder import JSONL

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.jobs.batch_records import BatchRow
    from fluxvision.jobs.batch_types import BatchCounts
    from fluxvision.jobs.records import RequestRow

NO_BATCH = "There is no batch with this id, or it is another key's."
RESULT_FILE = re.compile(r"file-([0-9a-f]{24})-(output|errors)")
SHOWN = {"output": (COMPLETED,), "errors": (FAILED, CANCELLED)}
PAGE = 50
"""Requests that are in memory at a time."""
BLOCK = 256 * 1024
LARGE = 1 << 31
UNSAFE = re.compile(r"[^\w .()@+=,-]")
LONGEST_STEM = 200
"""Bytes of a name before its number and extension; most disks take 255 in all."""
END = {"type": "http.response.body", "body": b""}


async def find_batch(state: AppState, scope: Scope, batch_id: str) -> tuple[BatchRow, BatchCounts]:
    """Return a batch of the caller and how its lines stand; raises `NotFound`."""
    found = await (await state.jobs.get()).batch_store.find(batch_id, owner(caller_of(scope)))
    if found is None:
        raise NotFound(NO_BATCH)
    return found


def result_file_ids(row: BatchRow, counts: BatchCounts) -> tuple[str | None, str | None]:
    """Return the ids of a batch's output and error file, None for one that is not there."""
    if row.status in RUNNING_BATCHES:
        return None, None
    stem = row.id.replace("batch_", "file-")
    return (f"{stem}-output" if counts.completed else None), (f"{stem}-errors" if counts.failed else None)


async def find_result_file(state: AppState, scope: Scope, file_id: str) -> FileObject | None:
    """Return the facts of an output or error file, None for another id."""
    match = RESULT_FILE.fullmatch(file_id)
    if match is None:
        return None
    row = await _find_ended(state, scope, file_id, f"batch_{match[1]}")
    size = sum([line.length async for line in _lines(state, scope, row.id, SHOWN[match[2]], sizes_only=True)])
    filename = f"{row.id}_{match[2]}.jsonl"
    created_at = int(row.ended_at)
    return FileObject(
        id=file_id, bytes=size, created_at=created_at, expires_at=None, filename=filename, purpose="batch_output"
    )


async def send_result_file(state: AppState, scope: Scope, send: Send, file_id: str) -> bool:
    """Send an output or error file; return False, and send nothing, for another id."""
    match = RESULT_FILE.fullmatch(file_id)
    if match is None:
        return False
    row = await _find_ended(state, scope, file_id, f"batch_{match[1]}")
    await _start(send, JSONL, f"{row.id}_{match[2]}.jsonl")
    async for line in _lines(state, scope, row.id, SHOWN[match[2]]):
        for chunk in line.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send(END)
    return True


async def send_archive(state: AppState, scope: Scope, _receive: object, send: Send) -> None:
    """Send the pictures that a batch has made so far as one ZIP archive, each named by its line's custom_id."""
    row, _ = await find_batch(state, scope, scope["path_params"]["id"])
    await _start(send, "application/zip", f"{row.id}.zip")
    pieces = _Pieces()
    used: Counter[str] = Counter()
    with ZipFile(pieces, "w") as archive:  # type: ignore[call-overload]  # it needs no more of a file than this
        async for request in _rows(state, row.id, SHOWN["output"]):
            with suppress(NotFound):  # it was purged
                stored = await load_response(state, request.response)
                several = len(stored.pictures) > 1
                for number, picture in enumerate(stored.pictures, 1):
                    stem = f"{request.custom_id}-{number}" if several else request.custom_id
                    name = archive_name(stem, PurePosixPath(picture.name).suffix, used)
                    path = await state.media.fetch(picture.name, state.media_clock())
                    with (
                        path.open("rb") as source,
                        archive.open(ZipInfo(name), "w", force_zip64=path.stat().st_size >= LARGE) as target,
                    ):
                        while block := await run_in_thread(source.read, BLOCK):
                            target.write(block)
                            await pieces.send(send)
    await pieces.send(send)
    await send(END)


def archive_name(stem: str, suffix: str, used: Counter[str]) -> str:
    """Return a name that no other file has and that stays in the folder in which the archive is unpacked.

    `used` counts how often each name was wanted.
    """
    stem = UNSAFE.sub("_", stem).strip(" .").encode()[:LONGEST_STEM].decode(errors="ignore") or "picture"
    wanted = name = f"{stem}{suffix}"
    while used[name.lower()]:  # some disks do not tell case
        used[wanted.lower()] += 1
        name = f"{stem} ({used[wanted.lower()]}){suffix}"
    used[name.lower()] += 1
    return name


class _Pieces:
    """A file that is sent as it is written."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._waiting.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Do nothing: `send` does."""

    async def send(self, send: Send) -> None:
        body = b"".join(self._waiting)
        self._waiting.clear()
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _find_ended(state: AppState, scope: Scope, file_id: str, batch_id: str) -> BatchRow:
    row, counts = await find_batch(state, scope, batch_id)
    if file_id not in result_file_ids(row, counts):
        raise NotFound("The batch of this file has not ended, or there is nothing in the file.")
    return row


async def _rows(state: AppState, batch_id: str, statuses: Sequence[str]) -> AsyncIterator[RequestRow]:
    store, last = (await state.jobs.get()).batch_store, 0
    while rows := await store.lines(batch_id, statuses, last, PAGE):
        for row in rows:
            yield row
        last = rows[-1].batch_line


async def _lines(
    state: AppState, scope: Scope, batch_id: str, statuses: Sequence[str], *, sizes_only: bool = False
) -> AsyncIterator[ChunkedBody]:
    async for row in _rows(state, batch_id, statuses):
        yield encode_base64(await _line_result(state, scope, row, sizes_only=sizes_only), after=b"\n")


async def _line_result(state: AppState, scope: Scope, row: RequestRow, *, sizes_only: bool) -> LineResult:
    """Return a request as a line of a file, its links signed anew."""
    if row.error is None:
        try:
            stored = await load_response(state, row.response, sizes_only=sizes_only)
            body = await stored_body(state, scope, stored, sizes_only=sizes_only)
        except Error as gone:
            return _failed_line(row, gone)
        response = LineResponse(status_code=200, request_id=row.id, body=body)
        return LineResult(id=row.id, custom_id=row.custom_id, response=response, error=None)
    error, attempts = stored_error(row.error)
    found = _failed_line(row, error)
    found.response.body = error_body(error, attempts)
    return found


def _failed_line(row: RequestRow, error: Error) -> LineResult:
    short = LineError(code=error.code, message=error.message, param=error.param)
    response = LineResponse(status_code=error.status, request_id=row.id, body=error_body(error))
    return LineResult(id=row.id, custom_id=row.custom_id, response=response, error=short)


async def _start(send: Send, media_type: str, filename: str) -> None:
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-disposition", f'attachment; filename="{filename}"'.encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

"""The JSON bodies of files and batches as structs, in OpenAI's shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fluxvision.jobs.batch_types import BATCH_STATUSES

Label = Annotated[str, Meta(max_length=64)]
Value = Annotated[str, Meta(max_length=512)]
Moment = Annotated[int | None, Meta(description="Unix time.")]


class FileObject(Struct, kw_only=True):
    """A file: a picture, the input of batches, or what a batch has made."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: Moment
    filename: str
    purpose: Literal["vision", "user_data", "batch", "batch_output"]
    status: Literal["processed"] = "processed"


class Page(Struct, kw_only=True):
    """A page of a list."""

    object: Literal["list"] = "list"
    has_more: bool
    first_id: str | None
    last_id: Annotated[str | None, Meta(description="To be sent as after for the next page.")]


class FileList(Page, kw_only=True):
    """Uploaded files, the newest first."""

    data: list[FileObject]


class FileDeleted(Struct, kw_only=True):
    """A file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The batch to create."""

    input_file_id: Annotated[str, Meta(description="A file of JSON Lines, uploaded with the purpose batch.")]
    endpoint: Literal["/v1/images/edits"]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[Label, Value], Meta(max_length=16, description="Facts of your own.")] | None = None


class BatchRequestCounts(Struct, kw_only=True):
    """How many lines there are, and how many have ended."""

    total: int
    completed: int
    failed: Annotated[int, Meta(description="Cancelled ones too.")]


class BatchError(Struct, kw_only=True):
    """Why a batch failed as a whole."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Struct, kw_only=True):
    """The errors of a batch that failed as a whole."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class Batch(Struct, kw_only=True):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Annotated[str, Meta(extra_json_schema={"enum": [*BATCH_STATUSES]})]
    output_file_id: Annotated[str | None, Meta(description="The answers, when it has ended and there are any.")]
    error_file_id: Annotated[str | None, Meta(description="The errors, when it has ended and there are any.")]
    created_at: int
    in_progress_at: Moment
    expires_at: Moment
    completed_at: Moment
    failed_at: Moment
    expired_at: Moment
    cancelling_at: Moment
    cancelled_at: Moment
    request_counts: BatchRequestCounts
    metadata: dict[str, str] | None


class BatchList(Page, kw_only=True):
    """Batches, the newest first."""

    data: list[Batch]


class LineResponse(Struct, kw_only=True):
    """The answer to a line, as if it had been a request of its own."""

    status_code: int
    request_id: str
    body: Any


class LineError(Struct, kw_only=True):
    """The error of a line in short."""

    code: str
    message: str
    param: str | None


class LineResult(Struct, kw_only=True):
    """A line of an output or error file."""

    id: str
    custom_id: str
    response: LineResponse
    error: LineError | None

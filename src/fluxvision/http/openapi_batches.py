"""BATCH_OPERATIONS: the rows of files and batches for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from fluxvision.core.errors import (
    Busy,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RangeNotSatisfiable,
    Unavailable,
    UnsupportedMediaType,
    UploadTooSlow,
)
from fluxvision.http.openapi_operations import (
    FILE,
    IDEMPOTENCY_KEY,
    JSON,
    LIMIT,
    WORD,
    Operation,
    json_response,
    parameter,
)
from fluxvision.http.openapi_schemas import object_schema, schema_ref
from fluxvision.jobs.batch_types import PURPOSES
from fluxvision.storage.media_folder import JSONL, OCTETS

FILE_ID = (parameter("id", "path", "The id of the file.", WORD),)
BATCH_ID = (parameter("id", "path", "The id of the batch.", WORD),)
PAGE = (
    parameter("limit", "query", "Most entries on the page; 20 without.", LIMIT),
    parameter("after", "query", "`last_id` of the page before.", WORD),
)
UPLOAD = object_schema("A file and what it is for.", {"file": FILE, "purpose": {"enum": [*PURPOSES]}})
BATCH_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/files"): Operation(
        "create_file",
        "Batches",
        "Upload a picture for edits, or the input of a batch: JSON Lines, each an edit",
        json_response("FileObject", "The file, which can be used for 24 hours."),
        (),
        (InvalidRequest, UploadTooSlow, PayloadTooLarge, UnsupportedMediaType, Busy, Unavailable),
        {"multipart/form-data": {"schema": UPLOAD}},
    ),
    ("GET", "/files"): Operation(
        "list_files",
        "Batches",
        "List the caller's uploaded files, the newest first",
        json_response("FileList", "A page of files."),
        (*PAGE, parameter("purpose", "query", "Only files of this purpose.", {"enum": [*PURPOSES]})),
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("GET", "/files/{id}"): Operation(
        "get_file",
        "Batches",
        "Show a file",
        json_response("FileObject", "The file."),
        FILE_ID,
        (NotFound, Unavailable),
    ),
    ("GET", "/files/{id}/content"): Operation(
        "get_file_content",
        "Batches",
        "Fetch a file; each line of an output or error file is a LineResult",
        {"200": ("JSON Lines, or a picture.", (), {JSONL: FILE, OCTETS: FILE})},
        FILE_ID,
        (InvalidRequest, NotFound, RangeNotSatisfiable, Unavailable),
    ),
    ("DELETE", "/files/{id}"): Operation(
        "delete_file",
        "Batches",
        "Delete an uploaded file",
        json_response("FileDeleted", "What was deleted."),
        FILE_ID,
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("POST", "/batches"): Operation(
        "create_batch",
        "Batches",
        "Begin a batch; its lines become background requests",
        json_response("Batch", "The batch."),
        (IDEMPOTENCY_KEY,),
        (
            InvalidRequest,
            NotFound,
            UploadTooSlow,
            PayloadTooLarge,
            UnsupportedMediaType,
            IdempotencyConflict,
            Unavailable,
        ),
        {JSON: {"schema": schema_ref("BatchRequest")}},
    ),
    ("GET", "/batches"): Operation(
        "list_batches",
        "Batches",
        "List the caller's batches, the newest first",
        json_response("BatchList", "A page of batches."),
        PAGE,
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("GET", "/batches/{id}"): Operation(
        "get_batch",
        "Batches",
        "Show how a batch stands",
        json_response("Batch", "The batch."),
        BATCH_ID,
        (NotFound, Unavailable),
    ),
    ("POST", "/batches/{id}/cancel"): Operation(
        "cancel_batch",
        "Batches",
        "Cancel a batch; one that has ended stays as it is",
        json_response("Batch", "The batch."),
        BATCH_ID,
        (NotFound, Unavailable),
    ),
    ("GET", "/batches/{id}/results.zip"): Operation(
        "get_batch_archive",
        "Batches",
        "Fetch the pictures that a batch has made so far",
        {"200": ("One archive; a file is named by the custom_id of its line.", (), {"application/zip": FILE})},
        BATCH_ID,
        (NotFound, Unavailable),
    ),
}
"""Rows like those of `openapi_operations.OPERATIONS`."""

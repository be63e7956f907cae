"""ACCOUNT_OPERATIONS: the rows of keys, balances and usage, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from fluxvision.accounts.key_types import GROUPINGS
from fluxvision.core.errors import (
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PayloadTooLarge,
    Unavailable,
    UnsupportedMediaType,
    UploadTooSlow,
)
from fluxvision.http.openapi_operations import JSON, WORD, Operation, json_response, parameter
from fluxvision.http.openapi_schemas import schema_ref

KEY_ID = (parameter("id", "path", "Its id, not the key itself.", WORD),)
KEY_ERRORS = InvalidRequest, NotFound, ModelNotFound, UploadTooSlow, PayloadTooLarge, UnsupportedMediaType, Unavailable
"""Of a request whose body says what a key may do."""
TIME = {"anyOf": [{"type": "number"}, {"type": "string", "format": "date"}]}
ACCOUNT_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/keys"): Operation(
        "create_key",
        "Accounts",
        "Create an API key (admin key)",
        json_response("CreatedKey", "The key with its secret, which is shown this one time."),
        (),
        KEY_ERRORS,
        {JSON: {"schema": schema_ref("KeyRequest")}},
    ),
    ("GET", "/keys"): Operation(
        "list_keys",
        "Accounts",
        "List the API keys (admin key)",
        json_response("KeyList", "All keys, the oldest first."),
        errors=(NotFound, Unavailable),
    ),
    ("GET", "/keys/{id}"): Operation(
        "get_key",
        "Accounts",
        "Show an API key (admin key)",
        json_response("KeyEntry", "The key, without its secret."),
        KEY_ID,
        (NotFound, Unavailable),
    ),
    ("PATCH", "/keys/{id}"): Operation(
        "change_key",
        "Accounts",
        "Change the name, expiry, models or limits of an API key (admin key)",
        json_response("KeyEntry", "The key as it is now; every gateway holds to it within two seconds."),
        KEY_ID,
        KEY_ERRORS,
        {JSON: {"schema": schema_ref("KeyChange")}},
    ),
    ("DELETE", "/keys/{id}"): Operation(
        "revoke_key",
        "Accounts",
        "Revoke an API key (admin key)",
        json_response("KeyEntry", "The key; every gateway refuses it within two seconds."),
        KEY_ID,
        (NotFound, Unavailable),
    ),
    ("POST", "/keys/{id}/rotate"): Operation(
        "rotate_key",
        "Accounts",
        "Give an API key a new secret (admin key)",
        json_response("CreatedKey", "The key with its new secret; the old one stops."),
        KEY_ID,
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("GET", "/balance"): Operation(
        "get_balance",
        "Accounts",
        "Show what the key has left",
        json_response("BalanceResponse", "Its budgets by day, month and in all."),
        errors=(NotFound, Unavailable),
    ),
    ("GET", "/usage"): Operation(
        "get_usage",
        "Accounts",
        "Show what the key has used; with the admin key, all keys",
        json_response("UsageResponse", "Requests and costs by group."),
        (
            parameter("group_by", "query", "What makes a group; day without.", {"enum": [*GROUPINGS]}),
            parameter("start", "query", "The first moment: a Unix time, or a date (UTC).", TIME),
            parameter("end", "query", "The moment before which it ends.", TIME),
        ),
        (InvalidRequest, NotFound, Unavailable),
    ),
}
"""Rows like those of `openapi_operations.OPERATIONS`."""

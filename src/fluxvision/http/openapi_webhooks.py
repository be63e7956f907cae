"""WEBHOOK_OPERATIONS: the rows of webhooks for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from fluxvision.core.errors import InvalidRequest, NotFound, Unavailable
from fluxvision.http.openapi_operations import LIMIT, WORD, Operation, json_response, parameter
from fluxvision.jobs.request_types import DELIVERY_STATUSES

WEBHOOK_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/webhooks/secret"): Operation(
        "get_webhook_secret",
        "Webhooks",
        "Show the secret that signs the caller's webhooks",
        json_response("WebhookSecret", "The secret, which is made at first use."),
        errors=(Unavailable,),
    ),
    ("POST", "/webhooks/secret"): Operation(
        "rotate_webhook_secret",
        "Webhooks",
        "Make a new secret for the caller's webhooks",
        json_response("WebhookSecret", "The new secret; the one before signs beside it for 24 hours."),
        errors=(Unavailable,),
    ),
    ("GET", "/webhooks/deliveries"): Operation(
        "list_webhook_deliveries",
        "Webhooks",
        "List the messages to the caller's webhooks, the newest first",
        json_response("WebhookDeliveryList", "A page of deliveries."),
        (
            parameter("status", "query", "Only those in this state.", {"enum": [*DELIVERY_STATUSES]}),
            parameter("limit", "query", "Most deliveries on the page; 20 without.", LIMIT),
            parameter("cursor", "query", "`next_cursor` of the page before.", WORD),
        ),
        (InvalidRequest, NotFound, Unavailable),
    ),
}
"""Rows like those of `openapi_operations.OPERATIONS`."""

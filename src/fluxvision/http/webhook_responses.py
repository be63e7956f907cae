"""The JSON bodies of webhooks as structs: the message about a request's end, secrets and deliveries."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fluxvision.http.responses import RequestObject
from fluxvision.jobs.request_types import DELIVERY_STATUSES


class WebhookEvent(Struct, kw_only=True):
    """What is posted to a request's `webhook_url` when it has ended."""

    type: Literal["request.completed", "request.failed", "request.cancelled"]
    timestamp: Annotated[str, Meta(description="When it ended, in ISO 8601.")]
    data: RequestObject


class WebhookSecret(Struct, kw_only=True):
    """The caller's signing secret."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: Annotated[str, Meta(description="For the libraries of Standard Webhooks.")]
    previous_until: Annotated[int | None, Meta(description="Unix time until which the one before signs, too.")]


class WebhookDelivery(Struct, kw_only=True):
    """A message about the end of a request."""

    id: Annotated[str, Meta(description="The header webhook-id, the same in every attempt.")]
    object: Literal["webhook_delivery"] = "webhook_delivery"
    request_id: str
    url: str
    status: Annotated[str, Meta(extra_json_schema={"enum": [*DELIVERY_STATUSES]})]
    attempts: int
    created_at: int
    next_at: Annotated[int | None, Meta(description="When it is sent again; null: no more.")]
    delivered_at: int | None
    last_error: Annotated[str | None, Meta(description="The kind of the last failure, such as status_500.")]


class WebhookDeliveryList(Struct, kw_only=True):
    """Webhook deliveries, the newest first."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    has_more: bool
    next_cursor: Annotated[str | None, Meta(description="To be sent as cursor for the next page.")]

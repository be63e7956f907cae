"""Webhooks over HTTP: the field `webhook_url` of an edit, the message about its end, and /v1/webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Receive, Scope, Send

from fluxvision.catalog.coerce import UNSET_WORDS
from fluxvision.core.errors import InvalidRequest
from fluxvision.http.media import public_base, scope_of
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.playground_limits import is_visitor
from fluxvision.http.state import AppState, caller_of
from fluxvision.http.stored_jobs import choice, page_limit, request_object, send_json
from fluxvision.http.webhook_responses import WebhookDelivery, WebhookDeliveryList, WebhookEvent, WebhookSecret
from fluxvision.jobs.request_types import DELIVERY_STATUSES, DeliveryFilter, Webhook, delivery_status, owner
from fluxvision.net.webhook_client import WebhookClient

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.jobs.records import RequestRow
    from fluxvision.jobs.webhook_secrets import SigningSecrets

WEBHOOK_URL = "webhook_url"


def webhook_client(state: AppState) -> WebhookClient:
    """Return the client that posts to the addresses that this server allows."""
    return WebhookClient(state.guard, allows_http=state.settings.allow_private_urls)


async def take_webhook(state: AppState, scope: Scope, fields: dict[str, Any]) -> Webhook | None:
    """Take `webhook_url` out of the fields, None where it is absent; raises `InvalidRequest` for a wrong address."""
    given = fields.pop(WEBHOOK_URL, None)
    if given is None or (isinstance(given, str) and given.strip().lower() in UNSET_WORDS):
        return None
    if is_visitor(scope):
        raise InvalidRequest("webhook_url needs an API key.", param=WEBHOOK_URL)
    reason = await webhook_client(state).find_refusal(given) if isinstance(given, str) else "must be a text"
    if reason:
        message = f"webhook_url {reason}."
        raise InvalidRequest(message, param=WEBHOOK_URL)
    return Webhook(given, public_base(state.settings.public_url, scope))


async def event_body(state: AppState, row: RequestRow, base_url: str) -> bytes:
    """Return the message about the end of a request, with links below `base_url`."""
    event = WebhookEvent(
        type=f"request.{row.status}",  # type: ignore[arg-type]  # a request that has ended has one of three states
        timestamp=datetime.fromtimestamp(row.ended_at, UTC).isoformat(),
        data=await request_object(state, scope_of(base_url), row),
    )
    return msgspec.json.encode(event)


async def show_secret(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send the caller's signing secret, which is made at first use."""
    await send_json(send, _secret(await (await state.jobs.get()).webhooks.secrets(caller_of(scope).id)))


async def rotate_secret(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Give the caller a new signing secret and send it."""
    await send_json(send, _secret(await (await state.jobs.get()).webhooks.secrets(caller_of(scope).id, rotate=True)))


async def list_deliveries(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send a page of the caller's webhook deliveries, the newest first."""
    query = query_parameters(scope)
    wanted = DeliveryFilter(
        owner(caller_of(scope)),
        status=choice(query, "status", DELIVERY_STATUSES),
        before=query.get("cursor") or None,
        limit=page_limit(query),
    )
    rows = await (await state.jobs.get()).webhooks.list(wanted)
    shown = [
        WebhookDelivery(
            id=row.id,
            request_id=row.request_id,
            url=row.url,
            status=delivery_status(row.next_at, row.delivered_at),
            attempts=row.attempts,
            created_at=int(row.created_at),
            next_at=None if row.next_at is None else int(row.next_at),
            delivered_at=None if row.delivered_at is None else int(row.delivered_at),
            last_error=row.last_error,
        )
        for row in rows[: wanted.limit]
    ]
    more = len(rows) > wanted.limit
    await send_json(send, WebhookDeliveryList(data=shown, has_more=more, next_cursor=shown[-1].id if more else None))


def _secret(found: SigningSecrets) -> WebhookSecret:
    until = found.previous_until
    return WebhookSecret(secret=found.current, previous_until=None if until is None else int(until))

"""/keys for the admin key: create, list, show, change, revoke and rotate keys; /balance and /usage for every key."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.accounts.key_types import GROUPINGS
from fluxvision.accounts.schemas import (
    KeyChange,
    KeyList,
    KeyRequest,
    balance_response,
    created_key,
    key_entry,
    to_columns,
    to_limits,
    usage_response,
)
from fluxvision.core.errors import Forbidden, InvalidRequest, NotFound
from fluxvision.http.parsing.body import read_struct
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.state import AppState, caller_of

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.accounts.service import AccountService

NO_ADMIN = "API keys cannot be managed over HTTP on this server: set FLUXVISION_ADMIN_KEY, and send that key."
NOT_ADMIN = "Only the admin key of this server may manage API keys."
NO_ACCOUNTS = "This server keeps no accounts: set FLUXVISION_DATA_DIR or FLUXVISION_DATABASE_URL."


async def create_key(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Create a key and send it with its secret."""
    accounts = _managed_accounts(state, scope)
    given = await read_struct(scope, receive, state.settings.upload_timeout, KeyRequest)
    key, secret = await accounts.create_key(
        name=given.name,
        expires_at=given.expires_at,
        models=[state.gateway.find(name)[0].id for name in given.models],
        limits=to_limits(given),
    )
    await _json(created_key(key, secret, state.now()))(scope, receive, send)


async def list_keys(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send all keys."""
    keys = await _managed_accounts(state, scope).list_keys()
    await _json(KeyList(object="list", data=[key_entry(key, state.now()) for key in keys]))(scope, receive, send)


async def show_key(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one key."""
    key = await _managed_accounts(state, scope).find_key(scope["path_params"]["id"])
    await _json(key_entry(key, state.now()))(scope, receive, send)


async def change_key(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Change what is given of a key and send what it is now."""
    accounts = _managed_accounts(state, scope)
    given = await read_struct(scope, receive, state.settings.upload_timeout, KeyChange)
    facts = to_columns(msgspec.structs.asdict(given))
    if "models" in facts:
        facts["models"] = [state.gateway.find(name)[0].id for name in facts["models"]]
    key = await accounts.change_key(scope["path_params"]["id"], facts)
    await _json(key_entry(key, state.now()))(scope, receive, send)


async def revoke_key(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Revoke a key and send what it is now."""
    key = await _managed_accounts(state, scope).revoke_key(scope["path_params"]["id"])
    await _json(key_entry(key, state.now()))(scope, receive, send)


async def rotate_key(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Give a key a new secret and send it."""
    key, secret = await _managed_accounts(state, scope).rotate_key(scope["path_params"]["id"])
    await _json(created_key(key, secret, state.now()))(scope, receive, send)


async def show_balance(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send what the calling key has used of its budgets."""
    caller = caller_of(scope)
    budgets = await _accounts(state).quotas.balance(caller.id, caller.limits)
    await _json(balance_response(caller.id, budgets))(scope, receive, send)


async def show_usage(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send requests and costs by group: of the calling key, to the admin key of all."""
    caller, query = caller_of(scope), query_parameters(scope)
    wanted = query.get("group_by", "day")
    group_by = next((one for one in GROUPINGS if one == wanted), None)
    if group_by is None:
        message = f"group_by must be one of {', '.join(GROUPINGS)}."
        raise InvalidRequest(message, param="group_by")
    start, end = _parse_time(query, "start", 0.0), _parse_time(query, "end", math.inf)
    rows = await _accounts(state).quotas.usage(None if caller.admin else caller.id, group_by, start, end)
    await _json(usage_response(group_by, rows))(scope, receive, send)


def _accounts(state: AppState) -> AccountService:
    if state.accounts is None:
        raise NotFound(NO_ACCOUNTS)
    return state.accounts


def _managed_accounts(state: AppState, scope: Scope) -> AccountService:
    """Return the accounts; raises `Forbidden` for every key but the admin key."""
    if not caller_of(scope).admin:
        raise Forbidden(NOT_ADMIN if state.settings.admin_key else NO_ADMIN)
    return _accounts(state)


def _parse_time(query: dict[str, str], param: str, default: float) -> float:
    """Return a Unix time, also written as a date or time of ISO 8601 (UTC where it has no zone)."""
    text = query.get(param, "")
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            found = math.nan
    if not math.isfinite(found):
        message = f"{param} must be a Unix time or a date such as 2026-11-30."
        raise InvalidRequest(message, param=param)
    return found


def _json(content: Any) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(content), headers=headers, media_type="application/json")

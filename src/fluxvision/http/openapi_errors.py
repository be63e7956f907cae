"""The errors in the OpenAPI document: their codes, and a response for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import getdoc
from typing import Any

from fluxvision.core.errors import (
    AuthenticationFailed,
    Busy,
    ClientError,
    ConfigError,
    Error,
    MethodNotAllowed,
    RangeNotSatisfiable,
    TooMany,
    Unavailable,
)
from fluxvision.http.openapi_schemas import schema_ref

ALWAYS = ("X-Request-ID", "X-Fluxvision-Request-ID", "OpenAI-Processing-Ms")
"""Headers of every response."""
RATE_LIMITS = ("X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests")
"""Headers of responses to a key with a limit of requests per minute."""


def error_kinds(root: type[Error] = Error) -> Iterator[type[Error]]:
    """Yield every error that a response can have; a `ConfigError` ends the start of the server."""
    for kind in root.__subclasses__():
        if kind not in {ClientError, ConfigError}:
            yield kind
        yield from error_kinds(kind)


def error_codes() -> dict[str, Any]:
    """Return the schema of the codes."""
    lines = (f"- `{kind.code}` ({kind.status}): {getdoc(kind)}" for kind in error_kinds())
    return {"enum": list(dict.fromkeys(kind.code for kind in error_kinds())), "description": "\n".join(lines)}


def error_responses(examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response per error, named like its class."""
    return {kind.__name__: _error_response(kind, examples.get(kind.code)) for kind in error_kinds()}


def operation_errors(errors: Iterable[type[Error]]) -> dict[str, Any]:
    """Return a response per status of these errors; errors with the same status share one."""
    found: dict[str, list[type[Error]]] = {}
    for kind in errors:
        found.setdefault(str(kind.status), []).append(kind)
    return {
        status: schema_ref(shared[0].__name__, "responses") if len(shared) == 1 else _any_error(shared)
        for status, shared in found.items()
    }


def _any_error(shared: Sequence[type[Error]]) -> dict[str, Any]:
    each = [_error_response(kind, None) for kind in shared]
    everywhere = [name for name in each[0]["headers"] if all(name in row["headers"] for row in each)]
    schemas = [row["content"]["application/json"]["schema"] for row in each]
    return {
        "description": " ".join(f"`{kind.code}`: {row['description']}" for kind, row in zip(shared, each, strict=True)),
        "headers": {name: schema_ref(name, "headers") for name in everywhere},
        "content": {"application/json": {"schema": {"anyOf": schemas}}},
    }


def _error_response(kind: type[Error], example: Any) -> dict[str, Any]:
    names = [*ALWAYS]
    names += [] if kind.retryable else ["X-Should-Retry"]
    names += ["Retry-After", "Retry-After-Ms"] if kind in {Busy, TooMany, Unavailable} else []
    names += RATE_LIMITS if kind is TooMany else []
    names += ["WWW-Authenticate"] if kind is AuthenticationFailed else []
    names += ["Allow"] if kind is MethodNotAllowed else []
    names += ["Content-Range"] if kind is RangeNotSatisfiable else []
    facts = {"code": {"const": kind.code}, "type": {"const": kind.type}}
    narrow = {"properties": {"error": {"properties": facts}}}
    content: dict[str, Any] = {"schema": {"allOf": [schema_ref("ErrorBody"), narrow]}}
    if example is not None:
        content["example"] = example
    return {
        "description": getdoc(kind),
        "headers": {name: schema_ref(name, "headers") for name in names},
        "content": {"application/json": content},
    }

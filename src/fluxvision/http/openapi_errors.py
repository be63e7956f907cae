"""The errors in the OpenAPI document: their codes, their one body, and a response for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Any

from fluxvision.errors import AuthenticationFailed, Busy, ClientError, Error, MethodNotAllowed, Unavailable
from fluxvision.http.openapi_schemas import TEXT, ref, shape

ALWAYS = ("X-Request-ID", "X-Fluxvision-Request-ID", "OpenAI-Processing-Ms")
"""Headers of every response."""


def kinds(root: type[Error] = Error) -> Iterator[type[Error]]:
    """Yield every error that has a code of its own."""
    for kind in root.__subclasses__():
        if kind is not ClientError:
            yield kind
        yield from kinds(kind)


def schemas() -> dict[str, Any]:
    """Return OpenAI's error body and the codes in it."""
    lines = (f"- `{kind.code}` ({kind.status}): {getdoc(kind)}" for kind in kinds())
    error = {"message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": ref("ErrorCode")}
    return {
        "ErrorCode": {"enum": [kind.code for kind in kinds()], "description": "\n".join(lines)},
        "Error": shape("OpenAI's error body.", {"error": shape("What is wrong.", error)}),
    }


def responses(examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response per error, named like its class."""
    return {kind.__name__: _response(kind, examples.get(kind.code)) for kind in kinds()}


def _response(kind: type[Error], example: Any) -> dict[str, Any]:
    names = [*ALWAYS]
    names += [] if kind.retryable else ["X-Should-Retry"]
    names += ["Retry-After", "Retry-After-Ms"] if kind in {Busy, Unavailable} else []
    names += ["WWW-Authenticate"] if kind is AuthenticationFailed else []
    names += ["Allow"] if kind is MethodNotAllowed else []
    facts = {"code": {"const": kind.code}, "type": {"const": kind.type}}
    narrow = {"properties": {"error": {"properties": facts}}}
    content: dict[str, Any] = {"schema": {"allOf": [ref("Error"), narrow]}}
    if example is not None:
        content["example"] = example
    return {
        "description": getdoc(kind),
        "headers": {name: ref(name, "headers") for name in names},
        "content": {"application/json": content},
    }

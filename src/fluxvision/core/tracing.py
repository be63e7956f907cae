"""Spans of requests and jobs; without a tracer, which only `http.telemetry` sets, they do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol, Self

Kind = Literal["internal", "server", "client"]
Attribute = str | int | float | bool


class Span(Protocol):
    """Work that is measured."""

    def set(self, name: str, value: Attribute | None) -> None:
        """Set an attribute; None is left out."""

    def rename(self, name: str) -> None:
        """Give the span another name."""


class Tracer(Protocol):
    """Makes spans."""

    def span(
        self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Attribute]
    ) -> AbstractContextManager[Span]:
        """Return a span of the current one, or of the `traceparent` header `parent`."""

    def traceparent(self) -> str:
        """Return the current span as a `traceparent` header."""


class _NoSpan:
    """A span that is not measured."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def set(self, name: str, value: Attribute | None) -> None:
        """Do nothing."""

    def rename(self, name: str) -> None:
        """Do nothing."""


NO_SPAN = _NoSpan()
_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Use a tracer in this process from now on; None ends it."""
    global _tracer  # noqa: PLW0603 - as OpenTelemetry's own, it is one for the process
    _tracer = tracer


def is_traced() -> bool:
    """Return whether spans are measured."""
    return _tracer is not None


def span(
    name: str, kind: Kind = "internal", parent: str = "", attributes: Mapping[str, Attribute] | None = None
) -> AbstractContextManager[Span]:
    """Return a context manager that measures what is done in it."""
    return NO_SPAN if _tracer is None else _tracer.span(name, kind, parent, attributes or {})


def traceparent() -> str:
    """Return the current span as a `traceparent` header, empty without one."""
    return "" if _tracer is None else _tracer.traceparent()

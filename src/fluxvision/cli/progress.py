"""Chooses how a run shows progress: bars on a terminal (`rich_bars.py`), otherwise plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import click

Progress = Callable[[int, int], None]


class ProgressDisplay(Protocol):
    """Shows a run's progress. `begin` returns the callback for each tile, which may be called from any thread."""

    def __enter__(self) -> Self:
        """Start the display."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bars."""

    def begin(self, name: str) -> Progress:
        """Show a picture whose processing starts."""

    def end(self, name: str) -> None:
        """Stop showing a picture."""

    def say(self, line: str) -> None:
        """Write a permanent line."""


def create_display(total: int, *, still: bool) -> ProgressDisplay:
    """Return bars if standard error is a terminal that can show them and not `still`, otherwise a plain display."""
    if still or not sys.stderr.isatty():
        return PlainDisplay()
    from fluxvision.cli.rich_bars import ProgressBars, can_show_bars  # noqa: PLC0415, who sees no bars does not wait for rich

    return ProgressBars(total) if can_show_bars() else PlainDisplay()


class PlainDisplay:
    """A display without bars."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def begin(self, name: str) -> Progress:  # noqa: ARG002, the protocol's word
        """Show nothing."""
        return lambda _done, _total: None

    def end(self, name: str) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Write a line to standard error."""
        click.echo(line, err=True)

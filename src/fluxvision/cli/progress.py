"""Progress on a terminal: one bar for all pictures and one for each that is at work. Elsewhere plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import click

Progress = Callable[[int, int], None]


class ProgressDisplay(Protocol):
    """Where a run shows how far it is. `begin` returns what to call after each tile, from any thread."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything that moves off the screen."""

    def begin(self, name: str) -> Progress:
        """Show a picture that is at work now."""

    def end(self, name: str) -> None:
        """Show it no longer."""

    def say(self, line: str) -> None:
        """Write a line that stays."""


def create_display(total: int, *, still: bool) -> ProgressDisplay:
    """Return bars where standard error is a terminal that can show them and `still` does not forbid it."""
    if still or not sys.stderr.isatty():
        return PlainDisplay()
    from fluxvision.cli.rich_bars import ProgressBars, can_show_bars  # noqa: PLC0415, who sees no bars does not wait for rich

    return ProgressBars(total) if can_show_bars() else PlainDisplay()


class PlainDisplay:
    """No bars."""

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

"""ProgressBars: animated progress bars on a terminal, made with the library rich."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

from fluxvision.cli.text import safe_path

LONGEST = 40


def can_show_bars() -> bool:
    """Return whether standard error can show bars."""
    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


class ProgressBars:
    """A bar for each picture in progress, and one for all if there are several."""

    def __init__(self, total: int) -> None:
        """Expect `total` pictures."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            Remaining(),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._shares: dict[TaskID, float] = {}
        self._rows: dict[str, TaskID] = {}
        self._total = total
        self._ended = 0
        self._all = self._progress.add_task(f"0/{total} pictures", total=total) if total > 1 else None

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bars and keep the lines."""
        self._progress.stop()

    def begin(self, name: str) -> Callable[[int, int], None]:
        """Add a bar, which is indeterminate until the first tile is done."""
        plain = safe_path(name)
        short = plain if len(plain) <= LONGEST else f"…{plain[1 - LONGEST :]}"
        row = self._rows[name] = self._progress.add_task(short, total=None)

        def progress(done: int, total: int) -> None:
            writing = done >= total
            self._progress.update(
                row, completed=done, total=total, description=f"{short} (writing)" if writing else short
            )
            self._shares[row] = done / max(total, 1)
            self._move()

        return progress

    def end(self, name: str) -> None:
        """Remove a picture's bar and count it."""
        row = self._rows.pop(name, None)
        if row is not None:
            self._shares.pop(row, None)
            self._progress.remove_task(row)
        self._ended += 1
        self._move()

    def say(self, line: str) -> None:
        """Write a line above the bars."""
        self._console.print(Text(line))

    def _move(self) -> None:
        if self._all is not None:
            completed = self._ended + sum(tuple(self._shares.values()))
            self._progress.update(self._all, completed=completed, description=f"{self._ended}/{self._total} pictures")

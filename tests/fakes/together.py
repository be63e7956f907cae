"""Cases that mostly wait, checked side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

MOST = 8
"""Cases at a time, so that none waits for the processor."""


async def together(cases: Iterable[Any], check: Callable[[Any, Path], Awaitable[None]], folder: Path) -> None:
    """Check each case in a folder of its own; fails with what is wrong, by case."""
    turn, wrong = asyncio.Semaphore(MOST), {}

    async def one(number: int, case: Any) -> None:
        made = folder / f"case-{number}"
        made.mkdir()
        async with turn:
            try:
                await check(case, made)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001, shown below with its case
                wrong[str(case)] = repr(error)

    await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))
    assert wrong == {}

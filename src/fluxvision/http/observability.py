"""One JSON line per request on standard error. Never a key, a prompt, a query, a picture or its name."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any, TextIO

import msgspec
import structlog

from fluxvision.core.types import Attempt
from fluxvision.imaging import error_log

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


@dataclass(slots=True)
class Record:
    """What a request's line says beside its address, and the tries at providers; the handlers fill it in."""

    request_id: str
    model: str | None = None
    provider: str | None = None
    cost: int | None = None
    attempts: Sequence[Attempt] = ()


def logger(level: str, stream: TextIO | None = None) -> Any:
    """Return a logger that writes JSON lines; `level` is one of debug, info, warning, error."""
    return structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS.get(level, LEVELS["info"])),
    ).bind()  # otherwise every line would assemble a logger of its own


class _Libraries(logging.Handler):
    """Writes a record of `glib.LOGGER` as a line of another log."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning("library", domain=record.__dict__["domain"], severity=record.__dict__["severity"])


@contextmanager
def libraries(log: Any) -> Iterator[None]:
    """Log that a C library sent a warning or worse: its name and how severe it is, not the text."""
    handler = _Libraries(log)
    error_log.LOGGER.addHandler(handler)
    try:
        yield
    finally:
        error_log.LOGGER.removeHandler(handler)


def trace(error: BaseException) -> list[str]:
    """Return an unexpected error as its types and places in the code.

    The messages of exceptions are left out like their locals: they may quote a prompt, a key or a path.
    """
    lines: list[str] = []
    following: BaseException | None = error
    while following is not None:
        lines.append(type(following).__qualname__)
        for frame, number in walk_tb(following.__traceback__):
            code = frame.f_code
            lines.append(f"{Path(code.co_filename).name}:{number} {code.co_qualname}")
        following = following.__cause__ or following.__context__
    return lines


def _dump(event: MutableMapping[str, Any], **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()

"""Redirects the warnings of GLib (used by libvips) from standard error to Python's logging."""

from __future__ import annotations

import atexit
import ctypes
import logging
import sys
import time
from contextlib import suppress

import pyvips

LOGGER = logging.getLogger("fluxvision.glib")
"""Each record has the attributes `domain` and `severity`. Logs nothing until a handler is added."""
SECONDS = 60.0
"""Least seconds between two records of one domain and severity, because a picture can cause many messages."""

_FATAL = 1 << 1
_LEVELS = {1 << 2: "error", 1 << 3: "critical", 1 << 4: "warning"}
"""Names of GLib's log levels; messages of other levels are dropped."""
_ALL = 0xFF & ~(1 << 4)
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

LOGGER.addHandler(logging.NullHandler())
LOGGER.propagate = False
_library = ctypes.CDLL(sys.modules["_libvips"].__file__ if pyvips.API_mode else pyvips.library_name("vips", 42))
_last: dict[tuple[str, str], float] = {}


def _take_message(domain: bytes | None, level: int, message: bytes | None, _data: int | None) -> None:
    """Log that a library issued a message, from any thread; without its text, which may hold paths.

    A fatal message is printed as before, because the process ends with it.
    """
    with suppress(Exception):  # the C code cannot handle exceptions
        if level & _FATAL:
            _library.g_log_default_handler(domain, level, message, None)
        name, severity = (domain or b"").decode("ascii", "replace"), _LEVELS.get(level & ~0x3)
        now = time.monotonic()
        if severity is None or now - _last.get((name, severity), -SECONDS) < SECONDS:
            return
        _last[name, severity] = now
        LOGGER.warning("A library sent a message.", extra={"domain": name, "severity": severity})


_handler = _FUNCTION(_take_message)


def capture_warnings() -> None:
    """Handle the messages of all domains. The warnings of libvips itself are still handled by pyvips."""
    _library.g_log_set_default_handler(_handler, None)
    number = _library.g_log_set_handler(b"VIPS", _ALL, _handler, None)
    atexit.register(_release_handler, number)


def _release_handler(number: int) -> None:
    """Remove the handler before the interpreter, which it needs, has ended."""
    _library.g_log_set_default_handler(_library.g_log_default_handler, None)
    _library.g_log_remove_handler(b"VIPS", number)

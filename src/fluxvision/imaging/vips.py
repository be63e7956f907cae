"""Sets libvips up for untrusted pictures and turns its errors into ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyvips
from pyvips import error as pyvips_error
from pyvips import ffi

from fluxvision.core.errors import Error
from fluxvision.core.system import shortage
from fluxvision.imaging import error_log

# Loaders that their authors do not vouch for on hostile input stay shut, whoever asks for them.
pyvips.block_untrusted_set(True)
# Raw files are our own finished pixels: their size and type are arguments, nothing in them is believed.
pyvips.operation_block_set("VipsForeignLoadRaw", False)
# A server sees each picture once: the operation cache would only hold memory and open files.
pyvips.cache_set_max(0)
pyvips.cache_set_max_mem(0)
pyvips.cache_set_max_files(0)
# Every row of a damaged file is worth a warning to libvips; we say it once, to the caller.
logging.getLogger("pyvips").setLevel(logging.ERROR)
error_log.capture()


def _to_string(x: Any) -> str:
    """Return a C string as text, whatever its bytes are. It will run in a module of pyvips, which knows `ffi`, too."""
    found = b"NULL" if x == ffi.NULL else ffi.string(x)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


# Error texts quote the file. pyvips takes them for UTF-8, raises UnicodeDecodeError where they are not, and leaves the
# text where it is: every later error of the process would fail in the same way. Its modules have imported the function
# by name, so the function itself is changed.
pyvips_error._to_string.__code__ = _to_string.__code__  # noqa: SLF001, there is no public place for this


def forget() -> None:
    """Drop the error text that libvips has left: calls that go well leave some, too, and it is added to."""
    pyvips.vips_lib.vips_error_clear()


@contextmanager
def translated(error: Error) -> Iterator[None]:
    """Raise `error` in place of a libvips error, whose text holds paths of this machine."""
    forget()  # what has run out is read from the error text
    try:
        yield
    except pyvips.Error as cause:
        raise shortage(cause) or error from cause

"""Sets libvips up for untrusted pictures and turns its errors into ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pyvips

from fluxvision.errors import Error

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


@contextmanager
def translated(error: Error) -> Iterator[None]:
    """Raise `error` in place of a libvips error, whose text holds paths of this machine."""
    try:
        yield
    except pyvips.Error as cause:
        raise error from cause

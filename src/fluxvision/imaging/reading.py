"""Turns the ways in which a file can be damaged into one sentence for the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyvips

from fluxvision.core.errors import InvalidRequest
from fluxvision.core.system import NO_SPACE, shortage
from fluxvision.imaging import bmp
from fluxvision.imaging.formats import Format
from fluxvision.imaging.vips import forget


@contextmanager
def readable(row: Format, param: str) -> Iterator[None]:
    """Raise InvalidRequest naming `param` where a file that begins as this format cannot be read.

    All threads share one error text of libvips. What it says of a full disk is from a file that another thread writes.
    """
    forget()  # what has run out is read from the error text
    try:
        yield
    except bmp.Unreadable as cause:
        message = f"{param}: {cause}."
        raise InvalidRequest(message, param=param) from cause
    except pyvips.Error as cause:
        raise shortage(cause, besides=NO_SPACE) or damaged(row, param) from cause


def damaged(row: Format, param: str) -> InvalidRequest:
    """Return the error for a file that begins as this format and cannot be read to its end."""
    return InvalidRequest(f"{param}: this {row.label} file is damaged or truncated.", param=param)

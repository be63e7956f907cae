"""Server-sent events, read as they arrive."""

from __future__ import annotations

import pytest

from fluxvision.mcp.api import ApiRefusal
from fluxvision.mcp.events import read_events

STREAM = b": started\n\n: progress 3/8\n\nevent: image_edit.completed\ndata: {}\n\n: keep-alive\n\n"


async def pieces(content, size):
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
async def test_events_in_pieces_of_any_size(size, ending):
    """Events, comments and progress are the same however the network cuts them."""
    found = [event async for event in read_events(pieces(STREAM.replace(b"\n", ending), size))]
    assert [event.comment for event in found] == ["started", "progress 3/8", "", "keep-alive"]
    assert [event.progress for event in found] == [None, (3, 8), None, None]
    assert (found[2].name, found[2].data) == ("image_edit.completed", b"{}")


async def test_an_endless_event_is_refused():
    """A server that sends no end of an event fills no memory."""

    async def endless():
        while True:
            yield b"x" * 1_000_000

    with pytest.raises(ApiRefusal, match="too long"):
        [event async for event in read_events(endless())]

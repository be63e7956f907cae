"""Reads the server-sent events of a response as they arrive."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fluxvision.mcp.api import MAX_ANSWER, ApiRefusal

END = re.compile(rb"\r?\n\r?\n")
PROGRESS = re.compile(r"progress (\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event, or a comment between events."""

    name: str = ""
    data: bytes = b""
    comment: str = ""

    @property
    def progress(self) -> tuple[int, int] | None:
        """The finished tiles and all tiles, where the comment tells them."""
        found = PROGRESS.fullmatch(self.comment)
        return None if found is None else (int(found[1]), int(found[2]))


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
    """Yield events and comments; raises `ApiRefusal` for one that is too long."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) > MAX_ANSWER:
            raise ApiRefusal("The server sent an event that is too long.")
        while found := END.search(held):
            yield _parse_event(bytes(held[: found.start()]))
            del held[: found.end()]


def _parse_event(block: bytes) -> ServerSentEvent:
    name, data, comment = "", [], ""
    for line in block.splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
        elif not field:
            comment = value.decode("utf-8", "replace")
    return ServerSentEvent(name, b"\n".join(data), comment)

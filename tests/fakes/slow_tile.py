"""A server with the real gateway, whose one provider makes a tile for as long as the test wants."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fakes.painter import Painter, model, offer
from fluxvision import server
from fluxvision.core.concurrency import run_in_pool
from fluxvision.gateway.gateway import Gateway

DEADLINE = 0.5
"""Seconds of a whole job."""


class SlowTile(Painter):
    """A provider that makes its tile in a thread, which ends when the file `end` is there."""

    def __init__(self, end: Path) -> None:
        """Wait for a file."""
        super().__init__("Slow")
        self.end = end
        self.pool = ThreadPoolExecutor(1)

    async def run(self, call, callbacks, folder):
        """Make one tile, and then look whether the job was cancelled."""

        def make_tile():
            while not self.end.exists():
                time.sleep(0.005)
            callbacks.check_cancelled()

        await run_in_pool(self.pool, callbacks, make_tile)
        return await super().run(call, callbacks, folder)


def make(settings):
    """Make a gateway whose provider waits for the file END_OF_TILE of the environment."""
    provider = SlowTile(Path(os.environ["END_OF_TILE"]))
    return Gateway({"slow": provider}, models=(model(offer("slow")),), queue=settings.queue, deadline=DEADLINE)


if __name__ == "__main__":
    from fluxvision.core.load_settings import load_settings

    server.serve(load_settings(dict(os.environ)), make)

"""Kills a server at random moments of paid jobs, starts it again, and compares what was bought with what was asked.

    python bench/chaos.py --kills 200

Each job is a picture of its own, sent by a client that repeats its request, as OpenAI's SDKs do, until it is answered.
A fake fal.ai counts the submissions and the pictures that it charges for. Prints a line of Markdown.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sqlalchemy import func, select

from fakes.fal import running_fal  # type: ignore[import-not-found]
from fakes.server import Server  # type: ignore[import-not-found]
from fluxvision.storage.database import open_in
from fluxvision.storage.tables import REQUESTS

MODEL = "flux-vision-upscaler"
SIDE = 48
PAUSE = 0.2
AT_ONCE = 3
"""Jobs at the same time."""


@dataclass(slots=True)
class Client:
    """Asks for pictures until told to stop, each until it is answered."""

    server: Server
    generator: np.random.Generator
    stop: Event
    answers: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        """Ask for one picture after another."""
        while not self.stop.is_set():
            self.answers.append(self.ask(self._picture()))

    def ask(self, picture: bytes) -> dict[str, Any]:
        """Send a picture again and again, until there is an answer that is no 5xx; return its body."""
        tries = 0
        while True:
            retry = {"x-stainless-retry-count": str(tries)}
            try:
                answer = self.server.edit(("image", picture, "photo.png"), ("model", MODEL), **retry)
            except (OSError, HTTPException):
                answer = None
            if answer is not None and answer.status < 500:
                return {"status": answer.status, **answer.json()}
            tries += 1
            time.sleep(PAUSE)

    def _picture(self) -> bytes:
        pixels = self.generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


def main() -> None:
    """Kill, count and print."""
    parser = argparse.ArgumentParser(description="Paid jobs across kills of the server.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=5.0, help="most seconds between a start and a kill")
    parser.add_argument("--work", type=float, default=0.5, help="seconds that fal.ai works on a picture")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)  # noqa: S311
    folder = Path(tempfile.mkdtemp())
    with running_fal(work=arguments.work) as fal:
        settings = {"fal_queue_url": fal.queue_url, "fal_storage_url": fal.storage_url, "threads": "1"}
        server = Server(folder / "data", settings, {"FAL_KEY": fal.key}, module=("fluxvision", "serve"))
        stop = Event()
        clients = [Client(server, np.random.default_rng(number), stop) for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(client.run) for client in clients]
            for number in range(arguments.kills):
                server.__enter__()
                time.sleep(moments.uniform(0, arguments.longest))
                if server.process is not None:
                    server.process.kill()
                    server.process.wait()
                print(f"\r{number + 1} kills, {len(fal.submissions)} submissions", end="", file=sys.stderr, flush=True)
            with server:
                stop.set()
                for one in running:
                    one.result()
        answers = [answer for client in clients for answer in client.answers]
        bought = Counter(str(submission.body["image_url"]) for submission in fal.submissions)
        paid = fal.paid
    database = open_in(folder / "data")
    with database.begin() as connection:
        ledger = connection.execute(select(func.sum(REQUESTS.c.cost))).scalar() or 0
    database.close()
    shutil.rmtree(folder)
    price = round((2 * SIDE) ** 2 / 10)
    makers = Counter(answer["metadata"]["provider"] for answer in answers if answer["status"] == 200)
    print(
        f"\n{datetime.now(UTC).date().isoformat()}: {arguments.kills} kills, {len(answers)} jobs, "
        f"{len(answers) - makers.total()} lost, {sum(count > 1 for count in bought.values())} bought twice, "
        f"{makers['fal']} made by fal.ai, {makers['embedded']} by the engine on the CPU because it was unknown whether "
        f"fal.ai had accepted them; fal.ai charged {paid * price:,} micro-dollars, the ledger says {ledger:,}"
    )


if __name__ == "__main__":
    main()

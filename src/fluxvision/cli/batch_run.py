"""Runs `fluxvision batch`: sends lines as batches, remembers them in the folder of the results, and fetches these."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import click

from fluxvision.cli.api_client import ApiClient, Refusal
from fluxvision.cli.batch_plan import PlannedLine
from fluxvision.cli.progress import ProgressDisplay
from fluxvision.cli.text import pluralize, safe_path

STATE = ".fluxvision-batch.json"
MOST_BYTES, MOST_LINES = 100_000_000, 1_000
"""Of one batch; its results are fetched while the next one works."""
LOOK_SECONDS = 2.0
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(slots=True)
class SentBatch:
    """A batch as it is remembered in the folder of its results until they have been fetched."""

    server: str
    key: str
    """The idempotency key with which it is begun."""
    file_id: str
    outputs: dict[str, tuple[str, ...]]
    """The files of each line's results, by custom_id."""
    id: str = ""
    """Empty until the server has told it."""


@dataclass(slots=True)
class State:
    """The batches of a folder, on all servers."""

    path: Path
    batches: list[SentBatch] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Return the state of a folder."""
        path = folder / STATE
        try:
            return cls(path, [SentBatch(**one) for one in json.loads(path.read_bytes())])
        except FileNotFoundError:
            return cls(path)

    def save(self) -> None:
        """Write it atomically; without batches there is no file."""
        if not self.batches:
            self.path.unlink(missing_ok=True)
            return
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps([asdict(one) for one in self.batches]), encoding="utf-8")
        draft.replace(self.path)

    def remove(self, batch: SentBatch) -> None:
        """Forget a batch."""
        self.batches.remove(batch)
        self.save()


@dataclass(slots=True)
class Tally:
    """How many pictures came, and how many lines did not."""

    made: int = 0
    failed: int = 0


def run(folder: Path, screen: ProgressDisplay, server: str, key: str, lines: Sequence[PlannedLine]) -> Tally:
    """Send lines to a server, and fetch their results and those of earlier runs into a folder."""
    return asyncio.run(_Run(folder, State.load(folder), screen).all(server, key, lines))


@dataclass(slots=True)
class _Run:
    """One run: sends what was not sent, then waits for all batches and fetches their results."""

    folder: Path
    state: State
    screen: ProgressDisplay
    tally: Tally = field(default_factory=Tally)

    async def all(self, server: str, key: str, lines: Sequence[PlannedLine]) -> Tally:
        """Do all of it."""
        async with ApiClient(server, key) as client:
            for batch in self._batches(client):
                with suppress(Refusal):  # its lines are sent again
                    await self._begin(client, batch)
            sent = {custom_id for batch in self._batches(client) for custom_id in batch.outputs}
            for path, outputs in self._chunks(line for line in lines if line.custom_id not in sent):
                try:
                    batch = SentBatch(client.base, token_hex(16), await client.upload(path), outputs)
                    self.state.batches.append(batch)
                    await self._begin(client, batch)
                except Refusal as error:
                    self._fail(error.message, len(outputs))
            for batch in self._batches(client):
                try:
                    await self._fetch(client, batch)
                except Refusal as error:  # it may be another key's, and paid
                    again = f"To send its {pluralize(len(batch.outputs), 'line')} again, delete"
                    self._fail(f"{error.message} {again} {safe_path(self.state.path)}.", len(batch.outputs))
                else:
                    self.state.remove(batch)
        return self.tally

    def _batches(self, client: ApiClient) -> list[SentBatch]:
        """Return the batches of this server."""
        return [batch for batch in self.state.batches if batch.server == client.base]

    def _fail(self, message: str, lines: int = 1) -> None:
        """Say why lines have no results."""
        self.tally.failed += lines
        self.screen.say(f"Error: {message}")

    def _chunks(self, lines: Iterable[PlannedLine]) -> Iterator[tuple[Path, dict[str, tuple[str, ...]]]]:
        """Yield input files of the lines that have no results, with the names of these by custom_id."""
        draft = self.folder / f"{STATE}.lines"
        outputs: dict[str, tuple[str, ...]] = {}
        try:
            with draft.open("wb") as file:
                for line in lines:
                    if all((self.folder / name).exists() for name in line.names):
                        continue
                    try:
                        text = line.encode()
                    except click.ClickException as error:
                        self._fail(error.message)
                        continue
                    if outputs and (file.tell() + len(text) > MOST_BYTES or len(outputs) == MOST_LINES):
                        file.flush()
                        yield draft, outputs
                        file.seek(0)
                        file.truncate()
                        outputs = {}
                    file.write(text)
                    outputs[line.custom_id] = line.names
                file.flush()
                if outputs:
                    yield draft, outputs
        finally:
            draft.unlink(missing_ok=True)

    async def _begin(self, client: ApiClient, batch: SentBatch) -> None:
        """Begin a batch unless that was done; the key makes it one batch, whatever happens in between.

        One that is refused is forgotten.
        """
        if batch.id:
            return
        self.state.save()
        try:
            batch.id = await client.begin(batch.file_id, batch.key)
        except Refusal:
            self.state.remove(batch)
            raise
        self.state.save()

    async def _fetch(self, client: ApiClient, batch: SentBatch) -> None:
        """Wait for the end of a batch and write its results; what ends this early can be repeated."""
        title = safe_path(batch.id)
        progress = self.screen.begin(title)
        try:
            while (found := await client.batch(batch.id))["status"] not in ENDED:
                counts = found["request_counts"]
                progress(counts["completed"] + counts["failed"], counts["total"])
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.screen.end(title)
        draft = self.folder / f"{STATE}.results"
        left = len(batch.outputs)
        try:
            for name in ("output_file_id", "error_file_id"):
                if found[name] is not None:
                    await client.save_file(found[name], draft)
                    with draft.open("rb") as lines:
                        for line in lines:
                            await self._take(client, json.loads(line), batch)
                            left -= 1
        finally:
            draft.unlink(missing_ok=True)
        if left:
            self._fail(f"the batch was {safe_path(found['status'])}; {pluralize(left, 'line')} not begun.", left)

    async def _take(self, client: ApiClient, line: Mapping[str, Any], batch: SentBatch) -> None:
        """Write the pictures of a line, or say its error."""
        names, error = batch.outputs[line["custom_id"]], line["error"]
        try:
            if error is None:
                await self._write(client, line["response"]["body"]["data"], names)
        except Refusal as gone:
            error = {"message": gone.message}
        if error is not None:
            self._fail(f"{safe_path(names[0])}: {safe_path(error['message'])}")

    async def _write(self, client: ApiClient, data: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Write pictures, each in one step, unless they are there."""
        for entry, name in zip(data, names, strict=False):
            path = self.folder / name
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            if "url" in entry:
                await client.save_picture(entry["url"], draft)
            else:
                draft.write_bytes(base64.b64decode(entry["b64_json"]))
            draft.replace(path)
            self.tally.made += 1

"""`fluxvision batch`: has a server enlarge many pictures as batches, and goes on where an earlier run stopped."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click

from fluxvision.catalog.params import BY_NAME
from fluxvision.cli.api_client import ApiClient, Refusal
from fluxvision.cli.options import Flag, Sectioned, UpscaleRequest, parameter_flags
from fluxvision.cli.progress import ProgressDisplay, create_display
from fluxvision.cli.text import pluralize, safe_path

if TYPE_CHECKING:  # not imported at run time, because it imports libvips
    from fluxvision.cli.batch_plan import PlannedLine

HELP = """Enlarge many pictures on a server: files, folders, patterns, or one file of JSON Lines in the shape of
OpenAI's batches.

The pictures are uploaded and wait there for their turn. After Ctrl-C or a crash the next command with the same
server and --out fetches what was sent before; results that exist or are on their way are not made again.
`fluxvision upscale` enlarges folders on this machine, without a server.

\b
  fluxvision batch photos/ --out large/ --server http://studio:8000
  fluxvision batch photos/ --out large/ --scale 4 --format webp
  fluxvision batch edits.jsonl --out large/
"""
LINES = ".jsonl"
STATE = ".fluxvision-batch.json"
MOST_BYTES, MOST_LINES = 100_000_000, 1_000
"""Of one batch; its results are fetched while the next one works."""
LOOK_SECONDS = 2.0
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

OWN = (
    Flag("--out", "-o", section="Files", metavar="FOLDER", required=True,
         help="The folder of the results, made if need be."),
    Flag("--server", section="Server", metavar="URL", envvar="FLUXVISION_SERVER", default="http://127.0.0.1:8000",
         help="Its address. [default FLUXVISION_SERVER, else http://127.0.0.1:8000]"),
    Flag("--api-key", section="Server", metavar="KEY", envvar="FLUXVISION_API_KEY", default="",
         help="Its key; other users of this machine can see flags. [default FLUXVISION_API_KEY]"),
    Flag("--model", section="Server", default="flux-vision-upscaler", metavar="ID",
         help="The model, or PROVIDER/MODEL. [default flux-vision-upscaler]"),
    Flag("--quiet", "-q", section="Server", is_flag=True, help="Say nothing but errors."),
)  # fmt: skip


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


@click.pass_context
def run(_context: click.Context, /, inputs: tuple[str, ...], **given: Any) -> int:
    """Run the command and return the exit code."""
    # Imported here so that --help need not import libvips.
    from fluxvision.cli import batch_plan  # noqa: PLC0415

    fields = {name: value for name in list(given) if name in BY_NAME and (value := given.pop(name)) is not None}
    folder = Path(given["out"])
    is_file = len(inputs) == 1 and inputs[0].endswith(LINES)
    if is_file and fields:
        raise click.UsageError("The lines of a file have their own parameters; leave the flags out.")
    request = UpscaleRequest(inputs, fields, model=given["model"], out=f"{folder}/", quiet=given["quiet"])
    lines = batch_plan.plan_file(Path(inputs[0])) if is_file else batch_plan.plan_pictures(request, folder)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with create_display(0, still=request.quiet) as screen:
        tally = asyncio.run(_Run(folder, State.load(folder), screen).all(given["server"], given["api_key"], lines))
    if not request.quiet:
        seconds = time.monotonic() - started
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        click.echo(f"{pluralize(tally.made, 'picture')} in {safe_path(folder)}{failed}, {seconds:.1f} s", err=True)
    return 1 if tally.failed else 0


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


COMMAND = Sectioned(
    "batch",
    callback=run,
    params=[
        click.Argument(["inputs"], nargs=-1, required=True, metavar="PICTURE..."),
        *(flag for flag in parameter_flags() if flag.name != "mask"),
        *OWN,
    ],
    help=HELP,
    short_help="Enlarge many pictures on a server.",
)

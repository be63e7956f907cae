"""`fluxvision batch`: has a server enlarge many pictures as batches, and goes on where an earlier run stopped."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import click

from fluxvision.catalog.params import BY_NAME
from fluxvision.cli.api_client import ApiClient, ApiError
from fluxvision.cli.options import Flag, Sectioned, UpscaleRequest, parameter_flags
from fluxvision.cli.progress import ProgressDisplay, create_display
from fluxvision.cli.text import pluralize, safe_path

HELP = """Enlarge many pictures on a server: files, folders, patterns, or one file of JSON Lines in the shape of
OpenAI's batches.

The pictures are uploaded and wait there for their turn; the same command goes on after Ctrl-C or a crash, and leaves
results that exist already alone. `fluxvision upscale` enlarges folders on this machine, without a server.

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
ENDPOINT = "/v1/images/edits"

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
    """A batch as it is remembered in the folder of its results."""

    key: str
    """The idempotency key with which it is begun."""
    file_id: str
    outputs: dict[str, list[str]]
    """The files of each line's results, by custom_id; empty: named by the custom_id."""
    id: str = ""
    """Empty until the server has told it."""


@dataclass(slots=True)
class State:
    """What was sent to the server and has not been fetched yet."""

    path: Path
    asked: str
    """Digest of server, model and parameters: other ones are another run."""
    batches: list[SentBatch] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, asked: str) -> State:
        """Return the state of a folder."""
        path = folder / STATE
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return cls(path, asked)
        kept = found["batches"] if found["asked"] == asked else []
        return cls(path, asked, [SentBatch(**one) for one in kept])

    def save(self) -> None:
        """Write it atomically; without batches there is no file."""
        if not self.batches:
            self.path.unlink(missing_ok=True)
            return
        draft = self.path.with_suffix(".new")
        names = SentBatch.__slots__
        rows = [{name: getattr(one, name) for name in names} for one in self.batches]
        draft.write_text(json.dumps({"asked": self.asked, "batches": rows}), encoding="utf-8")
        draft.replace(self.path)


@dataclass(slots=True)
class Tally:
    """How many pictures came, and what is told of the others."""

    made: int = 0
    failed: int = 0


@click.pass_context
def run(_context: click.Context, /, inputs: tuple[str, ...], **given: Any) -> int:
    """Run the command and return the exit code."""
    fields = {name: value for name in list(given) if name in BY_NAME and (value := given.pop(name)) is not None}
    folder = Path(given["out"])
    is_file = len(inputs) == 1 and inputs[0].endswith(LINES)
    if is_file and fields:
        raise click.UsageError("The lines of a file have their own parameters; leave the flags out.")
    folder.mkdir(parents=True, exist_ok=True)
    asked = json.dumps([given["server"], given["model"], fields, inputs if is_file else ()], sort_keys=True)
    state = State.load(folder, sha256(asked.encode()).hexdigest())
    request = UpscaleRequest(inputs, fields, model=given["model"], out=f"{folder}/", quiet=given["quiet"])
    started = time.monotonic()
    chunks = _file_chunks(inputs[0], state) if is_file else _picture_chunks(request, state, folder)
    with create_display(0, still=request.quiet) as screen:
        tally = asyncio.run(_Run(folder, state, screen).all(given["server"], given["api_key"], chunks))
    if not request.quiet:
        seconds = time.monotonic() - started
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        click.echo(f"{pluralize(tally.made, 'picture')} in {safe_path(folder)}{failed}, {seconds:.1f} s", err=True)
    return 1 if tally.failed else 0


Chunk = tuple[Path, dict[str, list[str]]]
"""An input file, and the files of each line's results by custom_id."""


def _file_chunks(name: str, state: State) -> Iterator[Chunk]:
    """Yield the file of JSON Lines as it is, unless it was sent before."""
    if not Path(name).is_file():
        message = f"{safe_path(name)}: there is no such file."
        raise click.UsageError(message)
    if not state.batches:
        yield Path(name), {}


def _picture_chunks(request: UpscaleRequest, state: State, folder: Path) -> Iterator[Chunk]:
    """Yield input files of the pictures that have no results and were not sent before."""
    # Imported here so that --help need not import libvips.
    from fluxvision.cli import paths  # noqa: PLC0415

    found = paths.find_inputs(request.inputs)
    for problem in found.problems:
        message = f"{safe_path(problem.name)}: {problem.sentence}"
        raise click.UsageError(message)
    request, targets = paths.plan_targets(found.pictures, request)
    values = {**request.values, "model": request.model, "response_format": "url"}
    sent = {name for batch in state.batches for name in batch.outputs}
    draft = folder / f"{STATE}.lines"
    outputs: dict[str, list[str]] = {}
    with draft.open("wb") as file:
        for target in targets:
            if target.problem:
                message = f"{safe_path(target.picture.name)}: {target.problem}"
                raise click.UsageError(message)
            names = [str(path.relative_to(folder)) for path in target.outputs]
            if names[0] in sent or all(map(os.path.exists, target.outputs)):
                continue
            line = _line(names[0], target.picture.path, values)
            if outputs and (file.tell() + len(line) > MOST_BYTES or len(outputs) == MOST_LINES):
                file.flush()
                yield draft, outputs
                file.seek(0)
                file.truncate()
                outputs = {}
            file.write(line)
            outputs[names[0]] = names
        file.flush()
        if outputs:
            yield draft, outputs
    draft.unlink()


def _line(custom_id: str, picture: Path, values: Mapping[str, Any]) -> bytes:
    """Return a picture as a line of a batch."""
    content = base64.b64encode(picture.read_bytes()).decode()
    body = {**values, "image": f"data:application/octet-stream;base64,{content}"}
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line).encode() + b"\n"


@dataclass(slots=True)
class _Run:
    """One run: sends what was not sent, then waits for all batches and fetches their results."""

    folder: Path
    state: State
    screen: ProgressDisplay
    tally: Tally = field(default_factory=Tally)

    async def all(self, server: str, key: str, chunks: Iterator[Chunk]) -> Tally:
        """Do all of it."""
        async with ApiClient(server, key) as client:
            for batch in self.state.batches:
                await self._begin(client, batch)
            for path, outputs in chunks:
                batch = SentBatch(token_hex(16), await client.upload(path), outputs)
                self.state.batches.append(batch)
                await self._begin(client, batch)
            for batch in [*self.state.batches]:
                await self._fetch(client, batch)
                self.state.batches.remove(batch)
                self.state.save()
        return self.tally

    async def _begin(self, client: ApiClient, batch: SentBatch) -> None:
        """Begin a batch unless that was done; the key makes it one batch, whatever happens in between."""
        if not batch.id:
            self.state.save()
            batch.id = await client.begin(batch.file_id, batch.key)
        self.state.save()

    async def _fetch(self, client: ApiClient, batch: SentBatch) -> None:
        """Wait for the end of a batch and write its results."""
        progress = self.screen.begin(batch.id)
        while (found := await client.batch(batch.id))["status"] not in ENDED:
            counts = found["request_counts"]
            progress(counts["completed"] + counts["failed"], counts["total"])
            await asyncio.sleep(LOOK_SECONDS)
        self.screen.end(batch.id)
        draft = self.folder / f"{STATE}.results"
        for name in ("output_file_id", "error_file_id"):
            if found[name] is not None:
                await client.save_file(found[name], draft)
                with draft.open("rb") as lines:
                    for line in lines:
                        await self._take(client, json.loads(line), batch)
        draft.unlink(missing_ok=True)
        left = (
            found["request_counts"]["total"] - found["request_counts"]["completed"] - found["request_counts"]["failed"]
        )
        if left:
            self.tally.failed += left
            self.screen.say(f"Error: the batch was {found['status']}; {pluralize(left, 'line')} not begun.")

    async def _take(self, client: ApiClient, line: Mapping[str, Any], batch: SentBatch) -> None:
        """Write the pictures of a line, or say its error."""
        name, error = str(line["custom_id"]), line["error"]
        if error is None:
            try:
                body = line["response"]["body"]
                await self._write(client, body, self._paths(name, body, batch.outputs.get(name)))
            except (ApiError, OSError) as failure:
                error = {"message": getattr(failure, "message", "") or str(failure)}
        if error is not None:
            self.tally.failed += 1
            self.screen.say(f"Error: {safe_path(name)}: {error['message']}")

    def _paths(self, name: str, body: Mapping[str, Any], names: Sequence[str] | None) -> list[Path]:
        """Return where the pictures of a line go; a custom_id of somebody else's stays in the folder."""
        if names:
            return [self.folder / one for one in names]
        stem = "".join(letter if letter.isalnum() or letter in " ._-()@+=," else "_" for letter in name).strip(" .")
        several, extension = len(body["data"]) > 1, body["output_format"].replace("jpeg", "jpg")
        numbers = range(1, len(body["data"]) + 1)
        return [self.folder / f"{stem or '_'}{f'-{number}' if several else ''}.{extension}" for number in numbers]

    async def _write(self, client: ApiClient, body: Mapping[str, Any], paths: Sequence[Path]) -> None:
        """Write pictures, each in one step, unless they are there."""
        for entry, path in zip(body["data"], paths, strict=False):
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

"""`fluxvision batch`: has a server enlarge many pictures as batches, and goes on where an earlier run stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fluxvision.catalog.params import BY_NAME
from fluxvision.cli.options import Flag, Sectioned, UpscaleRequest, parameter_flags
from fluxvision.cli.progress import create_display
from fluxvision.cli.text import pluralize, safe_path

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


@click.pass_context
def run(_context: click.Context, /, inputs: tuple[str, ...], **given: Any) -> int:
    """Run the command and return the exit code."""
    # Imported here so that --help need not import libvips, asyncio and aiohttp.
    from fluxvision.cli import batch_plan, batch_run  # noqa: PLC0415

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
        tally = batch_run.run(folder, screen, given["server"], given["api_key"], lines)
    if not request.quiet:
        seconds = time.monotonic() - started
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        click.echo(f"{pluralize(tally.made, 'picture')} in {safe_path(folder)}{failed}, {seconds:.1f} s", err=True)
    return 1 if tally.failed else 0


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

"""`fluxvision upscale`: defines its flags and builds the request from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fluxvision.catalog import catalog
from fluxvision.catalog.params import BY_NAME, Param
from fluxvision.cli.options import Flag, Sectioned, UpscaleRequest, check_request, override_models_dir, parameter_flags
from fluxvision.cli.text import safe_path
from fluxvision.core.custom_engines import SUFFIXES, network_parts
from fluxvision.core.errors import InvalidRequest, ModelNotFound
from fluxvision.core.load_settings import load_settings

HELP = """Enlarge pictures: files, folders, patterns like '*.jpg', or - for standard input.

photo.jpg becomes photo@2x.png beside it. Folders are searched with everything in them; results of an earlier run
are left alone.

\b
  fluxvision upscale photo.jpg
  fluxvision upscale photo.jpg --scale 4 --out large.webp
  fluxvision upscale photos/ --out large/ --resume
  fluxvision upscale inbox/ --out large/ --watch
  fluxvision upscale photo.jpg --engine networks/4x-mine.param
  cat photo.jpg | fluxvision upscale - > large.png
"""

OWN = (
    Flag("--out", "-o", section="Files", metavar="PATH",
         help="A file, a folder (made if need be), or - for standard output. [default beside the picture]"),
    Flag("--overwrite", section="Files", is_flag=True, help="Replace results that exist already."),
    Flag("--resume", "--skip-existing", "resume", section="Files", is_flag=True,
         help="Skip pictures whose results, made of them as they are now, exist already."),
    Flag("--watch", section="Files", is_flag=True,
         help="Go on with the pictures that come into the folder, each when it has stopped growing, until Ctrl-C."),
    Flag("--compare", section="Files", is_flag=True,
         help="Also write NAME-compare.png: the picture plainly enlarged on the left, the result on the right."),
    Flag("--model", section="Running", default="flux-vision-upscaler", metavar="ID",
         help="The model; `fluxvision models` lists them. [default flux-vision-upscaler]"),
    Flag("--provider", section="Running", metavar="NAME",
         help="The provider that must do it. [default the best that costs nothing, or at most --max-cost]"),
    Flag("--model-path", section="Running", metavar="PATH",
         help="Folder or hub id of FLUX's weights, for --provider flux. [default FLUXVISION_FLUX_MODEL]"),
    Flag("--device", section="Running", metavar="DEVICE",
         help="Where the engine runs: auto, cpu, gpu or gpu:1. [default FLUXVISION_DEVICE, else auto]"),
    Flag("--jobs", "-j", section="Running", type=int, default=1, metavar="NUMBER",
         help="Pictures at once; one already uses every core. [default 1]"),
    Flag("--dry-run", section="Running", is_flag=True, help="Show what would be made and what it costs; do nothing."),
    Flag("--json", section="Running", is_flag=True, help="One line of JSON per picture on standard output."),
    Flag("--quiet", "-q", section="Running", is_flag=True, help="Say nothing but errors."),
)  # fmt: skip


@click.pass_context
def upscale(context: click.Context, /, inputs: tuple[str, ...], mask: str | None, **given: Any) -> int:
    """Run the command and return the exit code."""
    fields = {name: given.pop(name) for name in list(given) if name in BY_NAME}
    network = _network_file(fields.get("engine"))
    if network is not None:
        fields["engine"] = network.stem
    request = UpscaleRequest(
        inputs=inputs,
        fields={name: value for name, value in fields.items() if value is not None},
        mask=mask,
        debug=bool(context.find_root().params.get("debug")),
        rows=_rows(given["model"], override_models_dir(network)),
        network=network,
        **given,
    )
    check_request(request)
    # Imported here so that --help and usage errors need not import libvips.
    from fluxvision.cli import upscale_run  # noqa: PLC0415

    return upscale_run.run_upscale(request, context.obj)


def _network_file(engine: str | None) -> Path | None:
    """Return the path of an --engine that is a file, None where it is a name; raises `InvalidRequest`."""
    if engine is None or not engine.endswith(SUFFIXES):
        return None
    path = Path(engine)
    for part in network_parts(path):
        if not part.is_file():
            message = f"--engine: there is no file {safe_path(part)}."
            raise InvalidRequest(message, param="engine")
    return path


def _rows(name: str, models_dir: Mapping[str, str]) -> Mapping[str, Param]:
    """Return a model's parameters, or all public ones for an unknown model, which is refused later."""
    try:
        models = catalog.configure_offers(catalog.CATALOG, load_settings(flags=models_dir))
        model, _ = catalog.find_model(name, models)
    except ModelNotFound:
        return BY_NAME
    return {row.name: row for row in catalog.model_params(model)}


COMMAND = Sectioned(
    "upscale",
    callback=upscale,
    params=[click.Argument(["inputs"], nargs=-1, required=True, metavar="PICTURE..."), *parameter_flags(), *OWN],
    help=HELP,
    short_help="Enlarge files, folders, patterns or standard input.",
)

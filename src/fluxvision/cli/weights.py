"""`fluxvision weights`: downloads the weights of a network into the hub's cache."""

from __future__ import annotations

import click

from fluxvision.cli.ports import Tools


@click.pass_obj
def weights(tools: Tools, name: str) -> int:
    """Fetch the weights and say where they are."""
    click.echo(tools.fetch(name))
    return 0


COMMAND = click.Command(
    "weights",
    callback=weights,
    params=[click.Argument(["name"], metavar="NETWORK")],
    help="Download the weights of a FLUX network or captioner (flux2-klein-4b, qwen3-vl-2b, …) into the cache of the "
    "Hugging Face hub, and print where they are. Needs the extra: pip install 'fluxvision[flux]'.",
    short_help="Download the weights of FLUX or a captioner.",
)

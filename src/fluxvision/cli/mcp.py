"""`fluxvision mcp`: serves the tools of the Model Context Protocol on standard input and output."""

from __future__ import annotations

import click

from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.options import Flag, Sectioned

HELP = """Give a program with a language model the tools upscale, quote and models, by the Model Context Protocol.

The program starts this command and speaks with it on standard input and output. Pictures are made in this process, with
the settings of `fluxvision serve`, or by the server that --server names. Needs the extra mcp.
"""


@click.pass_obj
def run(dependencies: Dependencies, /, server: str, api_key: str) -> int:
    """Serve until standard input ends."""
    dependencies.serve_mcp(server, api_key)
    return 0


COMMAND = Sectioned(
    "mcp",
    callback=run,
    params=[
        Flag("--server", section="Server", metavar="URL", envvar="FLUXVISION_SERVER", default="",
             help="The server that makes the pictures. [default FLUXVISION_SERVER, else this process]"),
        Flag("--api-key", section="Server", metavar="KEY", envvar="FLUXVISION_API_KEY", default="",
             help="Its key; other users of this machine can see flags. [default FLUXVISION_API_KEY]"),
    ],
    help=HELP,
    short_help="Serve tools for language models on standard input and output.",
)  # fmt: skip

"""`fluxvision cluster serve`: the deployment on a Ray cluster that makes tiles for gateways."""

from __future__ import annotations

import click

HELP = """Start the deployment that makes tiles on the Ray cluster of this machine, and keep it until Ctrl-C.

The settings are those of `fluxvision serve`; without a cluster one is started here. Needs the extra cluster.
"""


@click.pass_context
def serve(context: click.Context, /, host: str, port: int, replicas: int) -> int:
    """Serve until a signal ends it."""
    context.obj.serve_cluster(host, port, replicas)
    return 0


COMMAND = click.Group(
    "cluster",
    help="Make tiles on a Ray cluster.",
    short_help="Make tiles on a Ray cluster.",
    commands=[
        click.Command(
            "serve",
            callback=serve,
            params=[
                click.Option(["--host"], default="127.0.0.1", show_default=True, help="Address to listen on."),
                click.Option(["--port"], type=int, default=8000, show_default=True, help="Port to listen on."),
                click.Option(
                    ["--replicas"], type=click.IntRange(1), default=100, show_default=True, help="Most replicas."
                ),
            ],
            help=HELP,
            short_help="Start the deployment.",
        )
    ],
)

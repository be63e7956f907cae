"""`fluxvision models`: the command; what it shows is made in `catalogue`."""

from __future__ import annotations

import click

from fluxvision.cli.ports import Tools


@click.pass_obj
def models(tools: Tools, name: str | None, as_json: bool) -> int:
    """Show all models, or the parameters of one, as a person or a program reads them."""
    # Help does not wait for the catalogue.
    from fluxvision.cli import catalogue  # noqa: PLC0415

    click.echo(catalogue.told(tools, name, as_json=as_json))
    return 0


COMMAND = click.Command(
    "models",
    callback=models,
    params=[
        click.Argument(["name"], required=False, metavar="[MODEL]"),
        click.Option(["--json", "as_json"], is_flag=True, help="As JSON."),
    ],
    help="List the models with their providers, prices and engines; with a MODEL, its parameters.",
    short_help="List models, prices and parameters.",
)

"""The commands `fluxvision models` (shows models) and `fluxvision weights` (downloads weights)."""

from __future__ import annotations

import click

from fluxvision.cli.dependencies import Dependencies


@click.pass_obj
def fetch_weights(dependencies: Dependencies, name: str) -> int:
    """Download the weights and print their folder."""
    click.echo(dependencies.fetch(name))
    return 0


WEIGHTS_COMMAND = click.Command(
    "weights",
    callback=fetch_weights,
    params=[click.Argument(["name"], metavar="NETWORK")],
    help="Download the weights of a FLUX network or captioner (flux2-klein-4b, qwen3-vl-2b, …) into the cache of the "
    "Hugging Face hub, and print where they are. Needs the extra: pip install 'fluxvision[flux]'.",
    short_help="Download the weights of FLUX or a captioner.",
)


@click.pass_obj
def show_models(dependencies: Dependencies, name: str | None, as_json: bool) -> int:
    """Print all models, or the parameters of one, as text or JSON."""
    # Imported here so that --help need not import the catalogue.
    from fluxvision.cli.model_text import describe_models  # noqa: PLC0415

    click.echo(describe_models(dependencies, name, as_json=as_json))
    return 0


COMMAND = click.Command(
    "models",
    callback=show_models,
    params=[
        click.Argument(["name"], required=False, metavar="[MODEL]"),
        click.Option(["--json", "as_json"], is_flag=True, help="As JSON."),
    ],
    help="List the models with their providers, prices and engines; with a MODEL, its parameters.",
    short_help="List models, prices and parameters.",
)

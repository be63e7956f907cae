"""`fluxvision serve`: starts the server, with a flag per setting, and prints its address and how to authenticate."""

from __future__ import annotations

from typing import Any

import click

from fluxvision import __version__
from fluxvision.cli.options import Sectioned, setting_flags
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import Settings

HELP = """Serve the OpenAI-compatible images API on this machine.

Every flag is also a variable of the environment and a line of fluxvision.toml; a flag wins over both.
"""
UNLESS = ", unless there are stored keys"
EVERYWHERE = {"0.0.0.0": "localhost", "::": "localhost", "": "localhost"}  # noqa: S104, only shown


@click.pass_context
def serve(context: click.Context, /, **given: Any) -> int:
    """Check the settings, serve until a signal arrives, and print the address as soon as the port is known."""
    flags = {name: value for name, value in given.items() if value is not None}
    loaded = load_settings(flags=flags)
    context.obj.check(loaded)
    context.obj.serve(loaded, lambda port: click.echo(format_banner(loaded, port), err=True))
    return 0


def format_banner(settings: Settings, port: int) -> str:
    """Return the text with the address, the base URL for OpenAI's SDKs, and whether a key is needed."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    name = EVERYWHERE.get(settings.host, shown)
    public = settings.public_url.rstrip("/") or f"http://{name}:{port}"
    keys = len(settings.api_keys) + bool(settings.admin_key)
    stored = bool(settings.data_dir or settings.database_url)
    if keys:
        access = f"{keys} configured; a request needs one of them" + " or a stored one" * stored
    elif settings.allow_unauthenticated:
        access = "none; every client that reaches this address may call" + UNLESS * stored
    else:
        access = "none; any key works, from this machine only" + UNLESS * stored
    rows = (
        ("address", f"http://{shown}:{port}"),
        ("page", f"{public}/"),
        ("base URL", f"{public}/openai/v1  (OPENAI_BASE_URL)"),
        ("keys", access),
    )
    lines = [f"  {name:<10}{text}" for name, text in rows]
    return "\n".join(
        [f"Flux Vision Upscaler {__version__}", *lines, "  Ctrl-C ends it when running pictures are done."]
    )


COMMAND = Sectioned("serve", callback=serve, params=setting_flags(), help=HELP, short_help="Serve the API.")

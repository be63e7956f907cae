"""`fluxvision db`: migrates the database of the settings; `open_database` for other commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fluxvision.cli.dependencies import Dependencies
from fluxvision.core.load_settings import load_settings
from fluxvision.storage.data_dir import DATABASE_FILE

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from fluxvision.storage.database import Database

NO_DATABASE = (
    "No database is configured: set FLUXVISION_DATA_DIR or FLUXVISION_DATABASE_URL to those of `fluxvision serve`."
)
NEW_DATABASE = "A new database was made in data_dir; a server that runs already must be restarted to use it."


@contextmanager
def open_database(dependencies: Dependencies) -> Iterator[Database]:
    """Yield the database of the settings, with all tables; raises `UsageError` where none is configured."""
    settings = load_settings()
    is_new = not settings.database_url and not Path(settings.data_dir, DATABASE_FILE).expanduser().exists()
    database = dependencies.open_database(settings)
    if database is None:
        raise click.UsageError(NO_DATABASE)
    if is_new:
        click.echo(NEW_DATABASE, err=True)
    try:
        yield database
    finally:
        database.close()


@click.pass_obj
def upgrade(dependencies: Dependencies) -> int:
    """Run the migrations and print the revision of the tables."""
    with open_database(dependencies) as database:
        click.echo(f"The database is at revision {database.revision()}.")
    return 0


COMMAND = click.Group(
    "db",
    help="Manage the server's database (data_dir or database_url).",
    short_help="Migrate the database.",
    commands=[
        click.Command(
            "upgrade",
            callback=upgrade,
            help="Bring the tables to the newest revision, as `fluxvision serve` does at its start.",
        )
    ],
)

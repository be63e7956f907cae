"""The database: the same facts with SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select, update

from fluxvision.core.errors import ConfigError, Unavailable
from fluxvision.storage.database import Database, normalize_url
from fluxvision.storage.tables import EXECUTORS, METADATA


def test_the_migrations_make_the_tables(database):
    """After all migrations the database has the tables of `tables.py`, neither more nor less."""
    with database.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_it_is_opened_again(database_url):
    """What was written is there when it is opened again."""
    first = Database(database_url)
    first.run_blocking(lambda connection: connection.execute(insert(EXECUTORS).values(id="one", seen_at=1.5)))
    first.close()
    again = Database(database_url)
    assert again.run_blocking(lambda connection: connection.execute(select(EXECUTORS)).one()) == ("one", 1.5)
    again.close()


def test_what_dbos_needs_of_the_orm_is_there_before_the_first_statement():
    """Statements that other threads make while `sqlalchemy.orm` is imported can fail, so it comes with the database."""
    program = "import sys, fluxvision.storage.database; print('sqlalchemy.orm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"True\n"


def test_several_gateways_migrate_at_once(database_url):
    """Gateways that start at the same moment make the tables once."""
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(Database, [database_url] * 4):
            found.close()


def test_no_increment_is_lost(database):
    """Transactions that read and then write do not overtake each other."""
    database.run_blocking(lambda connection: connection.execute(insert(EXECUTORS).values(id="one", seen_at=0)))

    def increase(_number: int) -> None:
        def work(connection):
            rows = select(EXECUTORS.c.seen_at).where(EXECUTORS.c.id == "one")
            seen = connection.execute(rows.with_for_update() if database.locks_rows else rows).scalar_one()
            connection.execute(update(EXECUTORS).values(seen_at=seen + 1))

        database.run_blocking(work)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increase, range(40)))
    assert database.run_blocking(lambda connection: connection.execute(select(EXECUTORS.c.seen_at)).scalar_one()) == 40


def test_an_error_rolls_back(database):
    """Nothing of a transaction that raises is kept."""

    def work(connection):
        connection.execute(insert(EXECUTORS).values(id="one", seen_at=0))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.run_blocking(work)
    assert (
        database.run_blocking(lambda connection: connection.execute(select(func.count(EXECUTORS.c.id))).scalar()) == 0
    )


def test_a_failure_holds_no_values(database):
    """The error of a failed statement names its kind, and none of its values."""

    def work(connection):
        for _ in range(2):
            connection.execute(insert(EXECUTORS).values(id="my-prompt", seen_at=0))

    with pytest.raises(Unavailable) as error:
        database.run_blocking(work)
    assert "my-prompt" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    ["mysql://host/name", "no address", "postgresql://user:secret-word@127.0.0.1:1/name", "sqlite:////proc/no/x.db"],
)
def test_an_unusable_address_is_a_configuration_error(url):
    """An address that cannot be used names the setting, and does not repeat the password."""
    with pytest.raises(ConfigError) as error:
        Database(url)
    assert error.value.param == "database_url"
    assert "secret-word" not in f"{error.value}{error.value.__cause__}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/n", "postgresql+psycopg://u:p@h/n"),
        ("postgresql://u:p@h/n", "postgresql+psycopg://u:p@h/n"),
        ("postgresql+asyncpg://u@h/n", "postgresql+psycopg://u@h/n"),
        ("sqlite:////x.db", "sqlite:////x.db"),
    ],
)
def test_the_driver_is_ours(url, expected):
    """Whatever driver an address names, the one that is installed is used."""
    assert normalize_url(url) == expected

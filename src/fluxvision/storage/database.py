"""The database: SQLite in the data folder, or PostgreSQL; opened, migrated, and used from threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
import sqlalchemy.orm  # noqa: F401 - DBOS imports it later, and statements of other threads fail while it is half there
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import ConfigError, Unavailable
from fluxvision.core.system import resource_error
from fluxvision.storage.data_dir import DATABASE_FILE

T = TypeVar("T")

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 0x666C7578
"""Number of the lock that only one gateway holds while it migrates; PostgreSQL alone needs it."""
BUSY_SECONDS = 30
"""How long a writer waits for another one to end, with SQLite."""
LOG_BYTES = 4_500_000
"""Size of SQLite's write-ahead log, which is written from its beginning again after 1,000 pages."""
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


class Database:
    """A database that has all tables; one transaction at a time writes to SQLite, any number to PostgreSQL."""

    def __init__(self, url: str) -> None:
        """Open and migrate the database; raises `ConfigError` where it cannot be used."""
        self.url = normalize_url(url)
        self._engine = _create_engine(self.url)
        try:
            self.migrate()
            self._reserve_log()
        except (SQLAlchemyError, OSError) as error:
            self._engine.dispose()
            message = f"database_url: the database cannot be used ({_reason(error)})"
            cause = self._unavailable(error)  # its text is no secret, unlike that of `error`
            raise ConfigError(message, param="database_url") from cause

    @property
    def locks_rows(self) -> bool:
        """Whether a transaction has to lock the rows that it decides upon; SQLite locks the whole database."""
        return self._engine.dialect.name == "postgresql"

    def migrate(self) -> None:
        """Bring the tables to the newest revision; other gateways wait meanwhile."""
        config = alembic.config.Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.begin() as connection:
            if self.locks_rows:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")

    def revision(self) -> str | None:
        """Return the revision of the tables."""
        with self.begin() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that may write; an error rolls it back."""
        with self._engine.begin() as connection:
            yield connection

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, in a thread; raises `Unavailable` where the database does not answer."""
        return await run_in_thread(self.run_blocking, work)

    def run_blocking(self, work: Callable[[Connection], T]) -> T:
        """Do the same as `run` in this thread."""
        try:
            with self.begin() as connection:
                return work(connection)
        except SQLAlchemyError as error:  # its text has the statement and its values
            raise self._unavailable(error) from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _reserve_log(self) -> None:
        """Give SQLite's write-ahead log its blocks, so that jobs can end on a full disk; zeros in it are no entries."""
        if self._file is None:
            return
        with suppress(OSError), self._file.with_name(f"{self._file.name}-wal").open("r+b") as log:
            os.posix_fallocate(log.fileno(), 0, LOG_BYTES)

    def _unavailable(self, error: Exception) -> Unavailable:
        """Return the error for a caller, without the text of `error`."""
        if self._file is not None:
            with suppress(OSError):
                facts = os.statvfs(self._file.parent)
                if facts.f_bavail * facts.f_frsize < LOG_BYTES or not facts.f_favail:
                    full = resource_error(OSError(errno.ENOSPC, ""))
                    if full is not None:
                        return full
        message = f"The server's database does not answer ({_reason(error)}); try again in a moment."
        return Unavailable(message, retry_after=5.0)

    @property
    def _file(self) -> Path | None:
        """The file of SQLite."""
        name = self._engine.url.database
        return None if self.locks_rows or not name else Path(name)


def sqlite_url(folder: Path) -> str:
    """Return the address of the database in a data folder."""
    return f"sqlite:///{folder / DATABASE_FILE}"


def open_in(folder: Path) -> Database:
    """Return the database of a data folder."""
    return Database(sqlite_url(folder))


def normalize_url(url: str) -> str:
    """Return a database's address with its driver; raises `ConfigError` for one that is not SQLite or PostgreSQL."""
    try:
        found = make_url(url)
        driver = DRIVERS[found.drivername.partition("+")[0]]
    except (ArgumentError, KeyError):
        message = "database_url must begin with postgresql:// or sqlite:///"
        raise ConfigError(message, param="database_url") from None
    return found.set(drivername=driver).render_as_string(hide_password=False)


def _create_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_recycle=300)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reason(error: Exception) -> str:
    """Return the kind of an error; its text may hold an address with a password, or values."""
    return type(getattr(error, "orig", None) or error).__name__

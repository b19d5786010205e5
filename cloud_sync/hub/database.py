"""Open the hub's database and bring its schema up to date.

SQLite by default; any SQLAlchemy URL of PostgreSQL for real use.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from cloud_sync.logs import without_secrets
from models.passing import PassingError, may_pass

MIGRATIONS = Path(__file__).parent / "migrations"
KNOWN = ("sqlite", "postgresql")


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


class DatabaseDown(DatabaseError, PassingError):
    """The database cannot be reached, or not be used, now; later it may."""


def open_database(url: str) -> Engine:
    """Give an engine for a database URL, or for the path of an SQLite file.

    Raises DatabaseError where the URL is none, or names a database that the hub does not know.
    """
    text = url if "://" in url else f"sqlite:///{url}"
    try:
        parsed = make_url(text)
        backend = parsed.get_backend_name()
        if backend not in KNOWN:
            raise DatabaseError(f"database {backend!r}: the hub knows {' and '.join(KNOWN)}")
        waits = {} if backend == "sqlite" else {"connect_args": {"connect_timeout": 10}}
        # Errors are logged, and what a statement was given may be nobody else's business.
        engine = create_engine(
            parsed, pool_pre_ping=backend != "sqlite", hide_parameters=True, **waits
        )
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise DatabaseError(f"database {_shown(url)}: {without_secrets(str(error))}") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def migrate(engine: Engine) -> str:
    """Bring the schema to this version's; give the revision.

    Raises DatabaseError, DatabaseDown where it may be possible later.
    """
    file = _file(engine)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with engine.begin() as connection:
            configuration = _configuration()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    except SQLAlchemyError as error:
        raise _unusable("the database cannot be migrated", error) from error
    except OSError as error:
        raise DatabaseError(f"database {file}: {error.strerror}") from error
    return latest_revision()


def check(engine: Engine) -> None:
    """Make sure that the database answers and has this version's schema.

    Raises DatabaseError, DatabaseDown where it may do so later.
    """
    file = _file(engine)
    if file is not None and not file.exists():
        raise DatabaseError(f"{file}: no database yet: run `shelfgate hub migrate`")
    try:
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        raise _unusable("the database does not answer", error) from error
    if revision != latest_revision():
        raise DatabaseError(
            f"the database's schema is {revision or 'empty'}, this hub needs {latest_revision()}: "
            "run `shelfgate hub migrate`"
        )


def _unusable(what: str, error: SQLAlchemyError) -> DatabaseError:
    behind = getattr(error, "orig", None)
    # Of a connection that fails PostgreSQL's driver does not tell why, SQLite's does.
    passes = isinstance(error, OperationalError) and (
        may_pass(behind) if isinstance(behind, sqlite3.Error) else True
    )
    return (DatabaseDown if passes else DatabaseError)(f"{what}: {error}")


def _file(engine: Engine) -> Path | None:
    """Return the file an engine keeps its rows in; None for a server or for memory."""
    name = engine.url.database
    if engine.url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    return Path(str(name))


def latest_revision() -> str:
    """Give the schema's revision that this version works with."""
    return str(ScriptDirectory.from_config(_configuration()).get_current_head())


def _shown(url: str) -> str:
    """Give a URL as it may be shown: without its password."""
    return repr(without_secrets(url))


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return configuration


def _prepare_sqlite(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()

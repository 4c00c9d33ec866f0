"""Owns the connection to the database: its URL, its pragmas, its revision, and bringing it to the newest one.

Tables are `schema.py`, steps are `migrations/`, statements are in the modules that `store.py` names.
"""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from cloud_hub.errors import StorageError

BUSY_TIMEOUT_MS = 5000

READER = "is_reader"
"""Execution option of connections that only read, one statement at a time: on SQLite they need no transaction."""

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA foreign_keys=ON",
)
_SCRIPTS = "cloud_hub.adapters.sql:migrations"


def make_engine(url: str) -> AsyncEngine:
    """Make the engine; nothing is connected yet.

    Args:
        url: SQLAlchemy URL with an asyncio driver.

    Returns:
        The engine; dispose of it in the end.

    Raises:
        StorageError: The URL is malformed or its driver is not installed; the operator's to mend.
    """
    try:
        parsed = make_url(url)
        engine = create_async_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise StorageError(f"database_url {url!r} cannot be used: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        prepare_sqlite(engine.sync_engine)
    return engine


async def upgrade(engine: AsyncEngine) -> None:
    """Bring the database to the newest revision, in one transaction.

    Args:
        engine: The database.

    Raises:
        StorageError: It cannot be reached or written, or is newer than this program.
    """
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    except CommandError as error:
        raise StorageError(f"the database is newer than this program: install the newer one again ({error})") from error
    except (SQLAlchemyError, OSError) as error:
        raise StorageError(f"the database cannot be opened: {_reason(error)}") from error


async def revision(engine: AsyncEngine) -> str | None:
    """Read the revision that the database is at.

    Args:
        engine: The database.

    Returns:
        The revision, None for an empty database.

    Raises:
        StorageError: It cannot be reached.
    """
    try:
        async with engine.execution_options(**{READER: True}).connect() as connection:
            return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    except (SQLAlchemyError, OSError) as error:
        raise StorageError(f"the database cannot be opened: {_reason(error)}") from error


def head() -> str | None:
    """Name the newest revision that this program knows.

    Returns:
        The revision.
    """
    return ScriptDirectory.from_config(_config()).get_current_head()


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def prepare_sqlite(engine: Engine) -> None:
    """Take transactions into our own hands: the driver would begin late, and never for a schema change.

    See "Serializable isolation / Savepoints / Transactional DDL" in SQLAlchemy's page on the SQLite dialect.

    Args:
        engine: Of a SQLite file, through any driver; nothing is connected yet.
    """

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if not connection.get_execution_options().get(READER, False):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)

"""Move a database to another revision of the schema. Apart from `schema`, because Alembic is slow to import."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from storage.market.tables import SCHEMA
from transforms.errors import ConfigurationError, StoreUnavailable, TransientError

ROLES = ("wb_app", "wb_reader")
LOCK_TIMEOUT_SECONDS = 10
"""Longest wait for a table that somebody uses: whoever wants it after us waits behind us, readers too."""


def migrate(owner_url: str, revision: str = "head") -> tuple[str | None, str | None]:
    """Run the migrations to `revision` ("base": back, on an empty database only); the revisions before and after.

    One transaction: it happens as a whole or, if a table is not free within `LOCK_TIMEOUT_SECONDS`, not at all
    (`TransientError`).
    """
    engine = create_engine(owner_url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    with _migration_errors(), engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.execute(text(f"SET search_path = {SCHEMA}"))
        before = _revision(connection)
        config = alembic_config(connection)
        scripts = ScriptDirectory.from_config(config)
        _refuse_newer(scripts, before)
        _refuse_older(scripts, before, revision)
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        _grant(connection)
        return before, _revision(connection)


def alembic_config(connection: Connection | None = None) -> Config:
    """Where the migrations are, without a file of Alembic's own."""
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


def _refuse_newer(scripts: ScriptDirectory, current: str | None) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database is at schema revision {current}, which this version of warmbars does not know: "
            "it was set up by a newer one; upgrade warmbars"
        )


def _refuse_older(scripts: ScriptDirectory, current: str | None, wanted: str) -> None:
    older = {script.revision for script in scripts.walk_revisions(head=current)} if current else set()
    if wanted != current and wanted in older:
        raise ConfigurationError(
            f"the database is at schema revision {current} and does not go back to {wanted}: "
            "the only way back is to base, on an empty database (warmbars init --revision base)"
        )


@contextmanager
def _migration_errors() -> Iterator[None]:
    """SQLAlchemy's errors that may pass by themselves, in words that say what to do."""
    try:
        yield
    except OperationalError as exc:
        if isinstance(exc.orig, LockNotAvailable):
            raise TransientError(
                f"nothing was migrated: another program kept a table in use for {LOCK_TIMEOUT_SECONDS} seconds; "
                "stop what runs or queries this database, then run again: warmbars init"
            ) from exc
        raise StoreUnavailable(f"the database failed while migrating: {exc.orig}") from exc


def _grant(connection: Connection) -> None:
    """Give the two lesser roles what they need, where they exist (your own server may do without them)."""
    present = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    rights = {"wb_app": "SELECT, INSERT, UPDATE, DELETE", "wb_reader": "SELECT"}
    for role in ROLES:
        if role in present:
            connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}"))
            connection.execute(text(f"GRANT {rights[role]} ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}"))
    if "wb_app" in present:
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO wb_app"))

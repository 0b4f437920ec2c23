"""Bring a database to the schema this code expects, or refuse with the reason."""

import time
import uuid
from collections.abc import Iterable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from storage.market.database import Database, store_errors, table_name
from storage.market.tables import COARSE, SCHEMA
from transforms.errors import ConfigurationError

REVISION = "0001"
"""The newest migration; a test holds it to what Alembic finds."""
ROLES = ("wb_app", "wb_reader")


def migrate(owner_url: str, revision: str = "head") -> tuple[str | None, str | None]:
    """Run the migrations to `revision` ("base": back, on an empty database only); the revisions before and after."""
    engine = create_engine(owner_url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    with store_errors("migrating"), engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.execute(text(f"SET search_path = {SCHEMA}"))
        before = _revision(connection)
        config = alembic_config(connection)
        _refuse_newer(config, before)
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


def _refuse_newer(config: Config, current: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database is at schema revision {current}, which this version of warmbars does not know: "
            "it was set up by a newer one; upgrade warmbars"
        )


def _grant(connection: Connection) -> None:
    """Give the two lesser roles what they need, where they exist (your own server may do without them)."""
    present = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    rights = {"wb_app": "SELECT, INSERT, UPDATE, DELETE, TRUNCATE", "wb_reader": "SELECT"}
    for role in ROLES:
        if role in present:
            connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}"))
            connection.execute(text(f"GRANT {rights[role]} ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}"))
    if "wb_app" in present:
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO wb_app"))


def add_indicator_columns(owner: Database, columns: Iterable[str]) -> None:
    """Make room for every configured indicator; a column no longer configured is left as it is."""
    with owner.transaction() as connection:
        for interval in COARSE:
            table = f"indicators_{interval}"
            present = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
                [SCHEMA, table],
            )
            missing = sorted(set(columns) - {row[0] for row in present})
            if missing:  # even an ADD COLUMN IF NOT EXISTS that adds nothing would wait for every reader
                added = map(sql.SQL("ADD COLUMN {} double precision").format, map(sql.Identifier, missing))
                connection.execute(sql.SQL("ALTER TABLE {} {}").format(table_name(table), sql.SQL(", ").join(added)))


def is_current(database: Database) -> bool:
    """Whether the schema is the one this code was written for; cheap, asked at every start."""
    with database.transaction() as connection:
        known = connection.execute("SELECT to_regclass(%s)", [f"{SCHEMA}.alembic_version"]).fetchone()
        if known is None or known[0] is None:
            return False
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return revisions == [(REVISION,)]


def ensure_identity(database: Database) -> tuple[str, int]:
    """The store's id and epoch; a new store, or one found in another database (a restore), gets a higher epoch.

    What was published under an earlier epoch is then due again under the new one.
    Epochs are Unix seconds, so that a store made anew never falls behind what it once published.
    """
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
            " FROM pg_control_system()"
        ).fetchone()
        assert row is not None
        identity = str(row[0])
        stored = connection.execute(
            "INSERT INTO store_meta (store_id, epoch, database_identity) VALUES (%(id)s, %(now)s, %(identity)s)"
            " ON CONFLICT (single) DO UPDATE SET database_identity = excluded.database_identity,"
            " epoch = CASE WHEN store_meta.database_identity = excluded.database_identity THEN store_meta.epoch"
            " ELSE greatest(store_meta.epoch + 1, excluded.epoch) END"
            " RETURNING store_id, epoch",
            {"id": str(uuid.uuid4()), "now": int(time.time()), "identity": identity},
        ).fetchone()
        assert stored is not None
        connection.execute("UPDATE publications SET epoch = %s WHERE epoch < %s", [stored[1], stored[1]])
        return str(stored[0]), int(stored[1])

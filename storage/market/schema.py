"""Whether a database has the schema this code expects, and who it is."""

import time
import uuid
from collections.abc import Iterable

from psycopg import sql

from storage.market.database import Database, table_name
from storage.market.tables import COARSE, SCHEMA

REVISION = "0005"
"""The newest migration; a test holds it to what Alembic finds."""


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

"""Whether a database has the schema this code expects, and who it is."""

import time
import uuid
from collections.abc import Iterable

from psycopg import errors, sql

from storage.market.database import Connection, Database, table_name
from storage.market.tables import COARSE, SCHEMA
from transforms.errors import StoreUnavailable

REVISION = "0005"
"""The newest migration; a test holds it to what Alembic finds."""
_LOCK_SECONDS = 10
"""How long a table may keep us waiting to add a column; meanwhile whoever comes later waits behind us."""


def add_indicator_columns(owner: Database, columns: Iterable[str]) -> None:
    """Make room for every configured indicator; a column no longer configured is left as it is."""
    for interval in COARSE:
        table = f"indicators_{interval}"
        with owner.transaction() as connection:  # one each: to hold one and wait for the next could be a deadlock
            present = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
                [SCHEMA, table],
            )
            missing = sorted(set(columns) - {row[0] for row in present})
            if missing:  # even an ADD COLUMN IF NOT EXISTS that adds nothing would wait for every reader
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{_LOCK_SECONDS}s")))
                add = sql.SQL("ADD COLUMN IF NOT EXISTS {} double precision")  # another start may be quicker
                added = map(add.format, map(sql.Identifier, missing))
                alter = sql.SQL("ALTER TABLE {} {}").format(table_name(table), sql.SQL(", ").join(added))
                try:
                    connection.execute(alter)
                except errors.LockNotAvailable as exc:
                    raise StoreUnavailable(
                        f"{SCHEMA}.{table} lacks columns ({', '.join(missing)}), and none can be added while somebody"
                        f" works with it: after {_LOCK_SECONDS} s it was still locked. Try again when the refresh, the"
                        " publish or the query that holds it has ended"
                    ) from exc


def lacking_indicator_columns(database: Database, columns: Iterable[str]) -> list[str]:
    """Columns of the configured indicators that some table of indicators has not."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT DISTINCT wanted FROM unnest(%s::text[]) AS wanted, unnest(%s::regclass[]) AS tables (id)"
            " WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = tables.id AND attname = wanted"
            " AND NOT attisdropped) ORDER BY 1",
            [list(columns), [f"{SCHEMA}.indicators_{interval}" for interval in COARSE]],
        ).fetchall()
    return [row[0] for row in rows]


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
    Epochs are Unix milliseconds, so that a store made anew, or put back twice in a row, never falls behind what it once
    published.
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
            {"id": str(uuid.uuid4()), "now": _now(), "identity": identity},
        ).fetchone()
        assert stored is not None
        _publish_anew(connection, stored[1])
        return str(stored[0]), int(stored[1])


def _now() -> int:
    """The least that an epoch may be that begins now."""
    return int(time.time() * 1000)


def raise_epoch(database: Database) -> int:
    """Begin a new epoch, in which everything is due to be published again; the epoch.

    For a store that was put back to an earlier moment in the same database, which `ensure_identity` cannot notice: the
    cache then has versions, and may have symbols, that the store knows nothing of. No other process of ours may run
    meanwhile: it would go on in the old epoch.
    """
    ensure_identity(database)  # a store may have been put back to before its first start
    with database.transaction() as connection:
        raised = connection.execute(
            "UPDATE store_meta SET epoch = greatest(epoch + 1, %s) RETURNING epoch", [_now()]
        ).fetchone()
        assert raised is not None
        _publish_anew(connection, raised[0])
        return int(raised[0])


def _publish_anew(connection: Connection, epoch: int) -> None:
    """Give the newest version of every symbol the epoch, unless it has it."""
    connection.execute(
        "WITH behind AS (SELECT symbol FROM publications WHERE epoch < %(epoch)s"
        ' ORDER BY symbol COLLATE "C" FOR UPDATE)'
        " UPDATE publications p SET epoch = %(epoch)s FROM behind WHERE p.symbol = behind.symbol",
        {"epoch": epoch},
    )

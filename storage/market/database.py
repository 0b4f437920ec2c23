"""Connections: a psycopg pool for statements and COPY in, ADBC connections for frames out."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple, Self
from urllib.parse import quote, urlencode

import adbc_driver_manager as adbc
import adbc_driver_postgresql
import polars as pl
import psycopg
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from storage.market.tables import SCHEMA
from storage.settings import Settings
from transforms.errors import StoreUnavailable

Connection = psycopg.Connection[tuple[Any, ...]]

_COPY_ROWS = 65_536
"""Rows encoded at once: large enough for the encoder, small enough to overlap with the server (PLATFORM.md)."""

_PASSING = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
"""The second, which ends the connection too, is not one of the first."""


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn a driver's loss of connection into `StoreUnavailable`: the same call may succeed later."""
    try:
        yield
    except PoolTimeout as exc:
        raise StoreUnavailable(
            f"the database does not answer ({exc}): see that it runs and takes connections (setting database_url)"
        ) from exc
    except (*_PASSING, adbc.OperationalError) as exc:
        raise StoreUnavailable(f"the database failed while {doing}: {exc}") from exc


class Database:
    """One process' connections to one database. Thread-safe."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Remember where the database is; nothing is opened until it is needed."""
        self.url = url
        self._settings = settings
        self._pool: ConnectionPool[Connection] | None = None
        self._kept: Connection | None = None
        self._idle: list[_Link] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def idle_seconds(self) -> float:
        """How long a transaction may sit idle before the server ends it."""
        return self._settings.idle_timeout_seconds

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            if self._pool is not None:
                self._pool.close()
                self._pool = None
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    @contextmanager
    def transaction(self, *, bulk: bool = False) -> Iterator[Connection]:
        """One READ COMMITTED transaction on a pooled connection; `bulk` statements have no time limit."""
        with store_errors("writing"), self._opened().connection() as connection:
            if bulk:
                connection.execute("SET LOCAL statement_timeout = 0")
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection of its own on which every statement commits by itself."""
        with (
            store_errors("running a statement"),
            psycopg.connect(self.url, autocommit=True, **self._parameters()) as connection,
        ):
            yield connection

    @contextmanager
    def kept(self) -> Iterator[Connection]:
        """The one connection that stays open as long as this object, where every statement commits by itself.

        For session locks, which the server releases when the process is gone. A broken one is replaced.
        """
        with store_errors("running a statement"):
            with self._lock:
                if self._kept is None or self._kept.closed:
                    self._kept = psycopg.connect(self.url, autocommit=True, **self._parameters())
                connection = self._kept
            yield connection

    def frame(self, query: sql.Composable) -> pl.DataFrame:
        """The rows of one query. Its values are literals: with parameters the driver would not use COPY."""
        with store_errors("reading"), self._snapshot() as snapshot:
            return snapshot.frame(query)

    @contextmanager
    def snapshot(self, *, bulk: bool = False) -> "Iterator[Snapshot]":
        """A REPEATABLE READ READ ONLY transaction: every frame read in it shows the same moment.

        `bulk` statements have no time limit.
        """
        with store_errors("reading a snapshot"), self._snapshot() as snapshot:
            snapshot.freeze()
            if bulk:
                snapshot.run("SET LOCAL statement_timeout = 0")
            yield snapshot

    @contextmanager
    def _snapshot(self) -> "Iterator[Snapshot]":
        """A transaction for frames on a connection that is kept open between them; a broken one is not kept."""
        with self._lock:
            link = self._idle.pop() if self._idle else None
        link = link or self._open_link()
        try:
            yield Snapshot(link.connection)
            link.connection.rollback()
        except BaseException:
            link.close()
            raise
        with self._lock:
            self._idle.append(link)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self.url,
                    min_size=self._settings.pool_min,
                    max_size=self._settings.pool_max,
                    timeout=self._settings.connect_timeout_seconds,
                    kwargs=self._parameters(),
                    open=True,
                )
            return self._pool

    def _parameters(self) -> dict[str, Any]:
        return {
            "application_name": self._settings.application_name,
            "connect_timeout": int(self._settings.connect_timeout_seconds),
            "options": self._session_options(),
        }

    def _session_options(self) -> str:
        settings = self._settings
        values = {
            "search_path": SCHEMA,
            "timezone": "UTC",
            "jit": "on" if settings.jit else "off",
            "statement_timeout": f"{settings.query_timeout_seconds:g}s",
            "idle_in_transaction_session_timeout": f"{settings.idle_timeout_seconds:g}s",
            "client_connection_check_interval": "1s",  # what a killed process was doing ends, and its locks with it
        }
        return " ".join(f"-c {name}={value}" for name, value in values.items())

    def _open_link(self) -> "_Link":
        named = {"application_name": self._settings.application_name, "options": self._session_options()}
        extra = urlencode(named, quote_via=quote)
        database = adbc_driver_postgresql.connect(f"{self.url}{'&' if '?' in self.url else '?'}{extra}")
        connection = adbc.AdbcConnection(database)
        connection.set_autocommit(False)
        return _Link(connection, database)


class _Link(NamedTuple):
    """An ADBC connection with the handle it was made from."""

    connection: adbc.AdbcConnection
    database: adbc.AdbcDatabase

    def close(self) -> None:
        """Close both."""
        self.connection.close()
        self.database.close()


class Snapshot:
    """A transaction in which frames are read; until `freeze`, each statement sees what was committed before it.

    The driver's own Python layer is not used: importing it imports pandas, which takes longer than most commands.
    """

    def __init__(self, connection: adbc.AdbcConnection) -> None:
        """Read through `connection`, which does not commit by itself."""
        self._connection = connection

    def freeze(self) -> None:
        """Have every following frame show this moment; to be called first."""
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def run(self, command: LiteralString) -> None:
        """A command that has no rows."""
        statement = adbc.AdbcStatement(self._connection)
        try:
            statement.set_sql_query(command)
            statement.execute_update()
        finally:
            statement.close()

    def frame(self, query: sql.Composable) -> pl.DataFrame:
        """The rows of one query."""
        statement = adbc.AdbcStatement(self._connection)
        try:
            statement.set_sql_query(query.as_string())
            stream, _ = statement.execute_query()
            return pl.DataFrame(stream)
        finally:
            statement.close()


def statement(text: LiteralString, **parts: object) -> sql.Composed:
    """A statement whose `{name}` parts are identifiers, nested statements, or values quoted as literals."""
    return sql.SQL(text).format(**{name: _literal(value) for name, value in parts.items()})


def _literal(value: object) -> sql.Composable:
    return value if isinstance(value, sql.Composable) else sql.Literal(value)


def copy_in(connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> int:
    """Write a frame by binary COPY into the columns of the same names; whole columns, no Python per row."""
    if frame.is_empty():
        return 0
    batches = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(_COPY_ROWS)
    encoder = ArrowToPostgresBinaryEncoder(batches[0].schema)
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
    return frame.height


def table_name(name: str) -> sql.Identifier:
    """A table of our schema."""
    return sql.Identifier(SCHEMA, name)


def values_list(rows: Sequence[Sequence[object]]) -> sql.Composed:
    """`(a, b), (c, d)`: rows of literals for a VALUES list."""
    return sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(map(_literal, row))) for row in rows)

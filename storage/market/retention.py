"""How far back raw rows are kept: horizons that only move forward, holds that keep stretches open, and the deletion.

Below the horizon ingest refuses rows and `expire` deletes them. What is computed outlives them: nothing is computed
again where raw rows may be gone, which is what `Frozen` says (`horizons`: how it is worked out).

A horizon, and the marks of what it makes expire, are committed before the first row goes. So whoever finds the same
`Frozen` after reading raw rows as before has read whole sessions. Ingest reads the horizon under a lock that moving it
waits for (`locks`), so no row gets in below it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import psycopg
from psycopg import sql

from storage.market.database import Connection, Database, statement, table_name
from storage.market.derived import SPANS
from storage.market.horizons import EXPIRING, GRANULARITIES, PRICED, Span, mark_expired, spans_of, spans_statement
from storage.market.locks import lock_raw, lock_retention
from storage.market.tables import RAW_TABLES
from transforms.errors import PermanentError, StoreUnavailable, TransientError

BATCH: Final = 50_000
"""About how many rows are deleted in one transaction."""
_PATIENCE: Final = "3s"
_JUST_AFTER: Final = timedelta(microseconds=1)


class RetentionMoved(TransientError):
    """Raw rows expired while they were read; the same call will leave them alone."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Stretches (symbol, lo, hi) whose raw rows may be gone, so that nothing is computed from raw rows there.

    `prices`: of trades and bars, whole local days of the symbol's market. `sentiment`: of messages. A session that
    reads any of them is to be left as it is (`thawed`).
    """

    prices: pl.DataFrame
    sentiment: pl.DataFrame

    def __bool__(self) -> bool:
        return not (self.prices.is_empty() and self.sentiment.is_empty())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frozen):
            return NotImplemented
        return self.prices.equals(other.prices) and self.sentiment.equals(other.sentiment)

    def __hash__(self) -> int:
        return hash((*self.prices.iter_rows(), *self.sentiment.iter_rows()))


@dataclass(frozen=True, slots=True)
class Hold:
    """A stretch of a dataset that retention leaves alone, and in which rows are let in, until it expires."""

    dataset: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    expires_at: datetime
    id: int = 0


def thawed(stretches: pl.DataFrame, frozen: pl.DataFrame, lo: str, hi: str) -> pl.DataFrame:
    """Rows (symbol, and a stretch from column `lo` up to column `hi`) that meet no frozen span of their symbol."""
    if frozen.is_empty() or stretches.is_empty():
        return stretches
    numbered = stretches.with_row_index("_row")
    met = (
        numbered.lazy()
        .select("_row", "symbol", _from=lo, _until=hi)
        .join(frozen.lazy().select("symbol", _lo="lo", _hi="hi"), on="symbol")
        .filter((pl.col("_from") < pl.col("_hi")) & (pl.col("_until") > pl.col("_lo")))
        .select("_row")
        .unique()
        .collect()
    )
    return numbered.join(met, on="_row", how="anti", maintain_order="left").drop("_row")


class RetentionStore:
    """Horizons and holds, and the deletion of raw rows that have expired."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def horizons(self) -> dict[str, datetime]:
        """The horizon of each dataset that has one."""
        found = self._database.frame(statement("SELECT dataset, horizon FROM retention_horizon ORDER BY dataset"))
        return dict(found.iter_rows())

    def frozen(self, symbols: Sequence[str]) -> Frozen:
        """Where nothing is to be computed from the raw rows of these symbols at this moment."""
        known = self._database.frame(statement("SELECT EXISTS (SELECT FROM retention_horizon) AS known"))
        if not known.item():
            return Frozen(SPANS.to_frame(), SPANS.to_frame())
        found = self._database.frame(spans_statement(symbols))

        def of(kind: str) -> pl.DataFrame:
            return found.filter(pl.col("kind") == kind).select(SPANS.names()).cast(SPANS)

        return Frozen(of("prices"), of("scores"))

    def holds(self) -> list[Hold]:
        """The holds that have not expired, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT dataset, starts_at, ends_at, reason, expires_at, id FROM retention_holds"
                " WHERE expires_at > clock_timestamp() ORDER BY id"
            ).fetchall()
        return [Hold(*row) for row in rows]

    def hold(self, hold: Hold) -> Hold:
        """Keep a stretch open; what is already deleted stays deleted."""
        with _moving(self._database, hold.dataset) as connection:
            row = connection.execute(
                "INSERT INTO retention_holds (dataset, starts_at, ends_at, reason, expires_at)"
                " VALUES (%s, %s, %s, %s, %s) RETURNING id",
                [hold.dataset, hold.starts_at, hold.ends_at, hold.reason, hold.expires_at],
            ).fetchone()
        assert row is not None
        return replace(hold, id=row[0])

    def release(self, number: int) -> Hold:
        """End a hold. Raises `PermanentError` where there is none of this number."""
        found = {hold.id: hold for hold in self.holds()}
        if number not in found:
            there = ", ".join(map(str, found)) or "none"
            raise PermanentError(f"there is no hold {number}; there are: {there} (see: warmbars retention show)")
        with _moving(self._database, found[number].dataset) as connection:
            connection.execute("DELETE FROM retention_holds WHERE id = %s", [number])
        return found[number]

    def advance(self, dataset: str, horizon: datetime) -> bool:
        """Move a horizon forward and note whose rows expire by that; whether it moved. No row is deleted yet.

        Where it does not move, rows are noted that a hold let in and that are held no longer.
        """
        with _moving(self._database, dataset) as connection:
            moved = connection.execute(
                "INSERT INTO retention_horizon AS h (dataset, horizon) VALUES (%s, %s) ON CONFLICT (dataset)"
                " DO UPDATE SET horizon = excluded.horizon WHERE h.horizon < excluded.horizon",
                [dataset, horizon],
            )
            if dataset in PRICED:
                mark_expired(connection, dataset)
            return moved.rowcount > 0

    def expire(self, dataset: str) -> Iterator[tuple[str, int]]:
        """Delete the raw rows of a dataset that have expired, and their history: symbol and rows of each transaction.

        In batches of about `BATCH` rows. A killed one leaves the rest to the next.
        """
        for symbol in self._symbols():
            for part in _series(dataset):
                while deleted := self._delete(dataset, symbol, *part):
                    yield symbol, deleted

    def expired(self, dataset: str, horizon: datetime) -> int:
        """How many raw rows, history left out, lie below a horizon and are not held."""
        kind = dataset if dataset in PRICED else EXPIRING[dataset]
        with self._database.transaction(bulk=True) as connection:
            below = spans_of(connection, self._symbols(), {dataset: horizon}).get(kind, {})
            return sum(
                _count(connection, RAW_TABLES[dataset].name, symbol, span)
                for symbol, spans in below.items()
                for span in spans
            )

    def _symbols(self) -> list[str]:
        with self._database.transaction() as connection:
            return [row[0] for row in connection.execute("SELECT symbol FROM instruments ORDER BY symbol")]

    def _delete(self, dataset: str, symbol: str, table: str, kind: str, series: sql.Composable) -> int:
        """One batch, under the lock of whoever writes these rows: what is held is known for sure."""
        with self._database.transaction(bulk=True) as connection:
            lock_raw(connection, dataset, [symbol])
            for span in spans_of(connection, [symbol]).get(kind, {}).get(symbol, []):
                deleted = _delete_some(connection, table, symbol, series, span)
                if deleted:
                    return deleted
        return 0


@contextmanager
def _moving(database: Database, dataset: str) -> Iterator[Connection]:
    """A transaction in which horizons and holds of a dataset may change: it waits for those who write its rows.

    Not for long, since whoever comes to write then waits behind it.
    """
    with database.transaction(bulk=True) as connection:
        try:
            connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            lock_retention(connection, dataset)
            connection.execute("SET LOCAL lock_timeout = 0")
        except psycopg.errors.LockNotAvailable as exc:
            raise StoreUnavailable(
                f"rows of {dataset} were being written for more than {_PATIENCE}, so nothing about their retention was"
                " changed; try again"
            ) from exc
        yield connection


def _series(dataset: str) -> Iterator[tuple[str, str, sql.Composable]]:
    """The tables of a dataset's rows, the kind of span to delete there, and what makes one run of an index of them."""
    table, kind = RAW_TABLES[dataset].name, EXPIRING[dataset]
    if dataset == "bars":
        for granularity in GRANULARITIES:
            yield table, kind, statement(" AND granularity = {granularity}", granularity=granularity)
    else:
        yield table, kind, sql.SQL("")
    yield f"{table}_history", dataset, sql.SQL("")


def _rows(table: str, symbol: str, span: Span, series: sql.Composable | None = None) -> sql.Composed:
    return statement(
        "FROM {table} WHERE symbol = {symbol} AND timestamp >= {lo} AND timestamp < {hi}{series}",
        table=table_name(table),
        symbol=symbol,
        lo=span[0],
        hi=span[1],
        series=series or sql.SQL(""),
    )


def _count(connection: Connection, table: str, symbol: str, span: Span) -> int:
    row = connection.execute(statement("SELECT count(*) {rows}", rows=_rows(table, symbol, span))).fetchone()
    assert row is not None
    return int(row[0])


def _delete_some(connection: Connection, table: str, symbol: str, series: sql.Composable, span: Span) -> int:
    """Delete the oldest rows of a span, up to an instant that about `BATCH` rows lie before; how many."""
    rows = _rows(table, symbol, span, series)
    found = connection.execute(
        statement(
            "SELECT (SELECT min(timestamp) {rows}), (SELECT timestamp {rows} ORDER BY timestamp OFFSET {n} LIMIT 1)",
            rows=rows,
            n=BATCH,
        )
    ).fetchone()
    assert found is not None
    first, until = found
    if first is None:
        return 0
    until = span[1] if until is None else max(until, first + _JUST_AFTER)
    return connection.execute(statement("DELETE {rows}", rows=_rows(table, symbol, (span[0], until), series))).rowcount

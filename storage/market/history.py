"""Raw rows as they were known at a moment: by when they arrived, and when they were superseded or removed.

A row is known from its `arrived_at` on. A correction or a removal moves it to `<table>_history`, and with it ends, at
`superseded_at`, the time in which it was known. So what was known at T is the rows of the table with
`arrived_at <= T`, and those of its history with `arrived_at <= T < superseded_at`. A row ends at the very moment at
which the one that takes its place arrives, so a key has one row at most. The stamps are of the server's clock inside
the transaction that wrote the row, moments before it was committed. What has expired (`retention`) is in neither.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import get_args

import polars as pl
from psycopg import sql

from storage.market.database import Database, Snapshot, statement, table_name
from storage.market.merge import Target
from transforms.schema import Dataset, Granularity


class Known:
    """Reads of raw rows in one snapshot, as they were known at a moment; None: as they are known now."""

    def __init__(self, snapshot: Snapshot, at: datetime | None) -> None:
        """Read through `snapshot`."""
        self._snapshot = snapshot
        self._at = at

    def rows(self, dataset: Dataset, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Raw rows of a symbol with start <= timestamp < end, without bookkeeping, in no particular order.

        Bars keep their `price_basis`, as a refresh reads them.
        """
        target = Target.of(dataset)
        columns = [c for c in (*target.key, *target.values) if dataset == "bars" or c != "price_basis"]
        where = statement(
            "symbol = {symbol} AND timestamp >= {start} AND timestamp < {end}", symbol=symbol, start=start, end=end
        )
        return self._versions(target.name, columns, where)

    def actions(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Every corporate action of these symbols, of every source: announced by then, not yet withdrawn or changed."""
        target = Target.of("actions")
        where = statement("symbol = ANY({symbols})", symbols=list(symbols))
        return self._versions(target.name, [*target.key, "value"], where)

    def coverage(self, symbols: Sequence[str], dataset: Dataset) -> pl.DataFrame:
        """Where a source of `dataset` had declared by then to be the whole truth: symbol, starts_at, ends_at."""
        where = statement("symbol = ANY({symbols}) AND dataset = {dataset}", symbols=list(symbols), dataset=dataset)
        return self._versions("coverage", ["symbol", "starts_at", "ends_at"], where)

    def vendor_adjusted(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Where vendors' prices were not raw: symbol, source, starts_at, ends_at (of the newest row, half-open)."""
        where = statement("symbol = ANY({symbols}) AND price_basis <> 'raw'", symbols=list(symbols))
        parts = [
            statement("SELECT symbol, source, timestamp FROM {table} WHERE {where}", table=table, where=known)
            for table, known in self._tables("stock_data", where)
        ]
        return self._snapshot.frame(
            statement(
                "SELECT symbol, source, min(timestamp) AS starts_at,"
                " max(timestamp) + interval '1 microsecond' AS ends_at FROM ({rows}) AS r GROUP BY 1, 2",
                rows=sql.SQL(" UNION ALL ").join(parts),
            )
        )

    def bounds(self, symbol: str) -> tuple[datetime, datetime] | None:
        """The timestamps between which a symbol's price rows lie, whenever they arrived; None if there are none.

        Read off the ends of indexes, however many rows there are.
        """
        every = [("stock_ticks", None), *(("stock_data", granularity) for granularity in get_args(Granularity))]
        if self._at is not None:
            every += [("stock_ticks_history", None), ("stock_data_history", None)]
        parts = [
            statement(
                "SELECT min(timestamp) AS first, max(timestamp) AS last FROM {table} WHERE symbol = {symbol}{only}",
                table=table_name(table),
                symbol=symbol,
                only=statement(" AND granularity = {length}", length=length) if length else sql.SQL(""),
            )
            for table, length in every
        ]
        found = self._snapshot.frame(
            statement(
                "SELECT min(first) AS first, max(last) AS last FROM ({parts}) AS r",
                parts=sql.SQL(" UNION ALL ").join(parts),
            )
        )
        first, last = found.row(0)
        return None if first is None else (first, last)

    def _versions(self, table: str, columns: Sequence[str], where: sql.Composable) -> pl.DataFrame:
        """The rows of a table known at the moment."""
        read = sql.SQL(", ").join(map(sql.Identifier, columns))
        parts = [
            statement("SELECT {read} FROM {table} WHERE {where}", read=read, table=name, where=known)
            for name, known in self._tables(table, where)
        ]
        return self._snapshot.frame(sql.SQL(" UNION ALL ").join(parts))

    def _tables(self, table: str, where: sql.Composable) -> Iterator[tuple[sql.Composable, sql.Composable]]:
        """The table and, for a moment that has been, its history, each with the condition for its rows."""
        if self._at is None:
            yield table_name(table), where
            return
        arrived = statement("{where} AND arrived_at <= {at}", where=where, at=self._at)
        yield table_name(table), arrived
        yield table_name(f"{table}_history"), statement("{where} AND superseded_at > {at}", where=arrived, at=self._at)


class HistoryStore:
    """What was known when."""

    def __init__(self, database: Database) -> None:
        """Read through `database`."""
        self._database = database

    @contextmanager
    def known(self, at: datetime | None) -> Iterator[Known]:
        """Raw rows as they were known at a moment, read in one snapshot; None: as they are known now."""
        with self._database.snapshot() as snapshot:
            yield Known(snapshot, at)

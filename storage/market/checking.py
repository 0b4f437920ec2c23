"""What `verify` reads: raw and derived rows of some symbols as they are at one moment, and where rows come from."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl
from psycopg import sql

from storage.market.database import Database, Snapshot, copy_in, statement, table_name
from storage.market.derived import LEFTOVER
from storage.market.tables import RAW_TABLES, metadata
from transforms.schema import DATASETS, MARKET_SYMBOL, UTC_US

STANDINGS = pl.Schema(
    {
        "symbol": pl.String(),
        "market": pl.String(),
        "as_of": UTC_US,
        "due_at": UTC_US,
        "unseen": pl.Boolean(),
        "windows": pl.Int64(),
    }
)
"""How a symbol stands: `as_of` of its publication, null if it has none. `due_at`: when its next dirty window is due.

`unseen`: a window stands for a change that no refresh has looked at, due or not; an action to come is none, it
changes nothing before it is due.
"""

_BOOKS = {"arrived_at", "run_id"}
_COUNTED = (("prices", "stock_ticks"), ("prices", "stock_data"), ("scores", "sentiment_data"))
"""Datasets of windows, and the raw rows that a refresh of them reads."""
_PUT_BACK = ("ticks", "bars", "sentiment", "prices", "scores")
"""Of their windows those without rows were put back by a refresh, because time has yet to close a bucket."""


class Moment:
    """Reads of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Read through `snapshot`, which is frozen."""
        self._snapshot = snapshot

    def standings(self, symbols: Sequence[str] | None = None) -> pl.DataFrame:
        """How these symbols stand (STANDINGS), all but the market's own if none is named; in order."""
        chosen = statement("s.symbol <> {market}", market=MARKET_SYMBOL)
        if symbols is not None:
            chosen = statement("s.symbol = ANY({symbols})", symbols=list(symbols))
        return self._snapshot.frame(
            statement(
                "SELECT s.symbol, i.market, p.as_of, w.due_at, coalesce(w.unseen, false) AS unseen,"
                " coalesce(w.windows, 0) AS windows"
                " FROM (SELECT symbol FROM instruments UNION SELECT symbol FROM publications) AS s"
                " LEFT JOIN instruments i USING (symbol) LEFT JOIN publications p USING (symbol)"
                " LEFT JOIN (SELECT symbol, min(due_at) AS due_at, count(*) AS windows,"
                "  bool_or(CASE WHEN dataset = 'actions' THEN false WHEN dataset = ANY({put_back}) THEN rows > 0"
                "  ELSE true END) AS unseen FROM dirty_windows GROUP BY symbol) AS w USING (symbol)"
                ' WHERE {chosen} ORDER BY s.symbol COLLATE "C"',
                put_back=list(_PUT_BACK),
                chosen=chosen,
            )
        ).cast(STANDINGS)

    def newest(self) -> datetime | None:
        """The latest as-of of any symbol's publication."""
        found = self._snapshot.frame(
            statement("SELECT max(as_of) AS as_of FROM publications WHERE symbol <> {market}", market=MARKET_SYMBOL)
        )
        return found.cast({"as_of": UTC_US}).item()  # type: ignore[no-any-return]

    def counts(self, symbols: Sequence[str]) -> pl.DataFrame:
        """How many raw rows with a time each of the symbols has: symbol, rows."""
        each = [
            statement(
                "SELECT symbol, count(*) AS n FROM {table} WHERE symbol = ANY({symbols}) GROUP BY symbol",
                table=table_name(RAW_TABLES[dataset].name),
                symbols=list(symbols),
            )
            for dataset in DATASETS
        ]
        return self._snapshot.frame(
            statement(
                "SELECT symbol, sum(n)::bigint AS rows FROM ({each}) AS counted GROUP BY symbol",
                each=sql.SQL(" UNION ALL ").join(each),
            )
        )

    def days(self, symbol: str) -> pl.DataFrame:
        """How many ticks and vendors' bars a symbol has of each UTC date: day, rows; in order."""
        return self._snapshot.frame(
            statement(
                "SELECT day, sum(n)::bigint AS rows FROM ("
                "SELECT timestamp::date AS day, count(*) AS n FROM stock_ticks WHERE symbol = {symbol} GROUP BY 1"
                " UNION ALL"
                " SELECT timestamp::date AS day, count(*) AS n FROM stock_data WHERE symbol = {symbol} GROUP BY 1"
                ") AS counted GROUP BY day ORDER BY day",
                symbol=symbol,
            )
        )

    def raw(self, table: str, symbols: Sequence[str], within: tuple[datetime, datetime] | None = None) -> pl.DataFrame:
        """Raw rows of these symbols without their books, those of [start, end) if it is given."""
        skipped = _BOOKS | ({"price_basis"} if table != "stock_data" else set())
        columns = [c.name for c in metadata.tables[f"{metadata.schema}.{table}"].columns if c.name not in skipped]
        return self.rows(table, symbols, columns, within)

    def rows(
        self,
        table: str,
        symbols: Sequence[str],
        columns: Sequence[str],
        within: tuple[datetime, datetime] | None = None,
    ) -> pl.DataFrame:
        """Columns of the rows of these symbols, in no particular order."""
        stretch: sql.Composable = sql.SQL("")
        if within is not None:
            stretch = statement(" AND timestamp >= {lo} AND timestamp < {hi}", lo=within[0], hi=within[1])
        return self._snapshot.frame(
            statement(
                "SELECT {columns} FROM {table} WHERE symbol = ANY({symbols}){stretch}",
                columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
                table=table_name(table),
                symbols=list(symbols),
                stretch=stretch,
            )
        )

    def everything(self, table: str, columns: Sequence[str]) -> pl.DataFrame:
        """Columns of every row of a table, in no particular order."""
        return self._snapshot.frame(
            statement(
                "SELECT {columns} FROM {table}",
                columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
                table=table_name(table),
            )
        )

    def coverage(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Where a source of ticks is the whole truth: symbol, starts_at, ends_at."""
        return self._snapshot.frame(
            statement(
                "SELECT symbol, starts_at, ends_at FROM coverage WHERE symbol = ANY({symbols}) AND dataset = 'ticks'",
                symbols=list(symbols),
            )
        )

    def adjusted(self, symbol: str) -> pl.DataFrame:
        """Where vendors' prices of a symbol are not raw: symbol, source, starts_at, ends_at (just after the newest)."""
        return self._snapshot.frame(
            statement(
                "SELECT symbol, source, min(timestamp) AS starts_at,"
                " max(timestamp) + interval '1 microsecond' AS ends_at FROM stock_data"
                " WHERE symbol = {symbol} AND price_basis <> 'raw' GROUP BY symbol, source",
                symbol=symbol,
            )
        )


class CheckStore:
    """What is looked up about rows that differ, and the windows that have them made again."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def strangers(self, tables: Sequence[str]) -> Mapping[str, list[str]]:
        """Per table, symbols with rows that are neither an instrument nor published: one index look-up a symbol."""
        found = {}
        for table in tables:
            query = statement(
                "WITH RECURSIVE each AS ("
                "(SELECT symbol FROM {table} ORDER BY symbol LIMIT 1) UNION ALL"
                " SELECT (SELECT t.symbol FROM {table} t WHERE t.symbol > each.symbol ORDER BY t.symbol LIMIT 1)"
                " FROM each WHERE each.symbol IS NOT NULL)"
                " SELECT symbol FROM each WHERE symbol IS NOT NULL AND symbol <> {market}"
                " AND symbol NOT IN (SELECT symbol FROM instruments UNION SELECT symbol FROM publications)"
                " ORDER BY symbol",
                table=table_name(table),
                market=MARKET_SYMBOL,
            )
            symbols = self._database.frame(query)["symbol"].to_list()
            if symbols:
                found[table] = symbols
        return found

    def mark(self, windows: pl.DataFrame, run_id: int) -> int:
        """Append dirty windows (symbol, dataset, starts_at, ends_at, due_at) with the raw rows inside; how many."""
        rows = windows.select(LEFTOVER.names()).cast(LEFTOVER)
        with self._database.transaction(bulk=True) as connection:
            connection.execute("CREATE TEMP TABLE marked (LIKE dirty_windows) ON COMMIT DROP")
            for column in ("id", "rows", "run_id"):
                connection.execute(sql.SQL("ALTER TABLE marked ALTER {} DROP NOT NULL").format(sql.Identifier(column)))
            copy_in(connection, sql.Identifier("marked"), rows)
            inside = [
                statement(
                    "(SELECT count(*) FROM {table} r WHERE m.dataset = {dataset} AND r.symbol = m.symbol"
                    " AND r.timestamp >= m.starts_at AND r.timestamp < m.ends_at)",
                    table=table_name(table),
                    dataset=dataset,
                )
                for dataset, table in _COUNTED
            ]
            done = connection.execute(
                sql.SQL(
                    "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
                    " SELECT symbol, dataset, starts_at, ends_at, due_at, {rows}, %s FROM marked m"
                ).format(rows=sql.SQL(" + ").join(inside)),
                [run_id],
            )
            return done.rowcount

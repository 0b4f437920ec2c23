"""The derived tables: claims on dirty windows, frames in and out. One transaction a claim; a killed one never happened.

The protocol is "Refresh, once" of the design: lock, select the due windows, read, compute, write what differs,
delete exactly the selected windows, put back what is not due yet, draw the next version.
Frames are read on a second connection. That is safe: a window is visible only after its raw rows are committed, so
a later read sees at least those rows, and nobody else writes the derived rows of a claimed symbol.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import orjson
import polars as pl
from psycopg import sql
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, Text

from storage.market.database import Connection, Database, copy_in, statement, table_name
from storage.market.locks import try_derived
from storage.market.tables import metadata
from transforms.schema import MARKET_SYMBOL, UTC_US

WINDOWS = pl.Schema(
    {
        "id": pl.Int64(),
        "symbol": pl.String(),
        "dataset": pl.String(),
        "starts_at": UTC_US,
        "ends_at": UTC_US,
        "rows": pl.Int64(),
    }
)
"""Claimed dirty windows."""

LEFTOVER = pl.Schema(
    {"symbol": pl.String(), "dataset": pl.String(), "starts_at": UTC_US, "ends_at": UTC_US, "due_at": UTC_US}
)
"""Windows that stay dirty until they are due."""

_ARRAYS: dict[type, str] = {Text: "text", DateTime: "timestamptz", Date: "date", Integer: "integer"}

_TYPES: dict[type, pl.DataType] = {
    Text: pl.String(),
    DateTime: UTC_US,
    Date: pl.Date(),
    Integer: pl.Int32(),
    BigInteger: pl.Int64(),
    Boolean: pl.Boolean(),
}
"""Of columns that are not double precision."""

_FEW = 1_000
"""Keys that are deleted as arrays; more are copied into a table of their own."""

MarketDataset = Literal["quotes", "correlations", "returns"]
"""What market-wide results are made of: the board and catalogue, what is tested, the return matrix."""

SPANS = pl.Schema({"symbol": pl.String(), "lo": UTC_US, "hi": UTC_US})
"""Stretches of symbols' rows, half-open."""


@dataclass(frozen=True, slots=True)
class Due:
    """A symbol with dirty windows that are due, and the raw rows they are expected to hold."""

    symbol: str
    market: str
    rows: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of one derived table to write and keys to delete; a row that changed is in both."""

    table: str
    upserts: pl.DataFrame
    deletes: pl.DataFrame

    def __len__(self) -> int:
        return self.upserts.height + self.deletes.height

    @property
    def rows(self) -> int:
        """How many rows become others: one that is deleted and written anew counts once."""
        if self.deletes.is_empty():
            return self.upserts.height
        return self.upserts.height + self.deletes.join(self.upserts, on=self.deletes.columns, how="anti").height

    @property
    def symbols(self) -> set[str]:
        """Whose rows they are."""
        return {*distinct(self.upserts["symbol"]), *distinct(self.deletes["symbol"])}


class Claim:
    """The right to refresh some symbols, and what is due for them."""

    def __init__(
        self, connection: Connection, locked: list[str], windows: pl.DataFrame, run_id: int, idle_seconds: float
    ) -> None:
        """Wrap the transaction that holds the locks of the symbols in `locked`, and may sit idle for so long."""
        self._idle_seconds, self._shown = idle_seconds, time.monotonic()
        self._connection = connection
        self.locked = locked
        self.windows = windows
        self._run_id = run_id
        self._touched: dict[str, set[str]] = {}

    @property
    def connection(self) -> Connection:
        """That of the claim's transaction."""
        return self._connection

    @property
    def symbols(self) -> list[str]:
        """The symbols that have claimed windows."""
        return self.windows["symbol"].unique().sort().to_list()

    def write(self, changes: Changes) -> None:
        """Delete and write rows of one derived table."""
        if not changes.deletes.is_empty():
            _delete(self._connection, changes)
        for symbol in changes.symbols:
            self._touched.setdefault(symbol, set()).add(changes.table)
        stamped = changes.upserts.with_columns(run_id=pl.lit(self._run_id, dtype=pl.Int64))
        copy_in(self._connection, table_name(changes.table), stamped)

    def keep_alive(self) -> None:
        """Show the server that work goes on: it ends transactions that sit idle. Costs nothing a moment later."""
        now = time.monotonic()
        if now - self._shown > self._idle_seconds / 20:
            self._connection.execute("SELECT 1")
            self._shown = now

    def finish(self, leftover: pl.DataFrame) -> None:
        """Consume the claimed windows; `leftover` (symbol, dataset, starts_at, ends_at, due_at) stays dirty."""
        ids = self.windows["id"].to_list()
        self._connection.execute("DELETE FROM dirty_windows WHERE id = ANY(%s)", [ids])
        columns = ("symbol", "dataset", "starts_at", "ends_at", "due_at")
        rows = leftover.select(
            *columns,
            pl.lit(0, dtype=pl.Int64).alias("rows"),
            pl.lit(self._run_id, dtype=pl.Int64).alias("run_id"),
        )
        copy_in(self._connection, table_name("dirty_windows"), rows)

    def mark_market(self, at: datetime, datasets: Collection[MarketDataset]) -> None:
        """Tell the market-wide results which of what they are made of changed: a dirty window each."""
        self._connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " SELECT %s, dataset, %s, %s, %s, 0, %s FROM unnest(%s::text[]) AS dataset",
            [MARKET_SYMBOL, at, at, at, self._run_id, sorted(datasets)],
        )

    def publish(self, symbols: Sequence[str], as_of: datetime) -> list[str]:
        """Draw the next version of each symbol: the outbox that the publisher empties; those that had none before.

        Their as-of never moves back: a run that began earlier may end later. The version tells which tables this claim
        wrote, so that the publisher can leave alone what is made of others; of a symbol with a window of `keys`, or of
        which nothing was written, anything may have changed.
        """
        anew = {*self.windows.filter(pl.col("dataset") == "keys")["symbol"]}
        tables = [
            orjson.dumps(["*"] if s in anew or s not in self._touched else sorted(self._touched[s])).decode()
            for s in symbols
        ]
        rows = self._connection.execute(
            "WITH given AS (SELECT symbol, tables::jsonb FROM unnest(%(symbols)s::text[], %(tables)s::text[])"
            "  AS g (symbol, tables))"
            " INSERT INTO publications AS p (symbol, epoch, version, as_of, run_id, changed)"
            ' SELECT symbol, (SELECT epoch FROM store_meta), 1, %(as_of)s, %(run)s, \'{"at": 1, "*": 1}\''
            ' FROM given ORDER BY symbol COLLATE "C"'
            " ON CONFLICT (symbol) DO UPDATE SET epoch = greatest(p.epoch, excluded.epoch), version = p.version + 1,"
            " as_of = greatest(p.as_of, excluded.as_of), run_id = excluded.run_id,"
            " changed = CASE WHEN p.changed->'at' = to_jsonb(p.version) THEN p.changed"
            "  ELSE jsonb_build_object('*', p.version + 1) END"
            "  || jsonb_build_object('at', p.version + 1)"
            "  || (SELECT jsonb_object_agg(name, p.version + 1)"
            "      FROM given g, jsonb_array_elements_text(g.tables) AS name WHERE g.symbol = p.symbol)"
            " RETURNING symbol, version",
            {"symbols": list(symbols), "tables": tables, "as_of": as_of, "run": self._run_id},
        ).fetchall()
        return [symbol for symbol, version in rows if version == 1]


class DerivedStore:
    """Reads of raw and derived rows for refresh, and the claims under which derived rows are written."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def due(self, as_of: datetime) -> list[Due]:
        """The symbols with windows due at `as_of`, the market's own last, so that it sees the others' results."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT symbol, coalesce(i.market, ''), sum(rows)::bigint FROM dirty_windows"
                " LEFT JOIN instruments i USING (symbol) WHERE due_at <= %s"
                ' GROUP BY 1, 2 ORDER BY symbol = %s, 2, symbol COLLATE "C"',
                [as_of, MARKET_SYMBOL],
            ).fetchall()
        return [Due(*row) for row in rows]

    def pending(self) -> tuple[int, datetime | None]:
        """How many dirty windows there are, and when the first is due."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT count(*), min(due_at) FROM dirty_windows").fetchone()
        assert row is not None
        return row[0], row[1]

    @contextmanager
    def claim(self, symbols: Sequence[str], as_of: datetime, max_rows: int, run_id: int) -> Iterator[Claim]:
        """Claim what is due of these symbols, oldest first, until about `max_rows` raw rows; commit at the end.

        Symbols that somebody else is refreshing are left out. The rest of a long list of windows stays for the
        next claim.
        """
        with self._database.transaction(bulk=True) as connection:
            claimed = try_derived(connection, symbols)
            rows = connection.execute(
                "SELECT id, symbol, dataset, starts_at, ends_at, rows FROM ("
                '  SELECT *, sum(rows) OVER (ORDER BY symbol COLLATE "C", starts_at, id) - rows AS before'
                "  FROM dirty_windows WHERE symbol = ANY(%s) AND due_at <= %s) AS due"
                " WHERE before < %s ORDER BY id",
                [claimed, as_of, max_rows],
            ).fetchall()
            yield Claim(
                connection,
                claimed,
                pl.DataFrame(rows, schema=WINDOWS, orient="row"),
                run_id,
                self._database.idle_seconds,
            )

    def raw(self, table: str, spans: pl.DataFrame) -> pl.DataFrame:
        """Raw rows inside `spans`, without their bookkeeping columns, in no particular order.

        Only bars keep their price basis: of trades, the bulk of all rows, nobody asks for it.
        """
        skipped = {"arrived_at", "run_id"} | ({"price_basis"} if table != "stock_data" else set())
        columns = [c.name for c in metadata.tables[f"{metadata.schema}.{table}"].columns if c.name not in skipped]
        return self._inside(table, spans, columns)

    def stored(self, table: str, spans: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """Derived rows inside `spans`, in no particular order."""
        return self._inside(table, spans, columns)

    def inside(self, spans: Mapping[str, pl.DataFrame], columns: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Rows inside spans of several tables with the same columns, in one statement."""
        asked = [table for table, part in spans.items() if not part.is_empty()]
        if not asked:
            return {table: empty(table, columns) for table in spans}
        parts = [self._rows_inside(table, spans[table], columns, number) for number, table in enumerate(asked)]
        found = self._database.frame(sql.SQL(" UNION ALL ").join(parts))
        each = found.partition_by("place", as_dict=True, include_key=False)
        nothing = found.clear().drop("place")
        return {table: each.get((asked.index(table),), nothing) if table in asked else nothing for table in spans}

    def whole(self, table: str, symbols: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
        """Every row of these symbols."""
        if not symbols:
            return empty(table, columns)
        return self._database.frame(
            statement(
                "SELECT {columns} FROM {table} WHERE symbol = ANY({symbols})",
                columns=_list(columns),
                table=table_name(table),
                symbols=list(symbols),
            )
        )

    def everything(self, table: str, columns: Sequence[str]) -> pl.DataFrame:
        """Every row of a table, in no particular order."""
        return self._database.frame(
            statement("SELECT {columns} FROM {table}", columns=_list(columns), table=table_name(table))
        )

    def around(self, stretches: Mapping[str, pl.DataFrame], columns: Sequence[str]) -> pl.DataFrame:
        """Rows of stretches (number, symbol, lo, hi, before, after) of some tables, and those next to them, by number.

        The rows from `lo` up to `hi`, inclusive, `before` rows before them and `after` rows after them (null: all).
        """
        parts = [self._rows_around(table, part, columns) for table, part in stretches.items() if not part.is_empty()]
        if not parts:
            return empty(next(iter(stretches)), columns).insert_column(0, pl.Series("number", [], pl.Int64))
        return self._database.frame(sql.SQL(" UNION ALL ").join(parts))

    def _rows_around(self, table: str, stretches: pl.DataFrame, columns: Sequence[str]) -> sql.Composed:
        return statement(
            "SELECT s.number, {columns} FROM unnest({numbers}::bigint[], {symbols}::text[], {lo}::timestamptz[],"
            " {hi}::timestamptz[], {before}::bigint[], {after}::bigint[])"
            " AS s (number, symbol, lo, hi, before, after), LATERAL ("
            '(SELECT * FROM {table} r WHERE r.symbol = s.symbol COLLATE "C" AND r.timestamp < s.lo'
            " ORDER BY r.timestamp DESC LIMIT s.before)"
            ' UNION ALL (SELECT * FROM {table} r WHERE r.symbol = s.symbol COLLATE "C" AND r.timestamp >= s.lo'
            " AND r.timestamp <= s.hi OFFSET 0)"
            ' UNION ALL (SELECT * FROM {table} r WHERE r.symbol = s.symbol COLLATE "C" AND r.timestamp > s.hi'
            " ORDER BY r.timestamp LIMIT s.after)) AS t",
            columns=_list(columns, "t"),
            table=table_name(table),
            numbers=_array(stretches["number"]),
            symbols=_array(stretches["symbol"]),
            lo=_array(stretches["lo"]),
            hi=_array(stretches["hi"]),
            before=_array(stretches["before"]),
            after=_array(stretches["after"]),
        )

    def newest(self, table: str, counts: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """The newest rows of each symbol, as many as `counts` (symbol, count) says."""
        if counts.is_empty():
            return empty(table, columns)
        return self._database.frame(
            statement(
                "SELECT {columns} FROM unnest({symbols}::text[], {counts}::bigint[]) AS s (symbol, count),"
                ' LATERAL (SELECT * FROM {table} r WHERE r.symbol = s.symbol COLLATE "C"'
                " ORDER BY r.timestamp DESC LIMIT s.count) AS t",
                columns=_list(columns, "t"),
                table=table_name(table),
                symbols=_array(counts["symbol"]),
                counts=_array(counts["count"]),
            )
        )

    def newest_days(self) -> pl.DataFrame:
        """The session of the newest 1d bar of every symbol that has one: symbol, session."""
        return self._database.frame(
            statement(
                "SELECT i.symbol, d.session FROM instruments i, LATERAL (SELECT session FROM bars_1d b"
                " WHERE b.symbol = i.symbol ORDER BY b.timestamp DESC LIMIT 1) AS d ORDER BY i.symbol"
            )
        )

    def correlated(self, symbols: Sequence[str]) -> list[str]:
        """Those of the symbols that have daily sentiment or a correlation, over all sessions or rolling."""
        if not symbols:
            return []
        found = self._database.frame(
            statement(
                "SELECT symbol FROM unnest({symbols}::text[]) AS s (symbol) WHERE"
                ' EXISTS (SELECT FROM sentiment_1d t WHERE t.symbol = s.symbol COLLATE "C")'
                ' OR EXISTS (SELECT FROM correlations t WHERE t.symbol = s.symbol COLLATE "C")'
                ' OR EXISTS (SELECT FROM rolling_correlations t WHERE t.symbol = s.symbol COLLATE "C")',
                symbols=list(symbols),
            )
        )
        return found["symbol"].to_list()

    def vendor_adjusted(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Where vendors' prices are not raw: symbol, source, starts_at, ends_at (of the newest row, half-open)."""
        return self._database.frame(
            statement(
                "SELECT symbol, source, min(timestamp) AS starts_at,"
                " max(timestamp) + interval '1 microsecond' AS ends_at"
                " FROM stock_data WHERE symbol = ANY({symbols}) AND price_basis <> 'raw' GROUP BY symbol, source",
                symbols=list(symbols),
            )
        )

    def crossing_splits(self, windows: pl.DataFrame) -> list[str]:
        """Symbols with a split between an adjusted row of a window (symbol, starts_at, ends_at) and those before it.

        Rows that were superseded or removed count as rows of the window. To a day: a session may have begun on the UTC
        date before its own, and its evening may be on the one after, so that a row is dated by twelve hours before it.
        """
        found = self._database.frame(
            statement(
                "SELECT DISTINCT w.symbol FROM unnest({symbols}::text[], {lo}::timestamptz[], {hi}::timestamptz[])"
                ' AS w (symbol, lo, hi) JOIN corporate_actions a ON a.symbol = w.symbol COLLATE "C"'
                " AND a.action = 'split' AND a.ex_date <= w.hi::date + 1,"
                " LATERAL (SELECT source FROM stock_data r WHERE r.symbol = a.symbol AND r.price_basis <> 'raw'"
                "  AND r.timestamp >= w.lo AND r.timestamp < w.hi"
                "  UNION SELECT source FROM stock_data_history r WHERE r.symbol = a.symbol AND r.price_basis <> 'raw'"
                "  AND r.timestamp >= w.lo AND r.timestamp < w.hi) AS inside,"
                " LATERAL (SELECT (max(timestamp) - interval '12 hours')::date AS day FROM stock_data r"
                "  WHERE r.symbol = a.symbol AND r.price_basis <> 'raw' AND r.source = inside.source"
                "  AND r.timestamp < w.lo) AS before"
                " WHERE a.ex_date > before.day",
                symbols=_array(windows["symbol"]),
                lo=_array(windows["starts_at"]),
                hi=_array(windows["ends_at"]),
            )
        )
        return found["symbol"].sort().to_list()

    def actions(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Every corporate action of these symbols, of every source."""
        return self.whole("corporate_actions", symbols, ("symbol", "ex_date", "action", "source", "ordinal", "value"))

    def factors(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Every split factor of these symbols: symbol, from_date, to_date, price, volume."""
        return self.whole("adjustment_factors", symbols, ("symbol", "from_date", "to_date", "price", "volume"))

    def coverage(self, symbols: Sequence[str], dataset: str) -> pl.DataFrame:
        """Where a source of `dataset` is the whole truth: symbol, starts_at, ends_at."""
        return self._database.frame(
            statement(
                "SELECT symbol, starts_at, ends_at FROM coverage WHERE symbol = ANY({symbols}) AND dataset = {dataset}",
                symbols=list(symbols),
                dataset=dataset,
            )
        )

    def sessions(self, market: str) -> pl.DataFrame:
        """The stored sessions of a market, in order."""
        return self._database.frame(
            statement("SELECT * FROM sessions WHERE market = {market} ORDER BY session", market=market)
        )

    def _inside(self, table: str, spans: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        if spans.is_empty():
            return empty(table, columns)
        return self._database.frame(self._rows_inside(table, spans, columns))

    def _rows_inside(
        self, table: str, spans: pl.DataFrame, columns: Sequence[str], place: int | None = None
    ) -> sql.Composed:
        """An index scan a span: of a plain join the planner makes a scan of the whole table."""
        return statement(
            "SELECT {place}{columns} FROM unnest({symbols}::text[], {lo}::timestamptz[], {hi}::timestamptz[])"
            " AS s (symbol, lo, hi), LATERAL (SELECT * FROM {table} r"
            ' WHERE r.symbol = s.symbol COLLATE "C" AND r.timestamp >= s.lo AND r.timestamp < s.hi OFFSET 0) AS t',
            place=sql.SQL("") if place is None else statement("{place}::int AS place, ", place=place),
            columns=_list(columns, "t"),
            symbols=_array(spans["symbol"]),
            lo=_array(spans["lo"]),
            hi=_array(spans["hi"]),
            table=table_name(table),
        )


def empty(table: str, columns: Sequence[str]) -> pl.DataFrame:
    """No rows of a table or of a view of bars, with the types that the database would answer with."""
    described = metadata.tables.get(f"{metadata.schema}.{table}", metadata.tables[f"{metadata.schema}.bars_1m"])
    types = {column.name: _TYPES.get(type(column.type), pl.Float64()) for column in described.columns}
    return pl.DataFrame(schema={name: types.get(name, pl.Float64()) for name in columns})


def _delete(connection: Connection, changes: Changes) -> None:
    """Delete rows by their key: given as arrays where they are few, else by COPY, which costs far less a row."""
    table = metadata.tables[f"{metadata.schema}.{changes.table}"]
    kinds = {c.name: _ARRAYS[type(c.type)] for c in table.primary_key}
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Identifier("k", name)) for name in kinds
    )
    if changes.deletes.height <= _FEW:
        connection.execute(
            sql.SQL("DELETE FROM {table} t USING unnest({arrays}) AS k ({columns}) WHERE {same}").format(
                table=table_name(changes.table),
                arrays=sql.SQL(", ").join(sql.SQL("%s::{}[]").format(sql.SQL(kind)) for kind in kinds.values()),
                columns=_list(list(kinds)),
                same=same,
            ),
            [changes.deletes[name].to_list() for name in kinds],
        )
        return
    connection.execute(
        sql.SQL("CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            _list(list(kinds)), table_name(changes.table)
        )
    )
    copy_in(connection, sql.Identifier("gone"), changes.deletes.select(*kinds))
    connection.execute("ANALYZE gone")
    connection.execute(
        sql.SQL("DELETE FROM {table} t USING gone k WHERE {same}").format(table=table_name(changes.table), same=same)
    )
    connection.execute("DROP TABLE gone")


def distinct(values: pl.Series) -> list[str]:
    """The distinct values; of a few, without a call of the engine."""
    return values.unique().to_list() if len(values) > _FEW else [*dict.fromkeys(values.to_list())]


def _array(values: pl.Series) -> str:
    """An array literal: a list of Python objects costs a hundred times as much to quote, but for a few."""
    if len(values) > _FEW:
        texts = values.dt.to_string() if values.dtype == UTC_US else values.cast(pl.String)
        return "{" + ",".join("NULL" if text is None else f'"{text}"' for text in texts) + "}"
    return "{" + ",".join("NULL" if value is None else f'"{value}"' for value in values.to_list()) + "}"


def _list(columns: Sequence[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, c) if alias else sql.Identifier(c) for c in columns)

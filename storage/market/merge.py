"""How staged rows meet stored ones: one statement that supersedes what differs and leaves the rest untouched.

Every way of writing answers with the same frame, a row per changed (symbol, UTC day):
`symbol, first, last` (instants of the changed rows) and `inserted, changed, removed` (how many).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

import polars as pl
from psycopg import sql

from storage.market.database import Connection, copy_in, table_name
from storage.market.tables import RAW_TABLES
from transforms.schema import UTC_US, Dataset

_COUNTS = ("inserted", "changed", "removed")
CHANGED_DAYS = pl.Schema({"symbol": pl.String(), "first": UTC_US, "last": UTC_US, **dict.fromkeys(_COUNTS, pl.Int64())})
"""What every way of writing answers with."""

_INCOMING = sql.Identifier("incoming")
_STAMPS = ("arrived_at", "run_id")


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of one source's rows that a replacement is the whole truth about."""

    source: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """A raw table: its key, the column of its time, and the columns whose values can change."""

    name: str
    key: tuple[str, ...]
    time: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """The raw table of a dataset."""
        table = RAW_TABLES[dataset]
        key = tuple(column.name for column in table.primary_key)
        values = tuple(c.name for c in table.columns if c.name not in key and c.name not in _STAMPS)
        return cls(table.name, key, "ex_date" if dataset == "actions" else "timestamp", values)

    @property
    def series(self) -> tuple[str, ...]:
        """The key columns before the time: what one ordered run of rows is told apart by."""
        return self.key[: self.key.index(self.time)] or self.key[:1]

    @property
    def every(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.key, *self.values, *_STAMPS)

    @property
    def moment(self) -> sql.SQL:
        """The instant of a row, which of an action is the midnight that its date begins with in UTC."""
        return sql.SQL("ex_date::timestamp AT TIME ZONE 'UTC'" if self.time == "ex_date" else "timestamp")


def is_vacant(connection: Connection, target: Target, rows: pl.DataFrame, window: Window | None) -> bool:
    """Whether the target holds nothing at all where these rows go."""
    time = pl.col(target.time)
    first = time.min() if window is None else pl.lit(window.start, dtype=UTC_US)
    last = time.max() if window is None else pl.lit(window.end, dtype=UTC_US)
    spans = rows.group_by(target.series).agg(first=first, last=last)
    found = connection.execute(
        sql.SQL(
            "SELECT EXISTS (SELECT FROM unnest({texts}, %s::{kind}[], %s::{kind}[]) AS s ({series}, first, last),"
            " LATERAL (SELECT FROM {table} t WHERE {same} AND t.{time} BETWEEN s.first AND s.last LIMIT 1) AS held)"
        ).format(
            texts=sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(target.series)),
            kind=sql.SQL("date" if target.time == "ex_date" else "timestamptz"),
            series=columns_of(target.series),
            table=table_name(target.name),
            same=_matching("t", "s", target.series),
            time=sql.Identifier(target.time),
        ),
        [spans[column].to_list() for column in (*target.series, "first", "last")],
    ).fetchone()
    assert found is not None
    return not found[0]


def all_days(target: Target, rows: pl.DataFrame) -> pl.DataFrame:
    """The changed days when every row was new."""
    at = pl.col(target.time).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if target.time == "timestamp":
        at = pl.col("timestamp")
    return (
        rows.lazy()
        .select("symbol", at=at)
        .group_by("symbol", pl.col("at").dt.date().alias("day"))
        .agg(
            first=pl.col("at").min(),
            last=pl.col("at").max(),
            inserted=pl.len().cast(pl.Int64),
            changed=pl.lit(0, dtype=pl.Int64),
            removed=pl.lit(0, dtype=pl.Int64),
        )
        .drop("day")
        .collect()
    )


def merge(
    connection: Connection, target: Target, stamped: pl.DataFrame, window: Window | None, at: datetime
) -> pl.DataFrame:
    """Stage rows and merge them; stored rows inside `window` that are not among them are removed.

    What is superseded or removed ends `at` the moment when the rows arrive.
    """
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(_INCOMING, table_name(target.name))
    )
    copy_in(connection, _INCOMING, stamped)
    connection.execute(sql.SQL("ANALYZE {}").format(_INCOMING))
    rows = connection.execute(_merge_statement(target, window, at)).fetchall()
    return pl.DataFrame(rows, schema=CHANGED_DAYS, orient="row")


def _merge_statement(target: Target, window: Window | None, at: datetime) -> sql.Composed:
    return sql.SQL(
        """
        WITH superseded AS (
            SELECT {stored_columns}, i.symbol IS NULL AS removed
            FROM {table} t {join} {incoming} i ON {same_key}
            WHERE {scope} AND (i.symbol IS NULL OR ({stored_values}) IS DISTINCT FROM ({incoming_values}))
        ), kept AS (
            INSERT INTO {history} ({columns}, superseded_at) SELECT {columns}, {superseded_at} FROM superseded
        ), deleted AS (
            DELETE FROM {table} t USING superseded i WHERE i.removed AND {same_key}
        ), written AS (
            INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM {incoming}
            ON CONFLICT ({key}) DO UPDATE SET {assignments}
            WHERE ({stored_values}) IS DISTINCT FROM ({excluded_values})
            RETURNING t.symbol, t.{time}, CASE WHEN xmax = 0 THEN 'inserted' ELSE 'changed' END AS what
        ), touched AS (
            SELECT symbol, {time}, what FROM written
            UNION ALL SELECT symbol, {time}, 'removed' FROM superseded WHERE removed
        )
        SELECT symbol, min({moment}), max({moment}), {counts} FROM touched GROUP BY symbol, ({moment})::date
        """
    ).format(
        table=table_name(target.name),
        history=table_name(f"{target.name}_history"),
        incoming=_INCOMING,
        columns=columns_of(target.every),
        superseded_at=sql.Literal(at),
        key=columns_of(target.key),
        stored_columns=columns_of(target.every, "t"),
        stored_values=columns_of(target.values, "t"),
        incoming_values=columns_of(target.values, "i"),
        excluded_values=columns_of(target.values, "excluded"),
        assignments=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in (*target.values, *_STAMPS)
        ),
        join=sql.SQL("JOIN" if window is None else "LEFT JOIN"),
        same_key=_matching("t", "i", target.key),
        scope=_scope(target, window),
        time=sql.Identifier(target.time),
        moment=target.moment,
        counts=sql.SQL(", ").join(
            sql.SQL("count(*) FILTER (WHERE what = {})").format(sql.Literal(what)) for what in _COUNTS
        ),
    )


def _scope(target: Target, window: Window | None) -> sql.Composable:
    """The stored rows that may be superseded: all that match, or all of the replaced window in the same series."""
    if window is None:
        return sql.SQL("true")
    return sql.SQL(
        "({}) IN (SELECT {} FROM incoming) AND t.source = {} AND t.timestamp >= {} AND t.timestamp < {}"
    ).format(
        columns_of(target.series, "t"),
        columns_of(target.series),
        *map(sql.Literal, (window.source, window.start, window.end)),
    )


def columns_of(names: tuple[str, ...], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, n) if alias else sql.Identifier(n) for n in names)


def _matching(left: str, right: str, names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, n), sql.Identifier(right, n)) for n in names
    )

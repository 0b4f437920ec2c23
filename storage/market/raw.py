"""Raw rows in: by key (upsert) or as whole symbol-days (replace), with their dirty windows in the same transaction.

Where the target holds nothing yet, rows go straight in by COPY. Elsewhere they are staged and merged by one
statement, which moves what it supersedes to the history and leaves unchanged rows alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

import polars as pl
from psycopg import sql

from storage.market.database import Connection, Database, copy_in, table_name
from storage.market.locks import lock_raw
from storage.market.merge import CHANGED_DAYS, Target, Window, all_days, is_vacant, merge
from transforms.schema import UTC_US, Dataset

_GAP = timedelta(days=4)
"""Changed days closer than this (a long weekend) share one dirty window."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did to the raw table, in rows, and how many dirty windows it left."""

    inserted: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    windows: int = 0

    def __add__(self, other: Self) -> "Written":
        return Written(
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.removed + other.removed,
            self.unchanged + other.unchanged,
            self.windows + other.windows,
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Valid rows of one dataset (its RAW schema) on their way in."""

    dataset: Dataset
    frame: pl.DataFrame
    price_basis: str
    market: str
    run_id: int


class RawStore:
    """The raw tables, written by ingest only."""

    def __init__(self, database: Database) -> None:
        """Write through `database`."""
        self._database = database

    def upsert(self, rows: Rows) -> Written:
        """Insert new rows, correct those whose values differ, leave the rest; one transaction."""
        if rows.frame.is_empty():
            return Written()
        with self._database.transaction(bulk=True) as connection:
            return _write(connection, rows, window=None)

    def replace(self, rows: Rows, time_zone: str) -> Iterator[Written]:
        """Swap whole symbol-days (dates of `time_zone`), each in a transaction of its own.

        The rows of a (symbol, source, day) are all there is: stored rows of that day that are not among them go to
        the history, and the source is recorded as covering the day.
        """
        day = pl.col("timestamp").dt.convert_time_zone(time_zone).dt.date()
        for (_, source, local_day), part in rows.frame.group_by(
            ["symbol", "source", day.alias("day")], maintain_order=True
        ):
            assert isinstance(local_day, date)
            window = Window(str(source), *_day_bounds(local_day, time_zone))
            swapped = Rows(rows.dataset, part.select(rows.frame.columns), rows.price_basis, rows.market, rows.run_id)
            with self._database.transaction(bulk=True) as connection:
                written = _write(connection, swapped, window)
            yield written

    def reject(self, rejected: pl.DataFrame, run_id: int, limit: int) -> int:
        """Store rejected rows once each, at most `limit` of them; how many were new."""
        if rejected.is_empty() or limit <= 0:
            return 0
        with self._database.transaction(bulk=True) as connection:
            connection.execute("CREATE TEMP TABLE refused (LIKE rejected_rows INCLUDING DEFAULTS) ON COMMIT DROP")
            kept = rejected.head(limit).with_columns(run_id=pl.lit(run_id, dtype=pl.Int64))
            copy_in(connection, sql.Identifier("refused"), kept)
            inserted = connection.execute("INSERT INTO rejected_rows SELECT * FROM refused ON CONFLICT DO NOTHING")
            return inserted.rowcount


def _day_bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    midnights = pl.Series([day, day + timedelta(days=1)]).cast(pl.Datetime("us")).dt.replace_time_zone(time_zone)
    start, end = midnights.dt.convert_time_zone("UTC").to_list()
    return start, end


def _write(connection: Connection, rows: Rows, window: Window | None) -> Written:
    target = Target.of(rows.dataset)
    symbols = rows.frame["symbol"].unique().sort().to_list()
    lock_raw(connection, rows.dataset, symbols)
    arrived_at = _now(connection)
    stamped = rows.frame.with_columns(
        pl.lit(rows.price_basis).alias("price_basis"),
        pl.lit(arrived_at, dtype=UTC_US).alias("arrived_at"),
        pl.lit(rows.run_id, dtype=pl.Int64).alias("run_id"),
    )
    connection.cursor().executemany(
        "INSERT INTO instruments (symbol, market) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [(symbol, rows.market) for symbol in symbols],
    )
    covered = None if window is None else _cover(connection, rows.dataset, window, symbols)
    if is_vacant(connection, target, rows.frame, window):
        copy_in(connection, table_name(target.name), stamped)
        days = all_days(target, rows.frame)
    else:
        days = merge(connection, target, stamped, window)
    reached = days if covered is None else pl.concat([days, covered])
    return _summed(rows, days) + Written(windows=_mark_dirty(connection, rows, reached))


def _now(connection: Connection) -> datetime:
    """The server's clock, read after the locks, so that arrival order is commit order."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0].astimezone(UTC)  # type: ignore[no-any-return]


def _cover(connection: Connection, dataset: Dataset, window: Window, symbols: list[str]) -> pl.DataFrame:
    """Record that a source is the whole truth about a window; answers with the changed days this makes.

    Where trades are newly covered, vendors' minutes no longer count, whether a trade changed or not.
    """
    new = connection.execute(
        "INSERT INTO coverage (symbol, dataset, source, starts_at, ends_at)"
        " SELECT symbol, %s, %s, %s, %s FROM unnest(%s::text[]) AS symbol"
        " ON CONFLICT (symbol, dataset, source, starts_at) DO UPDATE SET ends_at = excluded.ends_at"
        " WHERE coverage.ends_at <> excluded.ends_at RETURNING symbol",
        [dataset, window.source, window.start, window.end, symbols],
    ).fetchall()
    last = window.end - timedelta(microseconds=1)
    days = [(symbol, window.start, last, 0, 0, 0) for (symbol,) in new if dataset == "ticks"]
    return pl.DataFrame(days, schema=CHANGED_DAYS, orient="row")


def _summed(rows: Rows, days: pl.DataFrame) -> Written:
    inserted, changed, removed = (int(days[c].sum()) for c in ("inserted", "changed", "removed"))
    return Written(inserted, changed, removed, unchanged=rows.frame.height - inserted - changed)


def _mark_dirty(connection: Connection, rows: Rows, days: pl.DataFrame) -> int:
    """Append a dirty window for every run of changed days, due from its first row's moment on; how many.

    An action is due a day earlier: its date begins in the east, where the session may open the evening before in UTC.
    """
    early = timedelta(days=rows.dataset == "actions")
    windows = (
        days.sort("symbol", "first")
        .with_columns(
            run=(pl.col("first") - pl.col("last").shift(1) > _GAP).fill_null(value=True).cum_sum().over("symbol")
        )
        .group_by("symbol", "run", maintain_order=True)
        .agg(
            starts_at=pl.col("first").min(),
            ends_at=pl.col("last").max() + timedelta(microseconds=1),
            rows=pl.sum_horizontal("inserted", "changed", "removed").sum(),
        )
        .select(
            "symbol",
            pl.lit(rows.dataset).alias("dataset"),
            "starts_at",
            "ends_at",
            (pl.col("starts_at") - early).alias("due_at"),
            "rows",
            pl.lit(rows.run_id, dtype=pl.Int64).alias("run_id"),
        )
    )
    return copy_in(connection, table_name("dirty_windows"), windows)

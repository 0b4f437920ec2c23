"""Raw rows in: by key (upsert) or as whole symbol-days (replace), with their dirty windows in the same transaction.

Where the target holds nothing yet, rows go straight in by COPY. Elsewhere they are staged and merged by one
statement, which moves what it supersedes to the history and leaves unchanged rows alone. Rows that retention or a
rename closes are set aside in that transaction too (`refusals`), since only there it is known for sure.

All rows of a transaction arrive, and all that they supersede ends, at one reading of the clock, so that at any moment
a key has one row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Self

import polars as pl

from storage.market.database import Connection, Database, copy_in, table_name
from storage.market.locks import lock_raw
from storage.market.merge import CHANGED_DAYS, Target, Window, all_days, is_vacant, merge
from storage.market.refusals import Origin, Rejecter, Sieved, reject, sieve
from storage.market.windows import mark_dirty
from transforms.schema import UTC_US, Dataset


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did to the raw table, in rows, and how many dirty windows it left.

    `refused`: rows that were set aside because their time or their symbol is closed; `notes` say why.
    """

    inserted: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    windows: int = 0
    refused: int = 0
    notes: tuple[str, ...] = ()

    def __add__(self, other: Self) -> "Written":
        return Written(
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.removed + other.removed,
            self.unchanged + other.unchanged,
            self.windows + other.windows,
            self.refused + other.refused,
            tuple(dict.fromkeys((*self.notes, *other.notes))),
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Valid rows of one dataset on their way in.

    `frame`: its RAW schema and, where rows may be refused, `line`, their number in the file that `origin` names.
    """

    dataset: Dataset
    frame: pl.DataFrame
    price_basis: str
    market: str
    run_id: int
    origin: Origin = Origin()


class RawStore:
    """The raw tables, written by ingest."""

    def __init__(self, database: Database, rejected: Rejecter) -> None:
        """Write through `database`; `rejected` makes rejected rows of those that are refused."""
        self._database = database
        self._rejected = rejected

    def upsert(self, rows: Rows) -> Written:
        """Insert new rows, correct those whose values differ, leave the rest; one transaction."""
        if rows.frame.is_empty():
            return Written()
        with self._database.transaction(bulk=True) as connection:
            return _write(connection, rows, None, self._rejected)

    def replace(self, rows: Rows, time_zone: str) -> Iterator[Written]:
        """Swap whole symbol-days (dates of `time_zone`), each in a transaction of its own.

        The rows of a (symbol, source, day) are all there is: stored rows of that day that are not among them go to
        the history, and the source is recorded as covering the day.
        """
        origin = rows.origin
        day = pl.col("timestamp").dt.convert_time_zone(time_zone).dt.date()
        for (_, source, local_day), part in rows.frame.group_by(
            ["symbol", "source", day.alias("day")], maintain_order=True
        ):
            assert isinstance(local_day, date)
            window = Window(str(source), *_day_bounds(local_day, time_zone))
            swapped = replace(rows, frame=part.select(rows.frame.columns), origin=origin)
            with self._database.transaction(bulk=True) as connection:
                written = _write(connection, swapped, window, self._rejected)
            origin = replace(origin, room=max(0, origin.room - written.refused))
            yield written

    def reject(self, rejected: pl.DataFrame, run_id: int, limit: int) -> int:
        """Store rejected rows once each, at most `limit` of them; how many were new."""
        if rejected.is_empty() or limit <= 0:
            return 0
        with self._database.transaction(bulk=True) as connection:
            return reject(connection, rejected.head(limit), run_id)


def _day_bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    midnights = pl.Series([day, day + timedelta(days=1)]).cast(pl.Datetime("us")).dt.replace_time_zone(time_zone)
    start, end = midnights.dt.convert_time_zone("UTC").to_list()
    return start, end


def _write(connection: Connection, rows: Rows, window: Window | None, rejected: Rejecter) -> Written:
    symbols = rows.frame["symbol"].unique().sort().to_list()
    lock_raw(connection, rows.dataset, symbols)
    arrived_at = now(connection)
    connection.cursor().executemany(
        "INSERT INTO instruments (symbol, market) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [(symbol, rows.market) for symbol in symbols],
    )
    sieved = sieve(connection, rows.dataset, rows.frame, window)
    days, unchanged = _stored(connection, rows, sieved, arrived_at)
    windows = mark_dirty(connection, rows.dataset, days, rows.run_id)
    if not sieved.refused.is_empty():
        refused = rejected(rows.dataset, sieved.refused.drop("rule"), sieved.refused["rule"])
        reject(connection, rows.origin.of(refused), rows.run_id)
    inserted, changed, removed = (int(days[c].sum()) for c in ("inserted", "changed", "removed"))
    return Written(inserted, changed, removed, unchanged, windows, sieved.refused.height, sieved.notes)


def _stored(connection: Connection, rows: Rows, sieved: Sieved, arrived_at: datetime) -> tuple[pl.DataFrame, int]:
    """Write the rows that are let in; the changed days and how many rows were there already."""
    frame, window = sieved.frame, sieved.window
    if frame.is_empty():
        return pl.DataFrame(schema=CHANGED_DAYS), 0
    target = Target.of(rows.dataset)
    stamped = frame.with_columns(
        pl.lit(rows.price_basis).alias("price_basis"),
        pl.lit(arrived_at, dtype=UTC_US).alias("arrived_at"),
        pl.lit(rows.run_id, dtype=pl.Int64).alias("run_id"),
    )
    if is_vacant(connection, target, frame, window):
        copy_in(connection, table_name(target.name), stamped)
        days = all_days(target, frame)
    else:
        days = merge(connection, target, stamped, window, arrived_at)
    unchanged = frame.height - int(days["inserted"].sum()) - int(days["changed"].sum())
    if window is not None:
        days = pl.concat([days, _cover(connection, rows.dataset, window, frame["symbol"][0], arrived_at)])
    return days, unchanged


def now(connection: Connection) -> datetime:
    """The server's clock, read after the locks, so that arrival order is commit order."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0].astimezone(UTC)  # type: ignore[no-any-return]


def _cover(connection: Connection, dataset: Dataset, window: Window, symbol: str, arrived_at: datetime) -> pl.DataFrame:
    """Record that a source is the whole truth about a window; answers with the changed days this makes.

    Where trades are newly covered, or no longer, vendors' minutes count no longer, or again, whether a trade changed
    or not. A window told before with another end moves to the history.
    """
    row = connection.execute(
        """
        WITH old AS (
            SELECT * FROM coverage WHERE symbol = %(symbol)s AND dataset = %(dataset)s AND source = %(source)s
                AND starts_at = %(start)s
        ), kept AS (
            INSERT INTO coverage_history (symbol, dataset, source, starts_at, ends_at, arrived_at, superseded_at)
            SELECT symbol, dataset, source, starts_at, ends_at, arrived_at, %(at)s FROM old WHERE ends_at <> %(end)s
        ), told AS (
            INSERT INTO coverage AS c (symbol, dataset, source, starts_at, ends_at, arrived_at)
            VALUES (%(symbol)s, %(dataset)s, %(source)s, %(start)s, %(end)s, %(at)s)
            ON CONFLICT (symbol, dataset, source, starts_at) DO UPDATE
            SET ends_at = excluded.ends_at, arrived_at = excluded.arrived_at WHERE c.ends_at <> excluded.ends_at
            RETURNING ends_at
        )
        SELECT greatest(told.ends_at, (SELECT ends_at FROM old)) FROM told
        """,
        {
            "symbol": symbol,
            "dataset": dataset,
            "source": window.source,
            "start": window.start,
            "end": window.end,
            "at": arrived_at,
        },
    ).fetchone()
    if row is None or dataset != "ticks":
        return pl.DataFrame(schema=CHANGED_DAYS)
    return covered_days([(symbol, window.start, row[0])])


def covered_days(stretches: list[tuple[str, datetime, datetime]]) -> pl.DataFrame:
    """The changed days that a change of coverage makes: symbol, start and end of each stretch."""
    days = [(symbol, start, end - timedelta(microseconds=1), 0, 0, 0) for symbol, start, end in stretches]
    return pl.DataFrame(days, schema=CHANGED_DAYS, orient="row")

"""Under which settings derived rows were computed, and the dirty windows that a changed setting opens.

A change is applied in two transactions. The first announces it: from then on a refresh under other settings finds that
it is outdated, in its own transaction after it selected its windows (`confirm`), and gives up. The second opens the
windows. Between the two lies every raw row that a refresh under the old settings may still be working on: it was
committed before the announcement, so the second transaction sees it. A process that dies between the two leaves the
announcement with what was in force before it (`since`), and the next refresh opens the windows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import orjson
import polars as pl
from psycopg import sql

from storage.market.database import Connection, Database, copy_in, table_name
from storage.market.locks import lock_settings
from transforms.errors import ConfigurationError
from transforms.schema import MARKET_SYMBOL, UTC_US

Chosen = Mapping[str, Any]
"""Settings by name, in plain JSON types."""

_SPAN: Final = pl.Schema({"symbol": pl.String(), "lo": UTC_US, "hi": UTC_US})
_COUNT: Final = pl.Schema({"symbol": pl.String(), "year": pl.Int32(), "rows": pl.Int64()})
_SAMPLED: Final = 1_000_000
"""About how many rows of a table are counted; of a larger one a sample of its pages."""
_JUST_AFTER: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Mark:
    """Dirty windows to open: of `dataset`, for every symbol that has rows in one of the tables.

    They span the symbol's rows of `counted` and `beside`; `counted` also says how many rows to expect, and without it
    a window has no length. `margin`: so much more on either side. `by_year`: a window a calendar year. `market`: of
    the market's own symbol and no other.
    """

    dataset: str
    counted: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    margin: timedelta = timedelta(0)
    by_year: bool = False
    market: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What is recorded of one derived dataset; `since`: what was in force before, until its windows are open."""

    dataset: str
    now: Chosen
    since: Chosen | None
    applied_at: datetime

    @property
    def computed_under(self) -> Chosen:
        """The settings that stored rows and open windows together speak of."""
        return self.now if self.since is None else self.since


Decide = Callable[[str, Chosen, Chosen], Iterable[Mark]]
"""Which windows a dataset needs whose settings were the first and are now the second."""


class AppliedSettings:
    """The table `applied_settings`."""

    def __init__(self, database: Database) -> None:
        """Record in `database`."""
        self._database = database
        self._last: Mapping[str, str] | None = None

    def stored(self) -> dict[str, Applied]:
        """What is recorded, by dataset."""
        with self._database.transaction() as connection:
            return _stored(connection)

    def apply(self, wanted: Mapping[str, Chosen], decide: Decide, as_of: datetime, run_id: int) -> int:
        """Record the wanted settings and open the windows that the change asks for, due at `as_of`; how many.

        What is not recorded yet is recorded without a window: nothing says under which settings its rows were made.
        """
        with self._database.transaction() as connection:
            lock_settings(connection)
            stored = _stored(connection)
            self._not_outdated(wanted, stored)
            _announce(connection, wanted, stored)
        with self._database.transaction(bulk=True) as connection:
            lock_settings(connection)
            windows = _open_windows(connection, decide, as_of, run_id)
        self.remember(wanted)
        return windows

    def remember(self, wanted: Mapping[str, Chosen]) -> None:
        """Note that these settings are in force: whoever applies others later makes this process outdated."""
        self._last = fingerprints(wanted)

    def confirm(self, connection: Connection, wanted: Mapping[str, Chosen]) -> None:
        """Raise `ConfigurationError` where other settings than `wanted` are in force.

        To be asked in the transaction of a claim, after its windows were selected: those of a change are then seen
        together with the change.
        """
        mine = fingerprints(wanted)
        for dataset, fingerprint, marking in connection.execute(_STANDING).fetchall():
            if mine.get(dataset, fingerprint) != fingerprint or marking:
                raise ConfigurationError(_OUTDATED.format(dataset))

    def reached(self, marks: Sequence[Mark]) -> int:
        """How many symbols the windows of these marks would be of; the market is none."""
        with self._database.transaction() as connection:
            symbols = {
                symbol
                for mark in marks
                if not mark.market
                for symbol in _spans(connection, mark, datetime.now(UTC))["symbol"]
            }
        return len(symbols)

    def _not_outdated(self, wanted: Mapping[str, Chosen], stored: Mapping[str, Applied]) -> None:
        """A process that goes on under its old settings must not undo what a newer one applied."""
        mine = fingerprints(wanted)
        if mine != self._last:
            return
        for dataset, applied in stored.items():
            if mine.get(dataset) not in {None, fingerprint(applied.now)}:
                raise ConfigurationError(_OUTDATED.format(dataset))


_STANDING: Final = "SELECT dataset, fingerprint, chosen ? 'since' FROM applied_settings"
_OUTDATED: Final = (
    "another process applied other settings of {} since this one started; restart this one, so that it reads the"
    " settings in force, and have every process of this database use the same (warmbars status shows what differs)"
)


def fingerprint(chosen: Chosen) -> str:
    """The same for the same settings."""
    return sha256(orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def fingerprints(wanted: Mapping[str, Chosen]) -> dict[str, str]:
    """The fingerprint of every dataset's settings."""
    return {dataset: fingerprint(chosen) for dataset, chosen in wanted.items()}


def remove_rows(connection: Connection, symbols: Sequence[str], tables: Sequence[str]) -> dict[str, int]:
    """Delete every row that these symbols have in some tables; rows by table, where there were any."""
    removed = {
        table: connection.execute(
            sql.SQL("DELETE FROM {} WHERE symbol = ANY(%s)").format(table_name(table)), [list(symbols)]
        ).rowcount
        for table in tables
    }
    return {table: rows for table, rows in removed.items() if rows}


def _stored(connection: Connection) -> dict[str, Applied]:
    rows = connection.execute("SELECT dataset, chosen, applied_at FROM applied_settings").fetchall()
    return {dataset: Applied(dataset, chosen["now"], chosen.get("since"), at) for dataset, chosen, at in rows}


def _announce(connection: Connection, wanted: Mapping[str, Chosen], stored: Mapping[str, Applied]) -> None:
    """Record the wanted settings; where rows were computed under others, with those beside them."""
    for dataset, now in wanted.items():
        before = stored.get(dataset)
        if before is not None and before.now == now:
            continue
        chosen = {"now": now}
        if before is not None and before.computed_under != now:
            chosen["since"] = before.computed_under
        connection.execute(
            "INSERT INTO applied_settings (dataset, fingerprint, chosen, applied_at)"
            " VALUES (%s, %s, %s, clock_timestamp()) ON CONFLICT (dataset) DO UPDATE SET"
            " fingerprint = excluded.fingerprint, chosen = excluded.chosen, applied_at = excluded.applied_at",
            [dataset, fingerprint(now), orjson.dumps(chosen).decode()],
        )


def _open_windows(connection: Connection, decide: Decide, as_of: datetime, run_id: int) -> int:
    """Append the dirty windows of every announced change, and say that they are there."""
    announced = [applied for applied in _stored(connection).values() if applied.since is not None]
    marks = {
        mark: None for applied in announced for mark in decide(applied.dataset, applied.computed_under, applied.now)
    }
    opened = 0
    for mark in marks:
        windows = _windows(connection, mark, as_of).select(
            "symbol",
            pl.lit(mark.dataset).alias("dataset"),
            "starts_at",
            "ends_at",
            pl.lit(as_of, UTC_US).alias("due_at"),
            "rows",
            pl.lit(run_id, pl.Int64).alias("run_id"),
        )
        opened += copy_in(connection, table_name("dirty_windows"), windows)
    connection.execute("UPDATE applied_settings SET chosen = chosen - 'since' WHERE chosen ? 'since'")
    return opened


def _windows(connection: Connection, mark: Mark, as_of: datetime) -> pl.DataFrame:
    """symbol, starts_at, ends_at and rows of a mark's windows."""
    spans = _spans(connection, mark, as_of)
    if not mark.counted:
        now = pl.lit(as_of, UTC_US)
        return spans.select("symbol", starts_at=now, ends_at=now, rows=pl.lit(0, pl.Int64))
    year = pl.col("year")
    years = spans.with_columns(year=pl.int_ranges(pl.col("lo").dt.year(), pl.col("hi").dt.year() + 1)).explode("year")
    first, last = (pl.datetime(at, 1, 1, time_zone="UTC").cast(UTC_US) for at in (year, year + 1))
    counts = pl.concat([_counts(connection, table) for table in mark.counted])
    windows = (
        years.with_columns(year.cast(pl.Int32))
        .join(counts.group_by("symbol", "year").agg(pl.col("rows").sum()), on=["symbol", "year"], how="left")
        .select(
            "symbol",
            starts_at=pl.max_horizontal("lo", first),
            ends_at=pl.min_horizontal(pl.col("hi") + _JUST_AFTER, last),
            rows=pl.col("rows").fill_null(0),
        )
        .sort("symbol", "starts_at")
    )
    if mark.by_year:
        return windows
    return windows.group_by("symbol", maintain_order=True).agg(
        pl.col("starts_at").min(), pl.col("ends_at").max(), pl.col("rows").sum()
    )


def _spans(connection: Connection, mark: Mark, as_of: datetime) -> pl.DataFrame:
    """The first and the last moment of each symbol's rows in the tables of a mark (_SPAN)."""
    if mark.market:
        return pl.DataFrame([(MARKET_SYMBOL, as_of, as_of)], schema=_SPAN, orient="row")
    found = [
        pl.DataFrame(connection.execute(_bounds(table)).fetchall(), schema=_SPAN, orient="row")
        for table in (*mark.counted, *mark.beside)
    ]
    lo, hi = pl.col("lo").min() - mark.margin, pl.col("hi").max() + mark.margin
    return pl.concat(found).group_by("symbol").agg(lo, hi).sort("symbol")


def _bounds(table: str) -> sql.Composed:
    """First and last moment of each symbol's rows: two looks into the key's index."""
    end = (
        "(SELECT {at} AS at FROM {table} t WHERE t.symbol = i.symbol{more} ORDER BY t.{time} {order} LIMIT 1) AS {name}"
    )
    vendor = table == "stock_data"  # its key has the granularity before the time
    time = "ex_date" if table == "corporate_actions" else "timestamp"
    at = sql.SQL("t.{}::timestamp AT TIME ZONE 'UTC'" if time == "ex_date" else "t.{}").format(sql.Identifier(time))
    more = sql.SQL(" AND t.granularity = g.granularity" if vendor else "")
    sides = [
        sql.SQL(end).format(
            at=at,
            table=table_name(table),
            more=more,
            time=sql.Identifier(time),
            order=sql.SQL(order),
            name=sql.Identifier(name),
        )
        for name, order in (("lo", ""), ("hi", "DESC"))
    ]
    each = sql.SQL(", (VALUES ('1m'), ('1h'), ('1d')) AS g (granularity)" if vendor else "")
    return sql.SQL("SELECT i.symbol, lo.at, hi.at FROM instruments i{}, LATERAL {}, LATERAL {}").format(each, *sides)


def _counts(connection: Connection, table: str) -> pl.DataFrame:
    """About how many rows each symbol has in each calendar year (_COUNT)."""
    row = connection.execute(
        "SELECT greatest(reltuples, pg_stat_get_live_tuples(oid), 1) FROM pg_class WHERE oid = %s::regclass",
        [table_name(table).as_string()],
    ).fetchone()
    assert row is not None
    percent = min(100.0, 100.0 * _SAMPLED / row[0])
    time = sql.Identifier("ex_date" if table == "corporate_actions" else "timestamp")
    rows = connection.execute(
        sql.SQL(
            "SELECT symbol, extract(year FROM {time})::int, (count(*) * {share})::bigint"
            " FROM {table} TABLESAMPLE SYSTEM ({percent}) GROUP BY 1, 2"
        ).format(time=time, share=100.0 / percent, table=table_name(table), percent=percent)
    ).fetchall()
    return pl.DataFrame(rows, schema=_COUNT, orient="row")

"""What the market store holds and what is waiting in it, for people who ask how things are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, LiteralString

from psycopg import sql

from storage.market.database import Database, table_name
from storage.market.tables import RAW_TABLES
from transforms.schema import INTERVALS, MARKET_SYMBOL

COUNTED = 1_000_000
"""Tables estimated larger than this are not counted but estimated."""

_GRANULARITIES = ("1m", "1h", "1d")


@dataclass(frozen=True, slots=True)
class Holding:
    """One dataset: its rows (None: too many to count; `estimated`), symbols with rows, and the newest row's time."""

    name: str
    rows: int | None
    estimated: bool
    symbols: int
    newest: datetime | date | None


@dataclass(frozen=True, slots=True)
class Dirty:
    """Dirty windows: all, those due, how many symbols those are of, and when the next one falls due.

    `datasets`: how many are due by dataset; a raw one changed, a computed one is to be made again.
    """

    windows: int
    due: int
    due_symbols: int
    next_due: datetime | None
    datasets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Symbols whose newest version the cache was not given, and the oldest as-of among them."""

    symbols: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rejected rows kept, by dataset and rule."""

    dataset: str
    rule: str
    rows: int


class StatusStore:
    """Reads only, each in a transaction of its own: the answers need not be of one moment."""

    def __init__(self, database: Database) -> None:
        """Ask `database`."""
        self._database = database

    def raw(self) -> list[Holding]:
        """The raw tables, bars by granularity."""
        holdings = []
        for dataset, table in RAW_TABLES.items():
            time = "ex_date" if dataset == "actions" else "timestamp"
            if dataset == "bars":
                holdings += [self._holding(f"bars {g}", [table.name], time, g) for g in _GRANULARITIES]
            else:
                holdings.append(self._holding(dataset, [table.name], time))
        return holdings

    def derived(self, intervals: tuple[str, ...] = INTERVALS) -> list[Holding]:
        """Bars, indicators, sentiment, correlations and forecasts; bars of an interval are its rollup and its fill."""
        coarse = [interval for interval in intervals if interval != "1m"]
        return [
            self._holding("bars 1m", ["bars_1m"]),
            *(self._holding(f"bars {i}", [f"bars_{i}_rollup", f"bars_{i}_fill"]) for i in coarse),
            *(self._holding(f"indicators {i}", [f"indicators_{i}"]) for i in coarse),
            *(self._holding(f"sentiment {i}", [f"sentiment_{i}"]) for i in ("1h", "1d")),
            self._holding("correlations", ["correlations"], "session"),
            self._holding("rolling correlations", ["rolling_correlations"]),
            self._holding("forecasts", ["forecasts"], "made_from"),
        ]

    def symbols(self) -> dict[str, int]:
        """How many symbols each market has; without those that have another name now."""
        rows = self._rows(
            "SELECT market, count(*) FROM instruments WHERE symbol <> %s AND renamed_to IS NULL GROUP BY 1 ORDER BY 1",
            [MARKET_SYMBOL],
        )
        return dict(rows)

    def dirty(self, as_of: datetime) -> Dirty:
        """What the next refresh has to do, and when there will be more."""
        (row,) = self._rows(
            "SELECT count(*), count(*) FILTER (WHERE due_at <= %(at)s),"
            " count(DISTINCT symbol) FILTER (WHERE due_at <= %(at)s),"
            " min(due_at) FILTER (WHERE due_at > %(at)s) FROM dirty_windows",
            {"at": as_of},
        )
        datasets = self._rows(
            "SELECT dataset, count(*) FROM dirty_windows WHERE due_at <= %s GROUP BY 1 ORDER BY 2 DESC, 1", [as_of]
        )
        return Dirty(row[0], row[1], row[2], row[3], dict(datasets))

    def unpublished(self) -> Unpublished:
        """What the next publish has to send."""
        (row,) = self._rows(
            "SELECT count(*), min(as_of) FROM publications"
            " WHERE (published_epoch, published_version) < (epoch, version)"
        )
        return Unpublished(*row)

    def rejected(self) -> list[Rejected]:
        """What was set aside, most frequent first."""
        rows = self._rows("SELECT dataset, rule, count(*) FROM rejected_rows GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2")
        return [Rejected(*row) for row in rows]

    def _holding(
        self, name: str, tables: list[str], time: str = "timestamp", granularity: str | None = None
    ) -> Holding:
        rows, estimated = self._size(tables, granularity)
        newest = [self._newest(table, time, granularity) for table in tables]
        times = [at for _, at in newest if at is not None]
        return Holding(name, rows, estimated, max(n for n, _ in newest), max(times, default=None))

    def _size(self, tables: list[str], granularity: str | None) -> tuple[int | None, bool]:
        """Rows of some tables together: counted when they are few, else the planner's or the statistics' estimate."""
        names = [f"{table_name(table).as_string()}" for table in tables]
        (row,) = self._rows(
            "SELECT sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0))::bigint FROM pg_class c"
            " WHERE c.oid = ANY(%s::regclass[])",
            [names],
        )
        if row[0] > COUNTED:
            return (None if granularity else int(row[0])), True
        return sum(self._count(table, granularity) for table in tables), False

    def _count(self, table: str, granularity: str | None) -> int:
        where = _where(granularity)
        (row,) = self._rows(sql.SQL("SELECT count(*) FROM {} t{}").format(table_name(table), where))
        return int(row[0])

    def _newest(self, table: str, time: str, granularity: str | None) -> tuple[int, datetime | date | None]:
        """Symbols with rows and the newest time: one look into the key's index a symbol, whatever the size."""
        query = sql.SQL(
            "SELECT count(n.at), max(n.at) FROM instruments i, LATERAL (SELECT t.{time} AS at FROM {table} t"
            "{where} t.symbol = i.symbol ORDER BY t.{time} DESC LIMIT 1) AS n"
        ).format(
            time=sql.Identifier(time),
            table=table_name(table),
            where=sql.SQL("{} AND").format(_where(granularity)) if granularity else sql.SQL(" WHERE"),
        )
        (row,) = self._rows(query)
        return row[0], row[1]

    def _rows(self, query: LiteralString | sql.Composed, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self._database.transaction() as connection:
            return connection.execute(query, parameters).fetchall()


def _where(granularity: str | None) -> sql.Composable:
    return sql.SQL(" WHERE t.granularity = {}").format(sql.Literal(granularity)) if granularity else sql.SQL("")

"""What is known of symbols: their names, and from when to when they are traded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, LiteralString

from psycopg import sql

from storage.market.columns import COARSE
from storage.market.database import Connection, Database, statement, table_name
from storage.market.horizons import BEGINNING, Spans, spans_of
from storage.market.locks import RAW_ORDER, lock_raw, try_derived
from storage.market.merge import Target
from storage.market.tables import RAW_TABLES
from storage.market.windows import open_market
from transforms.errors import PermanentError, TransientError, UnknownSymbol
from transforms.schema import MARKET_SYMBOL, is_symbol

_OF_PRICES: Final = (
    "bars_1m",
    *(f"bars_{interval}_{kind}" for interval in COARSE for kind in ("rollup", "fill")),
    *(f"indicators_{interval}" for interval in COARSE),
    "rolling_correlations",
    "quotes",
)
"""Tables whose rows were computed of prices, and carry the time they are of."""
_OF_SENTIMENT: Final = ("sentiment_1h", "sentiment_1d")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol, the calendar it trades by, the first and last date it is traded (None: not known), its new name."""

    symbol: str
    market: str
    currency: str | None
    active_from: date | None
    active_to: date | None
    renamed_to: str | None


@dataclass(frozen=True, slots=True)
class Renamed:
    """What a rename moved: raw rows by dataset, and derived rows that nothing could compute again.

    `windows`: dirty windows that it left.
    """

    old: str
    new: str
    rows: Mapping[str, int]
    derived: int
    windows: int


class InstrumentStore:
    """The table `instruments`, and the rename of a symbol."""

    def __init__(self, database: Database) -> None:
        """Read and write through `database`."""
        self._database = database

    def all(self) -> list[Instrument]:
        """Every symbol that was ever ingested, in order."""
        with self._database.transaction() as connection:
            return _instruments(connection, "symbol <> %s", MARKET_SYMBOL)

    def get(self, symbol: str) -> Instrument | None:
        """One symbol; None when it was never ingested."""
        with self._database.transaction() as connection:
            return next(iter(_instruments(connection, "symbol = %s", symbol)), None)

    def holdings(self, symbol: str) -> dict[str, int]:
        """Raw rows of a symbol by dataset."""
        with self._database.transaction(bulk=True) as connection:
            return {dataset: _count(connection, table.name, symbol) for dataset, table in RAW_TABLES.items()}

    def set_active(
        self, symbol: str, active_from: date | None, active_to: date | None, at: datetime, run_id: int
    ) -> Instrument:
        """Say from which to which date, both included, a symbol is traded; None: not known.

        The board and the catalogue are made again now, and the board once more when the last day is over.
        """
        if active_from is not None and active_to is not None and active_from > active_to:
            raise PermanentError(f"{symbol} cannot be traded from {active_from} to {active_to}: that is no day")
        with self._database.transaction() as connection:
            before = _known(connection, symbol)
            connection.execute(
                "UPDATE instruments SET active_from = %s, active_to = %s WHERE symbol = %s",
                [active_from, active_to, symbol],
            )
            if (active_from, active_to) != (before.active_from, before.active_to):
                open_market(connection, ["quotes"], at, run_id)
            over = None if active_to is None else datetime.combine(active_to + _DAY, time(), UTC)
            if over is not None and over > at:
                open_market(connection, ["quotes"], over, run_id)
            return _known(connection, symbol)

    def reopen(self, symbol: str) -> Instrument:
        """Let a renamed symbol be one of its own again: rows under it are let in. What was renamed stays."""
        with self._database.transaction() as connection:
            before = _known(connection, symbol)
            if before.renamed_to is None:
                raise PermanentError(f"{symbol} was not renamed; rows under it are let in")
            connection.execute("UPDATE instruments SET renamed_to = NULL WHERE symbol = %s", [symbol])
            return _known(connection, symbol)

    def check_rename(self, old: str, new: str) -> None:
        """Raise `PermanentError` where `rename` would."""
        with self._database.transaction(bulk=True) as connection:
            _check(connection, old, new)

    def rename(self, old: str, new: str, at: datetime, run_id: int) -> Renamed:
        """Make all raw rows, coverage and histories of `old` those of `new`, in one transaction.

        Everything that `old` had is dirty for both. Where raw rows have expired, what was computed of them is moved.
        Raises `PermanentError` where `new` has anything of its own, `TransientError` while either is refreshed.
        """
        with self._database.transaction(bulk=True) as connection:
            if set(try_derived(connection, [old, new])) != {old, new}:
                raise TransientError(f"{old} or {new} is being refreshed at this moment; try again")
            for dataset in RAW_ORDER:
                lock_raw(connection, dataset, [old, new])
            _check(connection, old, new)
            frozen = spans_of(connection, [old])
            windows = _mark_both(connection, old, new, run_id)
            _take_over(connection, old, new)
            rows = {dataset: _move(connection, table.name, old, new) for dataset, table in RAW_TABLES.items()}
            for table in (*(f"{table.name}_history" for table in RAW_TABLES.values()), "coverage", "coverage_history"):
                _move(connection, table, old, new)
            derived = _move_expired(connection, old, new, frozen)
            again = ("keys", "indicators", "correlations") if derived else ("keys",)
            windows += _mark_derived(connection, [old, new], again, at, run_id)
            open_market(connection, ["quotes", *(["correlations", "returns"] if derived else [])], at, run_id)
        return Renamed(old, new, rows, derived, windows)


def _instruments(connection: Connection, condition: LiteralString, symbol: str) -> list[Instrument]:
    rows = connection.execute(
        "SELECT symbol, market, currency, active_from, active_to, renamed_to FROM instruments WHERE "
        f"{condition} ORDER BY symbol",
        [symbol],
    )
    return [Instrument(*row) for row in rows]


def _known(connection: Connection, symbol: str) -> Instrument:
    found = _instruments(connection, "symbol = %s", symbol)
    if not found or symbol == MARKET_SYMBOL:
        raise UnknownSymbol(f"no row of {symbol} was ever ingested; see: warmbars symbol list")
    return found[0]


def _check(connection: Connection, old: str, new: str) -> None:
    """Refuse a rename that is none, or that would mix two symbols' rows."""
    if old == new:
        raise PermanentError(f"{old} has this name already")
    if not is_symbol(new):
        raise PermanentError(
            f"{new!r} cannot be a symbol: up to 32 letters, digits and the characters . ^ = / _ + & -, the first a"
            " letter, a digit or ^"
        )
    before = _known(connection, old)
    if before.renamed_to is not None:
        raise PermanentError(f"{old} was renamed to {before.renamed_to} already; rename that one")
    other = next(iter(_instruments(connection, "symbol = %s", new)), None)
    if other is not None and other.renamed_to not in (None, old):
        raise PermanentError(
            f"{new} was renamed to {other.renamed_to}; to make it a symbol again: warmbars symbol reopen {new}"
        )
    tables = [*(table.name for table in RAW_TABLES.values()), "coverage", *_OF_PRICES, *_OF_SENTIMENT]
    held = [table for table in tables if _count(connection, table, new)]
    if held:
        raise PermanentError(
            f"{new} has rows of its own (in {', '.join(held)}), which a rename would mix with those of {old}; delete"
            f" them and refresh first, or choose another name (see: warmbars delete --help)"
        )
    if not any(_count(connection, table, old) for table in tables):
        raise PermanentError(f"there is nothing of {old} to rename")


def _count(connection: Connection, table: str, symbol: str) -> int:
    row = connection.execute(
        statement("SELECT count(*) FROM {table} WHERE symbol = {symbol}", table=table_name(table), symbol=symbol)
    ).fetchone()
    assert row is not None
    return int(row[0])


def _move(connection: Connection, table: str, old: str, new: str, inside: sql.Composable | None = None) -> int:
    """Give rows of one symbol to another; how many."""
    return connection.execute(
        statement(
            "UPDATE {table} SET symbol = {new} WHERE symbol = {old} AND {inside}",
            table=table_name(table),
            old=old,
            new=new,
            inside=inside or sql.SQL("true"),
        )
    ).rowcount


def _move_expired(connection: Connection, old: str, new: str, frozen: Spans) -> int:
    """Give what no raw row speaks of any more to the new name: rows computed where raw rows expired, and forecasts."""
    moved = 0
    for kind, tables in (("prices", _OF_PRICES), ("scores", _OF_SENTIMENT)):
        for lo, hi in frozen.get(kind, {}).get(old, []):
            inside = statement("timestamp >= {lo} AND timestamp < {hi}", lo=lo, hi=hi)
            moved += sum(_move(connection, table, old, new, inside) for table in tables)
    for table in ("forecasts", "forecast_inputs"):
        connection.execute(statement("DELETE FROM {table} WHERE symbol = {new}", table=table_name(table), new=new))
        _move(connection, table, old, new)
    return moved


def _take_over(connection: Connection, old: str, new: str) -> None:
    """Say that the new name is what the old one was; earlier names of the old one lead to the new one too."""
    connection.execute(
        "INSERT INTO instruments (symbol, market, currency, active_from, active_to)"
        " SELECT %(new)s, market, currency, active_from, active_to FROM instruments WHERE symbol = %(old)s"
        " ON CONFLICT (symbol) DO UPDATE SET market = excluded.market, currency = excluded.currency,"
        " active_from = excluded.active_from, active_to = excluded.active_to, renamed_to = NULL",
        {"old": old, "new": new},
    )
    connection.execute(
        "UPDATE instruments SET renamed_to = %(new)s"
        " WHERE symbol = %(old)s OR (renamed_to = %(old)s AND symbol <> %(new)s)",
        {"old": old, "new": new},
    )


def _mark_both(connection: Connection, old: str, new: str, run_id: int) -> int:
    """A dirty window a dataset and year of the old symbol's rows, for either name; how many."""
    windows = 0
    for dataset in RAW_ORDER:
        target = Target.of(dataset)
        marked = connection.execute(
            statement(
                "WITH years AS (SELECT min({moment}) AS first, max({moment}) AS last, count(*) AS rows FROM {table}"
                "  WHERE symbol = {old} GROUP BY date_trunc('year', {moment}))"
                " INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
                " SELECT s.symbol, {dataset}, first, last + interval '1 microsecond', first - {early}::interval,"
                "  CASE WHEN s.symbol = {new} THEN rows ELSE 0 END, {run_id}"
                " FROM years CROSS JOIN (VALUES ({old}), ({new})) AS s (symbol)",
                moment=target.moment,
                table=table_name(target.name),
                old=old,
                new=new,
                dataset=dataset,
                early="1 day" if dataset == "actions" else "0",
                run_id=run_id,
            )
        )
        windows += marked.rowcount
    return windows


def _mark_derived(
    connection: Connection, symbols: Sequence[str], datasets: Sequence[str], at: datetime, run_id: int
) -> int:
    """Have keys made, and what depends on rows that were moved computed again, though no raw row says so."""
    return connection.execute(
        "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
        " SELECT symbol, dataset, %(start)s, %(at)s, %(at)s, 0, %(run)s"
        " FROM unnest(%(symbols)s::text[]) AS symbol, unnest(%(datasets)s::text[]) AS dataset",
        {"start": BEGINNING, "at": at, "run": run_id, "symbols": list(symbols), "datasets": list(datasets)},
    ).rowcount

"""Bars computed by the database in plain SQL: a second opinion on what `transforms` makes of trades and minutes.

Nothing here is derived from the Polars code: hours that count, buckets, breaks, half days and the closing auction are
written down again, over the table `sessions`. First and last mean by (timestamp, sequence). Volume is summed in that
order; where a closing auction is added, Polars sums its trades apart, so that volumes may differ in their last bits,
unless sizes are whole numbers.

Not covered, and left out by `from_ticks`: sessions with trades of several sources, of which settings choose one, and
those with vendors' minutes, unless a source of trades declared that it covers the whole day.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
from psycopg import sql

from storage.market.database import Snapshot, statement, table_name
from storage.settings import Settings
from transforms.schema import BARS, INTRADAY_MINUTES, Interval

_DAYS: Final = sql.SQL(
    "days AS MATERIALIZED (SELECT session, open, close, break_start, break_end, least(day_start, open) AS first,"
    "  least(greatest(day_end, close), lead(least(day_start, open)) OVER by_open) AS last,"
    "  day_end - interval '1 day' AS midnight"
    " FROM sessions WHERE market = {market} WINDOW by_open AS (ORDER BY open)),"
    " held AS MATERIALIZED (SELECT s.symbol, d.* FROM unnest({symbols}::text[]) AS s (symbol),"
    "  LATERAL (SELECT min(timestamp) AS lo, max(timestamp) AS hi FROM {table} r"
    '   WHERE r.symbol = s.symbol COLLATE "C") AS r'
    "  JOIN days d ON d.last + interval '1 day' > r.lo AND d.first <= r.hi)"
)
"""A market's sessions, of which the days [first, last) never overlap, and those that a symbol may have rows of.

One look into the index a symbol and session follows: a plain join by time would compare every row with every session.
"""


@dataclass(frozen=True, slots=True)
class SqlBars:
    """Reads of one snapshot: bars of some symbols of one market that were closed at `as_of`."""

    snapshot: Snapshot
    settings: Settings
    market: str
    as_of: datetime

    def from_minutes(self, symbols: Sequence[str], interval: Interval) -> pl.DataFrame:
        """BARS of a coarser interval from the stored minutes."""
        regular = self.settings.trading_hours == "regular"
        whole_day = ("opens", "closes") if regular else ("first", "last")
        label, end = map(sql.Identifier, whole_day if interval == "1d" else ("label", "until"))
        made = statement(
            "WITH {days}, placed AS (SELECT b.*, d.session AS day, d.first, d.last, d.open AS opens, d.close AS closes,"
            "  d.midnight, {start} AS starts, {stop} AS stops"
            ' FROM held d, LATERAL (SELECT * FROM bars_1m r WHERE r.symbol = d.symbol COLLATE "C"'
            "  AND r.timestamp >= d.first AND r.timestamp < d.last OFFSET 0) AS b),"
            " anchored AS (SELECT *, {anchor} AS anchor FROM placed),"
            " stepped AS (SELECT *, anchor + floor(extract(epoch FROM timestamp - anchor) / 60 / {minutes}) * {minutes}"
            "  * interval '1 minute' AS step FROM anchored),"
            " labelled AS (SELECT symbol, day, timestamp AS at, first, last, open, high, low, close, volume,"
            "  opens, closes, greatest(starts, step) AS label,"
            "  least(stops, step + {minutes} * interval '1 minute') AS until FROM stepped)"
            " SELECT symbol, {label} AS timestamp, min(day) AS session, {fold} FROM labelled"
            " GROUP BY symbol, {label}, {end} HAVING {end} <= {as_of}",
            days=self._held("bars_1m", symbols),
            start=_STARTS,
            stop=_STOPS,
            anchor=_ANCHORS[self.settings.align],
            minutes=INTRADAY_MINUTES.get(interval, 1),
            label=label,
            end=end,
            fold=_fold("open", "high", "low", "close", "volume", order="at"),
            as_of=self.as_of,
        )
        return self.snapshot.frame(made).cast(BARS).select(BARS.names())

    def from_ticks(self, symbols: Sequence[str]) -> pl.DataFrame:
        """`1m` BARS from trades, of the sessions that `comparable` lists."""
        regular = self.settings.trading_hours == "regular"
        made = statement(
            "WITH {days}, {trades}, {comparable}, minutes AS ("
            "  SELECT t.symbol, t.session, t.timestamp AS at, t.sequence, t.price, t.size, {label} AS timestamp"
            "  FROM trades t JOIN comparable c ON c.symbol = t.symbol AND c.session = t.session WHERE {counts})"
            " SELECT symbol, timestamp, min(session) AS session, {fold} FROM minutes GROUP BY symbol, timestamp"
            " HAVING timestamp + interval '1 minute' <= {as_of}",
            days=self._held("stock_ticks", symbols),
            trades=self._trades(),
            comparable=_COMPARABLE,
            label=sql.SQL(_LATE_LABEL if regular else "date_trunc('minute', t.timestamp)"),
            counts=self._counts(regular=regular),
            fold=_fold("price", "price", "price", "price", "size", order="at, sequence"),
            as_of=self.as_of,
        )
        return self.snapshot.frame(made).cast(BARS).select(BARS.names())

    def comparable(self, symbols: Sequence[str]) -> tuple[pl.DataFrame, int]:
        """The sessions whose minutes come from the trades of one source (symbol, session), and how many others."""
        found = self.snapshot.frame(
            statement(
                "WITH {days}, {trades}, {comparable}"
                " SELECT DISTINCT t.symbol, t.session, c.session IS NOT NULL AS alone"
                " FROM trades t LEFT JOIN comparable c ON c.symbol = t.symbol AND c.session = t.session",
                days=self._held("stock_ticks", symbols),
                trades=self._trades(),
                comparable=_COMPARABLE,
            )
        )
        alone = found.filter("alone").select("symbol", "session")
        return alone, found.height - alone.height

    def _held(self, table: str, symbols: Sequence[str]) -> sql.Composed:
        return _DAYS.format(market=self.market, symbols=list(symbols), table=table_name(table))

    def _trades(self) -> sql.Composed:
        """Trades of the local day of each session."""
        return statement(
            "trades AS (SELECT t.*, d.session, d.open, d.close, d.break_start, d.break_end, d.first, d.last"
            ' FROM held d, LATERAL (SELECT * FROM stock_ticks r WHERE r.symbol = d.symbol COLLATE "C"'
            "  AND r.timestamp >= d.first AND r.timestamp < d.last OFFSET 0) AS t)",
        )

    def _counts(self, *, regular: bool) -> sql.Composable:
        """Whether a trade makes a bar."""
        settings = self.settings
        message = _carries(settings.message_conditions)
        if not regular:
            return statement("NOT {message}", message=message)
        return statement(
            "NOT {message} AND t.timestamp >= t.open"
            " AND (t.break_start IS NULL OR t.timestamp < t.break_start OR t.timestamp >= t.break_end)"
            " AND (t.timestamp < t.close OR {auction}"
            "  OR (t.condition IS NULL AND t.timestamp < t.close + {grace}))",
            message=message,
            auction=_carries(settings.auction_conditions),
            grace=settings.close_grace,
        )


_LATE_LABEL: Final = (
    "CASE WHEN t.timestamp >= t.close THEN t.close - interval '1 minute' ELSE date_trunc('minute', t.timestamp) END"
)
_COMPARABLE: Final = sql.SQL(
    "comparable AS (SELECT symbol, session FROM trades t GROUP BY symbol, session"
    " HAVING count(DISTINCT source) = 1 AND ("
    "  EXISTS (SELECT FROM coverage c WHERE c.symbol = t.symbol AND c.dataset = 'ticks'"
    "   AND c.starts_at <= min(t.first) AND c.ends_at >= min(t.last))"
    "  OR NOT EXISTS (SELECT FROM stock_data r WHERE r.symbol = t.symbol AND r.granularity = '1m'"
    "   AND r.timestamp >= min(t.first) AND r.timestamp < min(t.last))))"
)
_STARTS: Final = sql.SQL(
    "CASE WHEN b.timestamp >= d.close THEN d.close WHEN b.timestamp >= d.break_end THEN d.break_end"
    " WHEN b.timestamp >= d.break_start THEN d.break_start WHEN b.timestamp >= d.open THEN d.open ELSE d.first END"
)
_STOPS: Final = sql.SQL(
    "CASE WHEN b.timestamp < d.open THEN d.open WHEN b.timestamp < d.break_start THEN d.break_start"
    " WHEN b.timestamp < d.break_end THEN d.break_end WHEN b.timestamp < d.close THEN d.close ELSE d.last END"
)
"""The stretch without open, break or close inside that a minute lies in."""
_ANCHORS: Final = {
    "session": sql.SQL("CASE WHEN timestamp < opens THEN opens ELSE starts END"),
    "clock": sql.SQL("midnight"),
}


def _fold(first: str, high: str, low: str, last: str, volume: str, *, order: str) -> sql.Composed:
    descending = ", ".join(f"{column} DESC" for column in order.split(", "))
    return sql.SQL(
        "(array_agg({first} ORDER BY {up}))[1] AS open, max({high}) AS high, min({low}) AS low,"
        " (array_agg({last} ORDER BY {down}))[1] AS close, sum({volume} ORDER BY {up}) AS volume"
    ).format(
        **{name: sql.Identifier(column) for name, column in (("first", first), ("high", high), ("low", low))},
        last=sql.Identifier(last),
        volume=sql.Identifier(volume),
        up=_ordered(order),
        down=_ordered(descending),
    )


def _ordered(text: str) -> sql.Composed:
    parts = []
    for column in text.split(", "):
        name, _, direction = column.partition(" ")
        parts.append(sql.SQL("{} DESC" if direction else "{}").format(sql.Identifier(name)))
    return sql.SQL(", ").join(parts)


def _carries(conditions: Sequence[str]) -> sql.Composable:
    """Whether a trade carries one of the conditions: bits of a hexadecimal number, or a whole word."""
    bits = 0
    for condition in conditions:
        bits |= int(condition, 16) if condition.startswith("0x") else 0
    words = "|".join(re.escape(c) for c in conditions if not c.startswith("0x"))
    return statement(
        "coalesce((CASE WHEN t.condition ~ '^[0-9A-Fa-f]{{1,15}}$'"
        " THEN ('x' || lpad(t.condition, 16, '0'))::bit(64)::bigint & {bits} ELSE 0 END) <> 0 OR {words}, false)",
        bits=bits,
        words=statement("t.condition ~ {pattern}", pattern=rf"(^|[\s,;|])({words})($|[\s,;|])")
        if words
        else sql.SQL("false"),
    )

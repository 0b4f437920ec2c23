"""Stored session tables: what SQL joins and Polars reads. The calendars themselves come from the caller."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from storage.market.database import Database, copy_in, statement, table_name

_AHEAD = timedelta(days=60)
"""Sessions are fetched again when fewer than these are left."""

Calendar = Callable[[str], tuple[str, pl.DataFrame]]
"""Market -> its time zone and its sessions (the SESSIONS schema)."""


@dataclass(frozen=True, slots=True)
class MarketHours:
    """A market's time zone and its sessions, in order."""

    time_zone: str
    sessions: pl.DataFrame


class CalendarStore:
    """The tables `markets` and `sessions`; a market is added when it is first asked for."""

    def __init__(self, database: Database, calendar: Calendar) -> None:
        """Store in `database` what `calendar` says."""
        self._database = database
        self._calendar = calendar
        self._known: dict[str, tuple[date, MarketHours]] = {}

    def hours(self, market: str, today: date) -> MarketHours:
        """The stored hours of a market, brought up to date when they end soon after `today`."""
        asked, found = self._known.get(market, (date.min, None))
        if found is None or today > asked:
            found = self._stored(market, today) or self._fetched(market)
            self._known[market] = today, found
        return found

    def market_of(self, symbol: str) -> str | None:
        """The market a symbol is stored under; None when it is new."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT market FROM instruments WHERE symbol = %s", [symbol]).fetchone()
        return None if row is None else row[0]

    def traded(self, symbol: str, default: str, start: datetime, end: datetime) -> bool:
        """Whether the symbol's market (`default` for one unknown) was open at any time in (start, end]."""
        sessions = self.hours(self.market_of(symbol) or default, end.date()).sessions
        return not sessions.filter((pl.col("open") < end) & (pl.col("close") > start)).is_empty()

    def _stored(self, market: str, today: date) -> MarketHours | None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT time_zone FROM markets WHERE market = %s AND sessions_to >= %s",
                [market, today + _AHEAD],
            ).fetchone()
        if row is None:
            return None
        query = statement("SELECT * FROM sessions WHERE market = {market} ORDER BY session", market=market)
        return MarketHours(row[0], self._database.frame(query))

    def _fetched(self, market: str) -> MarketHours:
        time_zone, sessions = self._calendar(market)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO markets VALUES (%s, %s, %s) ON CONFLICT (market) DO UPDATE SET"
                " time_zone = excluded.time_zone, sessions_to = excluded.sessions_to",
                [market, time_zone, sessions["session"].max()],
            )
            connection.execute("DELETE FROM sessions WHERE market = %s", [market])
            copy_in(connection, table_name("sessions"), sessions)
        return MarketHours(time_zone, sessions)

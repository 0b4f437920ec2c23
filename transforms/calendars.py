"""Sessions of the world's exchanges, as exchange_calendars has them."""

import warnings
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from functools import cache
from typing import Any

import polars as pl

from transforms.errors import PermanentError, UnknownMarket
from transforms.schema import SESSIONS


def calendar_sessions(market: str, start: date, end: date | None = None) -> pl.DataFrame:
    """Sessions from `start` (or the calendar's first) to `end` (or the calendar's last), both included.

    `day_start` and `day_end` are the local midnights around the session's date. Days before the calendar's first or
    after its last have no rows; if none of the days asked for is in it, that is a `PermanentError`.
    Source: exchange_calendars.
    """
    calendar = _calendar(market, **_asked(market, start, end))
    schedule = calendar.schedule.loc[str(start) : str(end) if end else None]
    bounds = {
        name: schedule[name].dt.tz_localize(None).to_numpy("datetime64[us]")
        for name in ("open", "close", "break_start", "break_end")
    }
    frame = pl.DataFrame({"session": schedule.index.to_numpy("datetime64[us]"), **bounds})
    zone = _facts(market).time_zone
    return frame.select(
        pl.lit(market).alias("market"),
        pl.col("session").dt.date(),
        pl.col(*bounds).dt.replace_time_zone("UTC"),
        midnight(pl.col("session"), zone).alias("day_start"),
        midnight(pl.col("session") + timedelta(days=1), zone).alias("day_end"),
    ).select(pl.col(name).cast(dtype) for name, dtype in SESSIONS.items())


def market_timezone(market: str) -> str:
    """IANA name of the market's time zone."""
    return _facts(market).time_zone


@dataclass(frozen=True, slots=True)
class _Facts:
    """A calendar's time zone, the first and last day it may be asked for (None: any), and where it ends unasked."""

    time_zone: str
    first: date | None
    last: date | None
    usual_end: date


@cache
def _facts(market: str) -> _Facts:
    calendar = _calendar(market)
    first, last = (
        None if bound is None else bound.date() for bound in (type(calendar).bound_min(), type(calendar).bound_max())
    )
    return _Facts(calendar.tz.key, first, last, calendar.last_session.date())


def _asked(market: str, start: date, end: date | None) -> dict[str, date]:
    """What to ask the calendar for: [start, end] as far as it goes, and more, or it may refuse a short one."""
    facts = _facts(market)
    latest = facts.usual_end if end is None else facts.last
    last = min(day for day in (end, latest) if day is not None)
    if start > last or (facts.first is not None and last < facts.first):
        raise PermanentError(
            f"the calendar {market}, which goes from {facts.first or 'any day'} to {latest or 'any day'}, has no "
            f"days from {start} to {end or 'its end'}; ask for a start that is in it and not after the end"
        )
    wider = timedelta(days=30)
    asked = {"start": start - wider if facts.first is None else max(start - wider, facts.first)}
    if end is not None:
        asked["end"] = end + wider if facts.last is None else min(end + wider, facts.last)
    return asked


def _calendar(market: str, **bounds: Any) -> Any:
    import exchange_calendars as calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses what its own pandas deprecates
            return calendars.get_calendar(market, **bounds)
    except InvalidCalendarName as exc:
        close = get_close_matches(market, calendars.get_calendar_names(), n=3) or ["XNYS", "XKRX", "24/7"]
        raise UnknownMarket(
            f"no exchange calendar is named {market!r}; close or common names: {', '.join(close)} "
            "(ISO 10383 codes, as exchange_calendars has them)"
        ) from exc


def midnight(day: pl.Expr, zone: str) -> pl.Expr:
    """UTC instant at which a local date begins; where clocks jump over midnight, the first instant after."""

    def localized(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")

    return pl.coalesce(localized(day), localized(day + timedelta(hours=1))).dt.convert_time_zone("UTC")

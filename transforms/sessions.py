"""Which instants a market trades, and which bucket of which session an instant belongs to.

Every function here takes the sessions of **one** market, sorted by session. Session bounds lie on whole
minutes (all of exchange_calendars does), so a minute never belongs to two sessions or to both sides of a
break.
"""

import warnings
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Any

import polars as pl

from transforms.errors import UnknownMarket
from transforms.schema import INTRADAY_MINUTES, SESSIONS, Align, Interval, TradingHours

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class BucketRules:
    """What counts in a session and where its buckets start; the settings of the same names.

    A condition `0x…` tests those bits of a hexadecimal condition string ("20200080"); anything else equals a
    whole word of it (words end at white space, comma, semicolon or pipe).
    """

    trading_hours: TradingHours = "regular"
    align: Align = "session"
    close_grace: timedelta = timedelta(minutes=2)
    message_conditions: tuple[str, ...] = ("0x1000000", "0x4000000")
    auction_conditions: tuple[str, ...] = ("0x80",)


def calendar_sessions(market: str, start: date, end: date | None = None) -> pl.DataFrame:
    """Sessions from `start` (or the calendar's first) to `end` (or the calendar's last), both included.

    `day_start` and `day_end` are the local midnights around the session's date. Source: exchange_calendars.
    """
    calendar = _calendar(market, **_bounds(market, start, end))
    schedule = calendar.schedule.loc[str(start) : str(end) if end else None]
    bounds = {
        name: schedule[name].dt.tz_localize(None).to_numpy("datetime64[us]")
        for name in ("open", "close", "break_start", "break_end")
    }
    frame = pl.DataFrame({"session": schedule.index.to_numpy("datetime64[us]"), **bounds})
    zone = calendar.tz.key
    return frame.select(
        pl.lit(market).alias("market"),
        pl.col("session").dt.date(),
        pl.col(*bounds).dt.replace_time_zone("UTC"),
        _midnight(pl.col("session"), zone).alias("day_start"),
        _midnight(pl.col("session") + timedelta(days=1), zone).alias("day_end"),
    ).select(pl.col(name).cast(dtype) for name, dtype in SESSIONS.items())


def market_timezone(market: str) -> str:
    """IANA name of the market's time zone."""
    name: str = _calendar(market).tz.key
    return name


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


def _bounds(market: str, start: date, end: date | None) -> dict[str, date]:
    """What to ask the calendar for: [start, end] as far as it goes, and more, or it may refuse a short one."""
    calendar = type(_calendar(market))
    first, last = calendar.bound_min(), calendar.bound_max()
    wider = timedelta(days=30)
    asked = {"start": start - wider if first is None else max(start - wider, first.date())}
    if end is not None:
        asked["end"] = end + wider if last is None else min(end + wider, last.date())
    return asked


def _midnight(day: pl.Expr, zone: str) -> pl.Expr:
    """UTC instant at which a local date begins; where clocks jump over midnight, the first instant after."""

    def localized(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")

    return pl.coalesce(localized(day), localized(day + timedelta(hours=1))).dt.convert_time_zone("UTC")


def place(frame: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules, late: pl.Expr | None = None) -> pl.LazyFrame:
    """Add `session`, and privately what `bucket_label` and `bucket_end` read; drop rows of no session.

    regular: [open, close) outside the break; a row after the close (before the local day ends) counts when
    `late` holds, an expression that may use `_close`, and then as one of the session's last minute.

    all: the whole local day, or the whole session where it opens the evening before.

    Row order is kept, and the row's own `session`, if any, is replaced.
    """
    rows = frame.drop("session", strict=False).with_columns(_minute=pl.col("timestamp").dt.truncate("1m"))
    minutes = rows.select("_minute").unique().sort("_minute")
    table = _segments(_in_session(minutes, sessions, rules), rules)
    placed = rows.join(table, on="_minute", how="inner", maintain_order="left")
    inside = pl.col("_minute") < pl.col("_end")
    return placed.filter(inside if late is None else inside | late)


def _in_session(minutes: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Give each distinct `_minute` its session; drop those in none."""
    days = days_of(sessions)
    if rules.trading_hours == "all":
        found = minutes.join_asof(days, left_on="_minute", right_on="_day_start")
        return found.filter(pl.col("_minute") < pl.col("_day_end"))
    found = minutes.join_asof(days.sort("_open"), left_on="_minute", right_on="_open")
    in_break = (pl.col("_minute") >= pl.col("_break_start")) & (pl.col("_minute") < pl.col("_break_end"))
    tail = pl.max_horizontal("_day_end", pl.col("_close") + rules.close_grace)
    return found.filter((pl.col("_minute") < tail) & in_break.not_().fill_null(True))


def days_of(sessions: pl.LazyFrame) -> pl.LazyFrame:
    """`session` and its bounds under private names; the days [`_day_start`, `_day_end`) never overlap.

    A session that opens the evening before begins its day at that open, where the day before then ends.
    """
    bounds = ("open", "close", "break_start", "break_end")
    day_start = pl.min_horizontal("day_start", "open")
    return sessions.sort("open").select(
        "session",
        pl.col(*bounds).name.prefix("_"),
        pl.col("day_start").alias("_midnight"),
        day_start.alias("_day_start"),
        pl.min_horizontal(pl.max_horizontal("day_end", "close"), day_start.shift(-1)).alias("_day_end"),
    )


def _segments(minutes: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Add `_at`, the minute that stands for the row: its own, or the session's last one for a late row."""
    minute, close = pl.col("_minute"), pl.col("_close")
    late = minute >= close if rules.trading_hours == "regular" else False
    return minutes.with_columns(_at=pl.when(late).then(close - MINUTE).otherwise(minute)).pipe(_on_grid, rules)


def _on_grid(rows: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Add what `bucket_label` and `bucket_end` read for the instant `_at`.

    `_start`, `_end`: the stretch without open, break or close inside that it lies in; `_anchor`: where the
    grid is counted from; `_first`, `_last`: the hours that count in its session.
    """
    return rows.with_columns(
        _start=_segment_start(), _end=_segment_end(), _first=_hours(rules)[0], _last=_hours(rules)[1]
    ).with_columns(_anchor=_anchor(rules.align))


def _hours(rules: BucketRules) -> tuple[pl.Expr, pl.Expr]:
    """First instant and end of what counts in a session."""
    if rules.trading_hours == "regular":
        return pl.col("_open"), pl.col("_close")
    return pl.col("_day_start"), pl.col("_day_end")


def place_spans(rows: pl.LazyFrame, length: pl.Expr, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Like `place`, for rows that stand for [timestamp, timestamp + length); null: the whole session.

    The span is clipped to the hours that count in the session its end lies in: it becomes [`_at`, `_until`).
    Rows of which nothing is left, or which reach back into the session before, are dropped; a span may still
    reach over a break or the bounds of a bucket.
    """
    until = pl.col("timestamp") + length
    first, last = _hours(rules)
    at, end = pl.max_horizontal("timestamp", first), pl.min_horizontal("_until", last)
    if rules.trading_hours == "regular":
        break_start, break_end = pl.col("_break_start"), pl.col("_break_end")
        at = pl.when((at >= break_start) & (at < break_end)).then(break_end).otherwise(at)
        end = pl.when((end > break_start) & (end <= break_end)).then(break_start).otherwise(end)
    whole = pl.col("_until").is_null()
    days = days_of(sessions).with_columns(_before=last.shift(1))
    alone = whole | (pl.col("timestamp") >= pl.col("_before")).fill_null(True)
    return (
        rows.drop("session", strict=False)
        .with_columns(_until=until, _minute=pl.coalesce(until - MINUTE, "timestamp"))
        .sort("_minute")
        .join_asof(days, left_on="_minute", right_on="_day_start")
        .filter((pl.col("_minute") < pl.col("_day_end")) & alone)
        .with_columns(_at=pl.when(whole).then(first).otherwise(at), _until=pl.when(whole).then(last).otherwise(end))
        .filter(pl.col("_at") < pl.col("_until"))
        .pipe(_on_grid, rules)
    )


def _segment_start() -> pl.Expr:
    at = pl.col("_at")
    return (
        pl.when(at >= pl.col("_close"))
        .then("_close")
        .when(at >= pl.col("_break_end"))
        .then("_break_end")
        .when(at >= pl.col("_break_start"))
        .then("_break_start")
        .when(at >= pl.col("_open"))
        .then("_open")
        .otherwise("_day_start")
    )


def _segment_end() -> pl.Expr:
    at = pl.col("_at")
    return (
        pl.when(at < pl.col("_open"))
        .then("_open")
        .when(at < pl.col("_break_start"))
        .then("_break_start")
        .when(at < pl.col("_break_end"))
        .then("_break_end")
        .when(at < pl.col("_close"))
        .then("_close")
        .otherwise("_day_end")
    )


def _anchor(align: Align) -> pl.Expr:
    if align == "clock":
        return pl.col("_midnight")
    return pl.when(pl.col("_at") < pl.col("_open")).then("_open").otherwise("_start")


def bucket_label(interval: Interval) -> pl.Expr:
    """UTC start of the bucket that a placed row belongs to.

    Intraday: the grid counted from the start of the row's stretch (before the open: backwards from the
    open; on the clock: from local midnight), cut off at the stretch's bounds. `1d`: the first minute of the
    session that counts.
    """
    if interval == "1d":
        return pl.col("_first")
    if interval == "1m":
        return pl.col("_at")
    return pl.max_horizontal("_start", _grid_start(interval))


def bucket_end(interval: Interval) -> pl.Expr:
    """UTC end of the bucket that a placed row belongs to: the bar is closed once as-of has reached it."""
    if interval == "1d":
        return pl.col("_last")
    length = timedelta(minutes=INTRADAY_MINUTES[interval])
    return pl.min_horizontal("_end", _grid_start(interval) + length)


def _grid_start(interval: Interval) -> pl.Expr:
    length = INTRADAY_MINUTES[interval]
    since = (pl.col("_at") - pl.col("_anchor")).dt.total_minutes()
    return pl.col("_anchor") + pl.duration(minutes=since // length * length)

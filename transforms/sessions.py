"""Which instants a market trades, and which bucket of which session an instant belongs to.

Every function here takes the sessions of **one** market, sorted by session. Session bounds lie on whole
minutes (all of exchange_calendars does), so a minute never belongs to two sessions or to both sides of a
break.
"""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from transforms.schema import Align, Period, TradingHours, parse_interval

MINUTE = timedelta(minutes=1)
_PERIOD_START = {"week": pl.col("session").dt.truncate("1w"), "month": pl.col("session").dt.truncate("1mo")}


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


def place(frame: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules, late: pl.Expr | None = None) -> pl.LazyFrame:
    """Add `session`, and privately what the expressions of buckets below read; drop rows of no session.

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
    days = _with_periods(sessions, rules)
    if rules.trading_hours == "all":
        found = minutes.join_asof(days, left_on="_minute", right_on="_day_start")
        return found.filter(pl.col("_minute") < pl.col("_day_end"))
    found = minutes.join_asof(days.sort("_open"), left_on="_minute", right_on="_open")
    in_break = (pl.col("_minute") >= pl.col("_break_start")) & (pl.col("_minute") < pl.col("_break_end"))
    return found.filter((pl.col("_minute") < pl.col("_day_end")) & in_break.not_().fill_null(True))


def days_of(sessions: pl.LazyFrame) -> pl.LazyFrame:
    """`session` and its bounds under private names; the days [`_day_start`, `_day_end`) never overlap.

    A session that opens the evening before begins its day at that open, where the day before then ends. `_midnight`
    is where the day would begin on the clock it ends with: clocks change at night, so it is right for its hours.
    """
    bounds = ("open", "close", "break_start", "break_end")
    day_start = pl.min_horizontal("day_start", "open")
    return sessions.sort("open").select(
        "session",
        pl.col(*bounds).name.prefix("_"),
        (pl.col("day_end") - timedelta(days=1)).alias("_midnight"),
        day_start.alias("_day_start"),
        pl.min_horizontal(pl.max_horizontal("day_end", "close"), day_start.shift(-1)).alias("_day_end"),
    )


def _with_periods(sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """`days_of`, and of the week and month of each: first and last session, first instant and end of what counts."""
    first, last = _hours(rules)
    days = days_of(sessions)
    for period, start in _PERIOD_START.items():
        days = days.with_columns(
            pl.col("session").first().over(start).alias(f"_{period}_session"),
            pl.col("session").last().over(start).alias(f"_{period}_until"),
            first.first().over(start).alias(f"_{period}_first"),
            last.last().over(start).alias(f"_{period}_last"),
        )
    return days


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
    days = _with_periods(sessions, rules).with_columns(_before=last.shift(1))
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


def bucket_label(interval: str) -> pl.Expr:
    """UTC start of the bucket that a placed row belongs to, of any interval that `parse_interval` knows.

    Intraday: the grid counted from the start of the row's stretch (before the open: backwards from the
    open; on the clock: from local midnight), cut off at the stretch's bounds: a last bucket that the interval does
    not fill is short. `1d`: the first minute of the session that counts. `1w`, `1mo`: that of the first session of
    the ISO week or the calendar month of the session's date. The sessions given must reach over whole weeks or
    months, or the bucket at their edge begins and ends with them.
    """
    length = parse_interval(interval)
    if length.period:
        return pl.col(_of(length.period, "first"))
    if length.minutes == 1:
        return pl.col("_at")
    return pl.max_horizontal("_start", _grid_start(length.minutes))


def bucket_end(interval: str) -> pl.Expr:
    """UTC end of the bucket that a placed row belongs to: the bar is closed once as-of has reached it.

    `1w`, `1mo`: the end of what counts in the last session of the week or month (see `bucket_label`).
    """
    length = parse_interval(interval)
    if length.period:
        return pl.col(_of(length.period, "last"))
    return pl.min_horizontal("_end", _grid_start(length.minutes) + timedelta(minutes=length.minutes))


def bucket_session(interval: str) -> pl.Expr:
    """Date of the session in which the bucket of a placed row begins: of `1w` and `1mo` the first of its period."""
    length = parse_interval(interval)
    return pl.col(_of(length.period, "session") if length.period else "session")


def _of(period: Period, what: str) -> str:
    """Where `place` keeps a period's first (`session`) and last (`until`) date, its first instant and its end."""
    if period == "session":
        return "session" if what in ("session", "until") else f"_{what}"
    return f"_{period}_{what}"


def _grid_start(minutes: int) -> pl.Expr:
    since = (pl.col("_at") - pl.col("_anchor")).dt.total_minutes()
    return pl.col("_anchor") + pl.duration(minutes=since // minutes * minutes)


def buckets_of(sessions: pl.LazyFrame, interval: str, rules: BucketRules) -> pl.LazyFrame:
    """Every bucket of the sessions, whether or not anybody traded in it, in order.

    Columns: `session` and `last_session`, the first and last date it is of (not the same for 1w and 1mo only);
    `timestamp` and `end`, its UTC bounds, half-open.
    """
    length = parse_interval(interval)
    bounds = ("_day_start", "_open", "_break_start", "_break_end", "_close")
    edges = pl.concat([days_of(sessions).select(timestamp=name) for name in bounds]).drop_nulls().unique()
    stretches = edges.pipe(place, sessions, rules).unique("_start")
    if length.period is None:
        stretches = stretches.pipe(_on_every_step, length.minutes)
    found = stretches.select(
        bucket_session(interval).alias("session"),
        pl.col(_of(length.period, "until") if length.period else "session").alias("last_session"),
        timestamp=bucket_label(interval),
        end=bucket_end(interval),
    )
    return found.unique("timestamp").sort("timestamp")


def _on_every_step(stretches: pl.LazyFrame, minutes: int) -> pl.LazyFrame:
    """A row for each bucket that meets the stretch, `_at` inside it."""
    first = (pl.col("_start") - pl.col("_anchor")).dt.total_minutes() // minutes
    last = (pl.col("_end") - pl.col("_anchor") - MINUTE).dt.total_minutes() // minutes
    step = pl.col("_anchor") + pl.duration(minutes=pl.col("_step") * minutes)
    return (
        stretches.with_columns(_step=pl.int_ranges(first, last + 1))
        .explode("_step")
        .with_columns(_at=pl.max_horizontal("_start", step))
    )

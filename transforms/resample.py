"""Bars from vendors' bars and from finer bars: all buckets, closed or not.

Sessions are those of one market, as in `transforms.sessions`; `closed` leaves the bars an as-of may know.
"""

from datetime import datetime

import polars as pl

from transforms.schema import BARS, INTRADAY_MINUTES, Interval
from transforms.sessions import MINUTE, BucketRules, bucket_end, bucket_label, bucket_session, place, place_spans

KEY = ("symbol", "timestamp")
_A_DAY = 24 * 60
_FOLD = (
    pl.col("open").first(),
    pl.col("high").max(),
    pl.col("low").min(),
    pl.col("close").last(),
    pl.col("volume").sum(),
)
"""Rows of one bucket, in their order, to one bar."""


def bars_from_minutes(rows: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """`1m` bars from vendors' 1m RAW_BARS, one row a key, sorted by (symbol, timestamp).

    In regular hours a row labelled with the closing minute holds the closing auction: it joins the last
    bucket.
    """
    auction = pl.col("timestamp") < pl.col("_close") + MINUTE
    return rows.pipe(place, sessions, rules, late=auction).pipe(fold, "1m")


def resample(bars: pl.LazyFrame, interval: str, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Bars of `interval` (see `parse_interval`) from finer BARS sorted by (symbol, timestamp) whose buckets nest in it.

    Those of 5m nest in 30m, 1h and 1d, those of 2m do not in 5m; those of 1d nest in 1w and in 1mo, those of 1w do
    not in 1mo. A bar of 1w or 1mo carries the first session of its period in the calendar, whether or not a row is
    of that session; `sessions` must reach over the whole weeks or months.
    """
    return bars.pipe(place, sessions, rules).pipe(fold, interval)


def fold(placed: pl.LazyFrame, interval: str, *also: pl.Expr) -> pl.LazyFrame:
    """Rows in trading order, placed in sessions, to one bar a bucket; volume in the unit of the rows.

    `also`: named expressions over the placed rows that are the same for all of a bucket; further columns of the bars.
    """
    bucket = {"timestamp": bucket_label(interval), "session": bucket_session(interval)}
    folded = placed.with_columns(*also, **bucket).group_by(KEY)
    names = [expr.meta.output_name() for expr in also]
    return folded.agg(pl.col("session", *names).first(), *_FOLD).pipe(_as_bars, *names)


def _as_bars(rows: pl.LazyFrame, *others: str) -> pl.LazyFrame:
    return rows.select(*(pl.col(name).cast(dtype) for name, dtype in BARS.items()), *others).sort(KEY)


def closed(
    bars: pl.LazyFrame, interval: str, sessions: pl.LazyFrame, rules: BucketRules, as_of: datetime
) -> pl.LazyFrame:
    """The BARS of `interval` whose bucket has ended by `as_of`: a week's, when its last session has."""
    ended = bars.pipe(place, sessions, rules).filter(bucket_end(interval) <= as_of)
    return ended.select(BARS.names())


def merge_minutes(from_ticks: pl.LazyFrame, from_rows: pl.LazyFrame, covered: pl.LazyFrame) -> pl.LazyFrame:
    """Trades' `1m` bars and vendors' `1m` bars as one series.

    Where a source of ticks declared coverage (`covered`: symbol, start, end; windows [start, end) may
    overlap) only trades count. Elsewhere the vendor's bar counts, and trades fill the minutes it lacks.
    """
    windows = covered.sort("symbol", "start").select(
        "symbol", "start", _covered_until=pl.col("end").cum_max().over("symbol")
    )
    marked = from_rows.sort(KEY).join_asof(
        windows, left_on="timestamp", right_on="start", by="symbol", check_sortedness=False
    )
    uncovered = (pl.col("timestamp") < pl.col("_covered_until")).not_().fill_null(True)
    rows = marked.filter(uncovered).select(BARS.names())
    return pl.concat([rows, from_ticks.join(rows, on=KEY, how="anti")]).pipe(_as_bars)


def fill_bars(
    rows: pl.LazyFrame, interval: Interval, sessions: pl.LazyFrame, rules: BucketRules, reached: pl.LazyFrame
) -> pl.LazyFrame:
    """Vendors' bars for buckets nothing finer reached, from RAW_BARS of 1h and 1d, one row a key.

    A row stands for its hours clipped to those that count in its session. One of the interval's own granularity
    counts if it then is exactly a bucket; finer ones count, folded, where it is missing. Wider bars than a day's
    come from these by `resample`.
    """
    minutes = pl.col("granularity").replace_strict(INTRADAY_MINUTES, default=None, return_dtype=pl.Int64)
    placed = place_spans(rows, pl.duration(minutes=minutes), sessions, rules).sort("symbol", "_at")
    whole = (pl.col("_at") == bucket_label(interval)) & (pl.col("_until") == bucket_end(interval))
    exact = placed.filter((pl.col("granularity") == interval) & whole).pipe(fold, interval)
    finer = minutes < INTRADAY_MINUTES.get(interval, _A_DAY)
    guessed = placed.filter(finer).pipe(fold, interval).join(exact, on=KEY, how="anti")
    return pl.concat([exact, guessed]).join(reached, on=KEY, how="anti").pipe(_as_bars)

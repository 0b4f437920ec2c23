"""Bars from trades, from vendors' bars and from finer bars: all buckets, closed or not.

Sessions are those of one market, as in `transforms.sessions`; `closed` leaves the bars an as-of may know.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from operator import or_

import polars as pl

from transforms.schema import BARS, INTRADAY_MINUTES, Interval
from transforms.sessions import MINUTE, BucketRules, bucket_end, bucket_label, place, place_spans

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


def bars_from_ticks(ticks: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """`1m` bars from TICKS sorted by (symbol, timestamp, sequence): their fold in that order.

    Messages make no bar. In regular hours a trade after the close counts in the session's last bucket if it
    carries an auction condition, or if its conditions are unknown (null) and it came before close +
    close_grace.
    """
    unknown = pl.col("condition").is_null() & (pl.col("timestamp") < pl.col("_close") + rules.close_grace)
    trades = ticks.with_columns(_bits=_condition_bits()).filter(_carries(rules.message_conditions).not_())
    price, size = pl.col("price"), pl.col("size")
    return (
        trades.pipe(place, sessions, rules, late=_carries(rules.auction_conditions) | unknown)
        .with_columns(open=price, high=price, low=price, close=price, volume=size)
        .pipe(_fold, "1m")
    )


def _condition_bits() -> pl.Expr:
    """Bits of a hexadecimal condition; 0 for one that is no hexadecimal number or unknown."""
    return pl.col("condition").str.to_integer(base=16, dtype=pl.Int64, strict=False).fill_null(0)


def _carries(conditions: Sequence[str]) -> pl.Expr:
    """Whether a trade carries one of the conditions (see `BucketRules`); a null carries none."""
    bits = reduce(or_, (int(c, 16) for c in conditions if c.startswith("0x")), 0)
    words = "|".join(re.escape(c) for c in conditions if not c.startswith("0x"))
    flagged = pl.col("_bits") & bits != 0
    if not words:
        return flagged
    return flagged | pl.col("condition").str.contains(rf"(?:^|[\s,;|])(?:{words})(?:$|[\s,;|])").fill_null(False)


def bars_from_minutes(rows: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """`1m` bars from vendors' 1m RAW_BARS, one row a key, sorted by (symbol, timestamp).

    In regular hours a row labelled with the closing minute holds the closing auction: it joins the last
    bucket.
    """
    auction = pl.col("timestamp") < pl.col("_close") + MINUTE
    return rows.pipe(place, sessions, rules, late=auction).pipe(_fold, "1m")


def resample(bars: pl.LazyFrame, interval: Interval, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    """Bars of `interval` from finer BARS sorted by (symbol, timestamp) whose buckets nest in it."""
    return bars.pipe(place, sessions, rules).pipe(_fold, interval)


def _fold(placed: pl.LazyFrame, interval: Interval) -> pl.LazyFrame:
    """Rows in trading order, placed in sessions, to one bar a bucket; volume in the unit of the rows."""
    folded = placed.with_columns(timestamp=bucket_label(interval)).group_by(KEY)
    return folded.agg(pl.col("session").first(), *_FOLD).pipe(_as_bars)


def _as_bars(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select(pl.col(name).cast(dtype) for name, dtype in BARS.items()).sort(KEY)


def closed(
    bars: pl.LazyFrame, interval: Interval, sessions: pl.LazyFrame, rules: BucketRules, as_of: datetime
) -> pl.LazyFrame:
    """The BARS whose bucket has ended by `as_of`."""
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
    counts if it then is exactly a bucket; finer ones count, folded, where it is missing.
    """
    minutes = pl.col("granularity").replace_strict(INTRADAY_MINUTES, default=None, return_dtype=pl.Int64)
    placed = place_spans(rows, pl.duration(minutes=minutes), sessions, rules).sort("symbol", "_at")
    whole = (pl.col("_at") == bucket_label(interval)) & (pl.col("_until") == bucket_end(interval))
    exact = placed.filter((pl.col("granularity") == interval) & whole).pipe(_fold, interval)
    finer = minutes < INTRADAY_MINUTES.get(interval, _A_DAY)
    guessed = placed.filter(finer).pipe(_fold, interval).join(exact, on=KEY, how="anti")
    return pl.concat([exact, guessed]).join(reached, on=KEY, how="anti").pipe(_as_bars)

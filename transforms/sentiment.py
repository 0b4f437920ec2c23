"""Scored messages per hour and per session."""

from datetime import timedelta
from typing import Literal

import polars as pl

from transforms.sessions import BucketRules, days_of

HOUR = timedelta(hours=1)
_HOUR_MICROSECONDS = HOUR // timedelta(microseconds=1)


def sentiment_buckets(
    rows: pl.LazyFrame, sessions: pl.LazyFrame, per: Literal["1h", "1d"], rules: BucketRules | None = None
) -> pl.LazyFrame:
    """Mean score, count, mean confidence and deviation of scores (divisor count - 1) of SENTIMENT per bucket.

    1d: session s collects (close of s-1, close of s], weekends and holidays included; labelled like its bar.

    1h: [h, h + 1 hour) on the market's local clock; its session is the one that collects the hour's end.

    `sessions` are those of one market and reach beyond the rows on both sides: what came after the last close
    is in no session and left out. `std_score` is null for a single message. Columns: symbol, timestamp,
    session, mean_score, count, mean_confidence, std_score; sorted by the first two.
    """
    placed = _per_session(rows, sessions, rules or BucketRules()) if per == "1d" else _per_hour(rows, sessions)
    score = pl.col("sentiment_score")
    return (
        placed.group_by("symbol", "timestamp")
        .agg(
            pl.col("session").first(),
            score.mean().alias("mean_score"),
            pl.len().cast(pl.Int64).alias("count"),
            pl.col("confidence").mean().alias("mean_confidence"),
            score.std(ddof=1).alias("std_score"),
        )
        .sort("symbol", "timestamp")
    )


def _per_session(rows: pl.LazyFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.LazyFrame:
    label = "_open" if rules.trading_hours == "regular" else "_day_start"
    return _collected(rows, sessions, pl.col("timestamp")).with_columns(timestamp=label)


def _per_hour(rows: pl.LazyFrame, sessions: pl.LazyFrame) -> pl.LazyFrame:
    """Whole hours since a local midnight; the shift of a clock by whole hours changes none of them."""
    local = pl.col("timestamp") - pl.col("_midnight")
    hour = pl.col("_midnight") + pl.duration(hours=local.dt.total_microseconds() // _HOUR_MICROSECONDS)
    hours = _collected(rows, sessions, pl.col("timestamp")).with_columns(timestamp=hour)
    return _collected(hours.drop("^_.*$", "session"), sessions, pl.col("timestamp") + HOUR)


def _collected(rows: pl.LazyFrame, sessions: pl.LazyFrame, moment: pl.Expr) -> pl.LazyFrame:
    """Add the session that collects `moment`: the first whose close has not passed."""
    days = days_of(sessions).sort("_close")
    found = rows.with_columns(_moment=moment).sort("_moment")
    collected = found.join_asof(days, left_on="_moment", right_on="_close", strategy="forward")
    return collected.filter(pl.col("session").is_not_null())

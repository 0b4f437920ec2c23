"""Scored messages per hour and per session."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from transforms.schema import KeepOrDrop, SentimentCutoff
from transforms.sessions import BucketRules, days_of

HOUR = timedelta(hours=1)
_HOUR_MICROSECONDS = HOUR // timedelta(microseconds=1)
_ENDS: Final[dict[SentimentCutoff, str]] = {"close": "close", "midnight": "day_end"}


@dataclass(frozen=True, slots=True)
class SentimentRules:
    """Which messages count, and until when a session collects them; the settings `sentiment_…` of the same names.

    `cutoff`: the session's close, or the local midnight that ends its date; moved by `cutoff_offset` (less than a
    day). Dropped are messages flagged so; one whose flag is null is kept.
    """

    retweets: KeepOrDrop = "keep"
    duplicates: KeepOrDrop = "keep"
    cutoff: SentimentCutoff = "close"
    cutoff_offset: timedelta = timedelta(0)


def cutoff(rules: SentimentRules) -> pl.Expr:
    """The instant up to which, itself included, a session (a row of SESSIONS) collects messages."""
    return pl.col(_ENDS[rules.cutoff]) + rules.cutoff_offset


def counted(rows: pl.LazyFrame, rules: SentimentRules) -> pl.LazyFrame:
    """The rows of SENTIMENT that are not dropped; two messages that are equal in every column both count."""
    flags = {"is_retweet": rules.retweets, "is_duplicate": rules.duplicates}
    dropped = [pl.col(flag).fill_null(value=False) for flag, choice in flags.items() if choice == "drop"]
    return rows.filter(~pl.any_horizontal(dropped)) if dropped else rows


def sentiment_buckets(
    rows: pl.LazyFrame,
    sessions: pl.LazyFrame,
    per: Literal["1h", "1d"],
    hours: BucketRules | None = None,
    rules: SentimentRules | None = None,
) -> pl.LazyFrame:
    """What the messages of each bucket say; a bucket without one has no row.

    1d: session s collects (cutoff of s-1, cutoff of s], weekends and holidays included; labelled like its bar.

    1h: [h, h + 1 hour) on the market's local clock; its session is the one that collects the hour's end.

    Columns: symbol, timestamp, session, then of the `n` messages x with confidence c that count (`counted`):
    mean_score = sum(x) / n; weighted_score = sum(c * x) / sum(c), null where every confidence is 0; count = n;
    mean_confidence = sum(c) / n; std_score, the deviation of scores with divisor n - 1, null for a single message;
    positive_share and negative_share, the parts of n with x > 0 and x < 0, from 0 to 1. Sorted by the first two.

    `sessions` are those of one market and reach beyond the rows on both sides: what came after the last cutoff
    is in no session and left out. Order of rows: of no account but for the last bits of a sum.
    """
    rules = rules or SentimentRules()
    kept = counted(rows, rules)
    if per == "1d":
        placed = _per_session(kept, sessions, hours or BucketRules(), rules)
    else:
        placed = _per_hour(kept, sessions, rules)
    score, confidence = pl.col("sentiment_score"), pl.col("confidence")
    return (
        placed.group_by("symbol", "timestamp")
        .agg(
            pl.col("session").first(),
            score.mean().alias("mean_score"),
            pl.when(confidence.sum() > 0).then((confidence * score).sum() / confidence.sum()).alias("weighted_score"),
            pl.len().cast(pl.Int64).alias("count"),
            confidence.mean().alias("mean_confidence"),
            score.std(ddof=1).alias("std_score"),
            (score > 0).mean().alias("positive_share"),
            (score < 0).mean().alias("negative_share"),
        )
        .sort("symbol", "timestamp")
    )


def momentum(score: pl.Expr, baseline: int) -> pl.Expr:
    """A session's mean score against its own baseline.

    Definition: score[t] - mean(score[t - baseline] ... score[t - 1]), over sessions that have messages: a session
    without one has no row and is skipped, however long ago the first of them is.
    Units: those of `score`. Input: the 1d means of one symbol, sorted; for many, `.over("symbol")`.
    Lookback: `baseline` null rows. Reach: `baseline` rows after a row that changed, came or went.
    """
    return score - score.shift(1).rolling_mean(baseline)


def _per_session(rows: pl.LazyFrame, sessions: pl.LazyFrame, hours: BucketRules, rules: SentimentRules) -> pl.LazyFrame:
    label = "_open" if hours.trading_hours == "regular" else "_day_start"
    return _collected(rows, sessions, pl.col("timestamp"), rules).with_columns(timestamp=label)


def _per_hour(rows: pl.LazyFrame, sessions: pl.LazyFrame, rules: SentimentRules) -> pl.LazyFrame:
    """Whole hours since a local midnight; the shift of a clock by whole hours changes none of them."""
    local = pl.col("timestamp") - pl.col("_midnight")
    hour = pl.col("_midnight") + pl.duration(hours=local.dt.total_microseconds() // _HOUR_MICROSECONDS)
    placed = _collected(rows, sessions, pl.col("timestamp"), rules).with_columns(timestamp=hour)
    return _collected(placed.drop("^_.*$", "session"), sessions, pl.col("timestamp") + HOUR, rules)


def _collected(rows: pl.LazyFrame, sessions: pl.LazyFrame, moment: pl.Expr, rules: SentimentRules) -> pl.LazyFrame:
    """Add the session that collects `moment`: the first whose cutoff has not passed."""
    ends = sessions.select("session", _cutoff=cutoff(rules))
    days = days_of(sessions).join(ends, on="session").sort("_cutoff")
    found = rows.with_columns(_moment=moment).sort("_moment")
    collected = found.join_asof(days, left_on="_moment", right_on="_cutoff", strategy="forward")
    return collected.filter(pl.col("session").is_not_null())

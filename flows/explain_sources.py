"""Which raw rows a result is made of, and why those beside it do not count.

Asked of the very functions that make the result, a row at a time: each row is given a symbol of its own, so that what
comes out says where it went. No rule is written down twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import polars as pl

from flows.derive import Market
from transforms.adjust import choose
from transforms.resample import bars_from_minutes, fill_bars, merge_minutes
from transforms.schema import BARS, RAW_BARS, TICKS, Interval
from transforms.sentiment import SentimentRules, sentiment_buckets
from transforms.ticks import bars_from_ticks

PARTS: Final = ("table", "source", "granularity", "price_basis", "timestamp", "arrived_at", "run_id", "used", "why")
"""A raw row, whether it counts in the result, and if not why."""

NO_BAR = "makes no bar: a message, or outside the hours that count"
COVERED = "trades were declared complete here, so only they count"
VENDOR_FIRST = "a vendor's minute counts where trades were not declared complete"
FINER = "finer rows reach this bucket"
EXACT = "a row of this very length counts"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bar's place: [start, end) of its session."""

    interval: Interval
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class RawPrices:
    """Raw price rows of one symbol's session with their bookkeeping, and coverage of trades (symbol, start, end)."""

    ticks: pl.DataFrame
    rows: pl.DataFrame
    coverage: pl.DataFrame


def parts_of_bar(raw: RawPrices, bucket: Bucket, market: Market) -> pl.DataFrame:
    """The raw rows that fall into a bucket: PARTS."""
    rank = market.settings.source_rank
    ticks = _ticks(raw.ticks, market)
    rows = _chosen(raw.rows, ("granularity", "timestamp"), rank)
    minutes = _minutes(rows.filter(pl.col("granularity") == "1m"), market)
    counted = _vendor_minutes(minutes, raw.coverage, market)
    ticks = ticks.with_columns(
        why=pl.coalesce("why", pl.when(pl.col("minute").is_in(counted)).then(pl.lit(VENDOR_FIRST)))
    )
    minutes = minutes.with_columns(
        why=pl.coalesce("why", pl.when(~pl.col("minute").is_in(counted)).then(pl.lit(COVERED)))
    )
    placed = pl.coalesce("minute", "timestamp")
    inside = (placed >= bucket.start) & (placed < bucket.end)
    finer = pl.concat([_parts(ticks.filter(inside), "stock_ticks"), _parts(minutes.filter(inside), "stock_data")])
    reached = finer.filter("used").height > 0
    return pl.concat([finer, _coarse(rows, bucket, market, reached=reached)])


def parts_of_sentiment(rows: pl.DataFrame, per: Literal["1h", "1d"], label: datetime, market: Market) -> pl.DataFrame:
    """The messages that fall into a bucket of sentiment: PARTS."""
    rules = market.sentiment_rules
    alone = _alone(rows)

    def labels(chosen: SentimentRules) -> pl.DataFrame:
        found = sentiment_buckets(alone.lazy(), market.sessions, per, market.rules, chosen)
        return found.select(row="symbol", label="timestamp").collect()

    everything = labels(replace(rules, retweets="keep", duplicates="keep")).filter(pl.col("label") == label)
    counted = labels(rules)["row"]
    inside = alone.join(everything.select(symbol="row"), on="symbol", how="semi", maintain_order="left")
    dropped = pl.when(~pl.col("symbol").is_in(counted.implode())).then(pl.lit("flagged, and the settings drop such"))
    return _parts(inside.with_columns(why=dropped), "sentiment_data")


def _alone(rows: pl.DataFrame) -> pl.DataFrame:
    """Each row with a symbol of its own, its number."""
    return rows.with_columns(symbol=pl.int_range(pl.len()).cast(pl.String))


def _ticks(ticks: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Trades with the `minute` each counts in (null: none) and `why` it does not."""
    sources = _chosen(ticks.unique("source").select("source", one=pl.lit(0)), ("one",), market.settings.source_rank)
    alone = _alone(ticks)
    folded = bars_from_ticks(alone.select(TICKS.names()), market.sessions, market.rules)
    placed = alone.join(folded.select("symbol", minute="timestamp"), on="symbol", how="left", maintain_order="left")
    placed = placed.join(sources.select("source", "why"), on="source", how="left", maintain_order="left")
    return placed.with_columns(why=pl.coalesce("why", pl.when(pl.col("minute").is_null()).then(pl.lit(NO_BAR))))


def _chosen(rows: pl.DataFrame, key: Sequence[str], rank: Sequence[str]) -> pl.DataFrame:
    """Rows with `why` they do not count beside another source's of the same key (null: they do)."""
    winners = choose(rows.lazy(), key, rank).select(*key, winner="source").collect()
    ranked = pl.col("winner").is_in(list(rank))
    because = pl.when(ranked).then(pl.lit(" (setting source_rank)")).otherwise(pl.lit(" (by name)"))
    lost = pl.format("{} comes first{}", "winner", because)
    told = rows.join(winners, on=list(key), how="left", maintain_order="left")
    return told.with_columns(why=pl.when(pl.col("source") != pl.col("winner")).then(lost)).drop("winner")


def _minutes(rows: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Vendors' minutes with the `minute` each counts in."""
    alone = _alone(rows)
    folded = bars_from_minutes(alone.lazy().select(RAW_BARS.names()), market.sessions, market.rules)
    minute = folded.select("symbol", minute="timestamp").collect()
    placed = alone.join(minute, on="symbol", how="left", maintain_order="left")
    return placed.with_columns(why=pl.coalesce("why", pl.when(pl.col("minute").is_null()).then(pl.lit(NO_BAR))))


def _vendor_minutes(minutes: pl.DataFrame, coverage: pl.DataFrame, market: Market) -> pl.Series:
    """The minutes in which vendors' rows count, and not trades."""
    symbol = coverage["symbol"][0] if len(coverage) else ""
    chosen = minutes.filter(pl.col("why").is_null()).with_columns(symbol=pl.lit(symbol))
    folded = bars_from_minutes(chosen.sort("timestamp").lazy().select(RAW_BARS.names()), market.sessions, market.rules)
    kept = merge_minutes(pl.LazyFrame(schema=BARS), folded, coverage.lazy())
    return kept.select("timestamp").collect().to_series().implode()


def _coarse(rows: pl.DataFrame, bucket: Bucket, market: Market, *, reached: bool) -> pl.DataFrame:
    """Vendors' hours and days that could fill the bucket."""
    alone = _alone(rows.filter(pl.col("granularity") != "1m"))
    if bucket.interval == "1m" or alone.is_empty():
        return _parts(alone.clear(), "stock_data")
    nothing = pl.LazyFrame(schema=BARS)
    alone_rows = alone.lazy().select(RAW_BARS.names())
    filled = fill_bars(alone_rows, bucket.interval, market.sessions, market.rules, nothing).collect()
    here = filled.filter(pl.col("timestamp") == bucket.start).select("symbol")
    inside = alone.join(here, on="symbol", how="semi", maintain_order="left")
    standing = inside.filter(pl.col("why").is_null())
    exact = bucket.interval in standing["granularity"]
    finer = pl.when(pl.lit(reached)).then(pl.lit(FINER))
    wider = pl.when(pl.lit(exact) & (pl.col("granularity") != bucket.interval)).then(pl.lit(EXACT))
    return _parts(inside.with_columns(why=pl.coalesce("why", finer, wider)), "stock_data")


def _parts(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    granularity = pl.col("granularity") if "granularity" in rows.columns else pl.lit(None, pl.String)
    return rows.select(
        pl.lit(table).alias("table"),
        "source",
        granularity.alias("granularity"),
        *("price_basis", "timestamp", "arrived_at", "run_id"),
        pl.col("why").is_null().alias("used"),
        pl.col("why").cast(pl.String),
    )


def summed(parts: pl.DataFrame) -> pl.DataFrame:
    """PARTS by source and reason: rows, first and last of their times, when they arrived, and in which runs."""
    return (
        parts.group_by("table", "source", "granularity", "price_basis", "used", "why")
        .agg(
            rows=pl.len(),
            first=pl.col("timestamp").min(),
            last=pl.col("timestamp").max(),
            first_arrived=pl.col("arrived_at").min(),
            last_arrived=pl.col("arrived_at").max(),
            runs=pl.col("run_id").unique().sort(),
        )
        .sort("used", "table", "source", "granularity", descending=[True, False, False, False])
    )

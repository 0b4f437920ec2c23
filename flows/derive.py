"""From raw frames to derived frames: what a refresh computes. Pure, one market at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Self

import polars as pl

from storage.settings import Settings
from transforms.adjust import adjustment_factors, choose, choose_actions, to_raw
from transforms.resample import (
    bars_from_minutes,
    closed,
    fill_bars,
    fold,
    merge_minutes,
    resample,
)
from transforms.schema import BARS, INTRADAY_MINUTES, RAW_BARS, Interval
from transforms.sentiment import SentimentRules, cutoff, momentum, sentiment_buckets
from transforms.sessions import BucketRules, bucket_end, days_of, place
from transforms.ticks import bars_from_ticks

BEGINNING, END = date(1, 1, 1), date(9999, 12, 31)
"""Stand for no bound in the stored factors."""
_LENGTHS = {**INTRADAY_MINUTES, "1d": 24 * 60}
"""Minutes of an interval, the session's being the most."""
_AROUND = timedelta(days=60)
"""Longer than an exchange stays closed (38 days in Athens in 2015), so that there is a session on either side."""


@dataclass(frozen=True, slots=True)
class Market:
    """An exchange's sessions, and how the settings read them."""

    sessions: pl.LazyFrame
    rules: BucketRules
    settings: Settings

    def near(self, spans: pl.DataFrame) -> Self:
        """The same market with the sessions from the first to the last of some spans alone, and some on either side."""
        first, last = spans.select(pl.col("lo").min() - _AROUND, pl.col("hi").max() + _AROUND).row(0)
        around = pl.col("open").is_between(first, last)
        return replace(self, sessions=self.sessions.filter(around).collect().lazy())

    @property
    def sentiment_rules(self) -> SentimentRules:
        """Which messages count, and for which session."""
        chosen = self.settings
        return SentimentRules(
            chosen.sentiment_retweets,
            chosen.sentiment_duplicates,
            chosen.sentiment_cutoff,
            chosen.sentiment_cutoff_offset,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """Raw price rows of whole sessions, and what is known about where they come from."""

    ticks: pl.DataFrame
    rows: pl.DataFrame
    coverage: pl.DataFrame


@dataclass(frozen=True, slots=True)
class BarSet:
    """Bars of whole sessions: minutes still running among them, closed ones by interval, and what is still open.

    `open`: symbol, starts_at (of the first day with a bucket that is still open), due_at (when the next one closes).
    """

    minutes: pl.DataFrame
    rollups: Mapping[Interval, pl.DataFrame]
    fills: Mapping[Interval, pl.DataFrame]
    open: pl.DataFrame


def factors(actions: pl.DataFrame, market: Market, as_of: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split factors in force at `as_of` (symbol, from_date, to_date, price, volume), and the actions still to come.

    An action applies from the open of its ex-date. Those to come: symbol, starts_at, due_at.
    """
    chosen = choose_actions(actions.lazy(), market.settings.source_rank)
    opens = market.sessions.select("session", "open").sort("session")
    dated = chosen.sort("ex_date").join_asof(opens, left_on="ex_date", right_on="session", strategy="forward")
    midnight = pl.col("ex_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    dated = dated.with_columns(midnight.alias("starts_at"), due_at=pl.col("open").fill_null(midnight))
    applied = adjustment_factors(dated.filter(pl.col("due_at") <= as_of))
    stored = applied.select(
        "symbol",
        pl.col("from").fill_null(BEGINNING).alias("from_date"),
        pl.col("to").fill_null(END).alias("to_date"),
        "price",
        "volume",
    )
    coming = dated.filter(pl.col("due_at") > as_of).select("symbol", "starts_at", "due_at")
    return stored.sort("symbol", "from_date").collect(), coming.collect()


def raw_prices(rows: pl.DataFrame, actions: pl.DataFrame, adjusted: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Vendor rows in one basis: those that came split-adjusted are brought back to what was traded.

    A vendor's series is taken to be adjusted for every split up to the session of its own newest row (`adjusted`:
    symbol, source, ends_at).
    """
    vendors = rows.filter(pl.col("price_basis") == "split").partition_by("source", as_dict=True)
    splits = choose_actions(actions.lazy(), market.settings.source_rank)
    newest = _in_sessions(adjusted.lazy(), "ends_at", market)
    traded = [rows.filter(pl.col("price_basis") != "split")]
    for (source,), vendor in vendors.items():
        until = newest.filter(pl.col("source") == source).select("symbol", until="session")
        known = splits.join(until, on="symbol").filter(pl.col("ex_date") <= pl.col("until"))
        dated = _in_sessions(vendor.lazy(), "timestamp", market).sort("symbol", "session")
        traded.append(dated.pipe(to_raw, adjustment_factors(known)).select(rows.columns).collect())
    return pl.concat(traded)


def _in_sessions(rows: pl.LazyFrame, moment: str, market: Market) -> pl.LazyFrame:
    """Add the session whose local day is the last to have begun at `moment`."""
    days = days_of(market.sessions).select("session", "_day_start").sort("_day_start")
    return rows.sort(moment).join_asof(days, left_on=moment, right_on="_day_start").drop("_day_start")


def bars(prices: Prices, market: Market, as_of: datetime) -> BarSet:
    """Bars of every kept interval from the raw rows of whole sessions."""
    settings, sessions, rules = market.settings, market.sessions, market.rules
    rows = prices.rows.lazy().select(RAW_BARS.names())
    chosen = choose(rows, ("symbol", "granularity", "timestamp"), settings.source_rank)
    minutes = _minutes(prices, chosen, market).collect()
    placed = minutes.lazy().pipe(place, sessions, rules).collect().lazy()
    rollups: dict[Interval, pl.LazyFrame] = {"1m": placed.select(*BARS, *_when_closed("1m"))}
    rollups |= {i: placed.pipe(fold, i, *_when_closed(i)) for i in settings.intervals[1:]}

    coarse = chosen.filter(pl.col("granularity") != "1m").collect()
    fills = {
        i: fill_bars(coarse.lazy(), i, sessions, rules, rollups[i].select(BARS.names()))
        for i in settings.intervals[1:]
        if any(_LENGTHS[g] <= _LENGTHS[i] for g in coarse["granularity"].unique())
    }
    filled = {i: rows.pipe(place, sessions, rules) for i, rows in fills.items()}
    placed_fills = {i: rows.select(*BARS, *_when_closed(i)) for i, rows in filled.items()}
    # where no days are kept, the quote is still made of them once they have closed
    days_due = [] if "1d" in fills else [rows.select("symbol", *_when_closed("1d")) for rows in filled.values()]
    due = pl.collect_all([*rollups.values(), *placed_fills.values(), *days_due])
    made = due[: len(rollups) + len(placed_fills)]
    ended = iter([frame.filter(pl.col("due_at") <= as_of).select(BARS.names()) for frame in made])
    return BarSet(
        minutes=minutes,
        rollups={interval: next(ended) for interval in rollups},
        fills={i: next(ended) if i in fills else pl.DataFrame(schema=BARS) for i in settings.intervals[1:]},
        open=_open(due, as_of),
    )


def _minutes(prices: Prices, chosen: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """Bars of one minute: from trades, and from vendors' where no trades are the whole truth."""
    vendors = chosen.filter(pl.col("granularity") == "1m").pipe(bars_from_minutes, market.sessions, market.rules)
    if prices.ticks.is_empty() and prices.coverage.is_empty():
        return vendors
    traded = _one_source(prices.ticks.lazy(), market).pipe(bars_from_ticks, market.sessions, market.rules)
    covered = prices.coverage.lazy().select("symbol", start="starts_at", end="ends_at")
    return merge_minutes(traded, vendors, covered)


def _one_source(ticks: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """The trades of one source a symbol and session, in their total order: two feeds of one tape are not added up."""
    sources = ticks.select("symbol", "source").unique().collect()
    if sources.n_unique("symbol") < sources.height:
        days = days_of(market.sessions).select("_day_start", "_day_end").sort("_day_start")
        dated = ticks.sort("timestamp").join_asof(days, left_on="timestamp", right_on="_day_start")
        inside = dated.filter(pl.col("timestamp") < pl.col("_day_end")).drop("_day_end")
        key = ("symbol", "_day_start")
        best = choose(inside.select(*key, "source").unique(), key, market.settings.source_rank)
        ticks = inside.join(best, on=[*key, "source"], how="semi").drop("_day_start")
    return ticks.sort("symbol", "timestamp", "sequence")


def _when_closed(interval: Interval) -> tuple[pl.Expr, pl.Expr]:
    """`starts_at`, where the day of a placed row begins, and `due_at`, when its bucket closes.

    Not where the bucket itself starts: a vendor's hour stamped on the clock begins before the open it counts from.
    """
    return pl.col("_day_start").alias("starts_at"), bucket_end(interval).alias("due_at")


def _open(due: list[pl.DataFrame], as_of: datetime) -> pl.DataFrame:
    """The buckets that `as_of` has not passed: where the day of the first starts and when the next one closes."""
    running = [frame.filter(pl.col("due_at") > as_of).select("symbol", "starts_at", "due_at") for frame in due]
    return pl.concat(running).group_by("symbol").agg(pl.col("starts_at").min(), pl.col("due_at").min())


def sentiment(messages: pl.DataFrame, market: Market, as_of: datetime) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Closed sentiment buckets by interval, and what is still open (symbol, starts_at, due_at)."""
    rows = messages.lazy().sort("symbol", "timestamp", "source", "external_id", "ordinal")
    rules = market.sentiment_rules
    hourly = sentiment_buckets(rows, market.sessions, "1h", market.rules, rules).with_columns(
        due_at=pl.col("timestamp") + pl.duration(hours=1), starts_at="timestamp"
    )
    ends = market.sessions.select("session", due_at=cutoff(rules), starts_at=cutoff(rules).shift(1))
    daily = sentiment_buckets(rows, market.sessions, "1d", market.rules, rules).join(ends, on="session", how="left")
    # in memory: a mean's last bits depend on the order of its sum, which the streaming engine leaves open
    both = {"1h": hourly.collect(engine="in-memory"), "1d": daily.collect(engine="in-memory")}
    running = pl.concat(
        [f.filter(pl.col("due_at") > as_of).select("symbol", "starts_at", "due_at") for f in both.values()]
    )
    nearest = running.group_by("symbol").agg(pl.col("starts_at").min(), pl.col("due_at").min())
    ended = {i: f.filter(pl.col("due_at") <= as_of).drop("due_at", "starts_at") for i, f in both.items()}
    return ended, nearest


def with_momentum(daily: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Whole series of daily sentiment, in order, with the `momentum` of each session."""
    ordered = daily.sort("symbol", "timestamp")
    against = momentum(pl.col("mean_score"), market.settings.sentiment_baseline)
    return ordered.with_columns(momentum=against.over("symbol"))


def days(bars: pl.DataFrame, market: Market, as_of: datetime) -> pl.DataFrame:
    """Closed 1d bars from finer ones sorted by (symbol, timestamp)."""
    folded = bars.lazy().pipe(resample, "1d", market.sessions, market.rules).collect()
    return closed(folded.lazy(), "1d", market.sessions, market.rules, as_of).collect()


def quotes(minutes: pl.DataFrame, daily: pl.DataFrame, stored: pl.DataFrame, factor: pl.DataFrame) -> pl.DataFrame:
    """The newest session of each symbol so far, against the close before it.

    `minutes`: 1m bars of whole sessions, in order. `daily`: the symbols' closed raw 1d bars. `stored`: quotes of
    sessions that were not computed again. The previous close is brought to the prices of the newest session, so that
    a split is no move.
    `change` in price units, `change_pct` = 100 * (last / previous_close - 1).
    """
    running = minutes.group_by("symbol", "session", maintain_order=True).agg(
        timestamp=pl.col("timestamp").last(),
        last=pl.col("close").last(),
        open=pl.col("open").first(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        volume=pl.col("volume").sum(),
    )
    columns = ("symbol", "session", "timestamp", "last", "open", "high", "low", "volume")
    whole_days = daily.select(pl.col("close").alias("last"), *(c for c in columns if c != "last")).select(columns)
    newest = (
        pl.concat([running.select(columns), stored.select(columns), whole_days])
        .with_row_index("preference")
        .sort("symbol", "session", pl.col("preference"), descending=[False, True, False])
        .unique("symbol", keep="first", maintain_order=True)
        .drop("preference")
    )
    adjusted = daily.select("symbol", "session", "close").lazy().pipe(_at_factor, factor).sort("symbol", "session")
    before = (
        newest.lazy()
        .pipe(_at_factor, factor)
        .sort("symbol", "session")
        .join_asof(
            adjusted.select("symbol", "session", before=pl.col("close") * pl.col("_price")),
            on="session",
            by="symbol",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    previous = pl.col("before") / pl.col("_price")
    return (
        before.with_columns(previous_close=previous)
        .with_columns(
            change=pl.col("last") - pl.col("previous_close"),
            change_pct=100 * (pl.col("last") / pl.col("previous_close") - 1),
        )
        .select(*columns, "previous_close", "change", "change_pct")
        .collect()
    )


def as_factors(stored: pl.DataFrame) -> pl.LazyFrame:
    """Stored factors in the form that `transforms.adjust` takes."""
    return stored.lazy().select(
        "symbol", pl.col("from_date").alias("from"), pl.col("to_date").alias("to"), "price", "volume"
    )


def _at_factor(rows: pl.LazyFrame, factor: pl.DataFrame) -> pl.LazyFrame:
    """Add `_price`, the price factor of the row's session."""
    applying = factor.lazy().select("symbol", _from="from_date", _price="price").sort("symbol", "_from")
    joined = rows.sort("symbol", "session").join_asof(
        applying, left_on="session", right_on="_from", by="symbol", check_sortedness=False
    )
    return joined.with_columns(pl.col("_price").fill_null(1.0)).drop("_from")

"""From dirty windows to the sessions that have to be computed again. One market at a time; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

import polars as pl

from storage.market.retention import Frozen, thawed
from transforms.sentiment import SentimentRules, cutoff
from transforms.sessions import days_of

PRICES = ("ticks", "bars", "prices")
"""Datasets of windows that ask for the bars of their sessions."""
SCORES = ("sentiment", "scores")
"""Datasets of windows that ask for the sentiment of their sessions."""
FORCED = ("prices", "scores", "indicators", "correlations", "keys")
"""Datasets of windows that no raw row opened: a setting did, or `verify --repair` (docs/incremental.md)."""

_MARGIN = timedelta(hours=1)
"""Read around a sentiment session so that the clock hours at its edges are whole."""
_JUST_AFTER = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the claimed windows of one market's symbols reach.

    `prices`: symbol, number (its place among the market's sessions), session, day_start, day_end of every session
    whose bars are computed again.
    `sentiment`: symbol, session, after (the cutoff before), cutoff, day_start and open of every session whose
    messages are counted again.
    `actions`: symbols whose corporate actions changed.
    `forced`: symbols by the derived dataset that is to be computed again though no raw row of it changed.
    """

    symbols: list[str]
    prices: pl.DataFrame
    sentiment: pl.DataFrame
    actions: list[str]
    forced: Mapping[str, list[str]] = field(default_factory=dict)

    def again(self, dataset: str) -> list[str]:
        """The symbols of which a derived dataset is to be computed again whatever changed."""
        return self.forced.get(dataset, [])

    def without(self, frozen: Frozen) -> Self:
        """The same but for the sessions that read rows which have expired."""
        if not frozen:
            return self
        messages = self.sentiment.with_columns(_lo=pl.col("after") - _MARGIN, _hi=pl.col("cutoff") + _MARGIN)
        return replace(
            self,
            prices=thawed(self.prices, frozen.prices, "day_start", "day_end"),
            sentiment=thawed(messages, frozen.sentiment, "_lo", "_hi").drop("_lo", "_hi"),
        )

    def price_spans(self) -> pl.DataFrame:
        """The stretches of raw price rows and of bars that the sessions cover, neighbours as one.

        No session lies in them that is not planned: it may be frozen, and what landed in it since the windows were
        claimed would change bars whose indicators nobody looks at.
        """
        apart = (pl.col("number") != pl.col("number").shift(1) + 1).fill_null(value=True)
        days = self.prices.select("symbol", "number", lo="day_start", hi="day_end")
        return _as_one(days.lazy().sort("symbol", "lo"), apart, ("symbol",))

    def sentiment_spans(self) -> pl.DataFrame:
        """The stretches of messages to read; an hour more on either side."""
        lo, hi = pl.col("after") - _MARGIN, pl.col("cutoff") + _MARGIN
        return merged(self.sentiment.select("symbol", lo=lo, hi=hi), timedelta(0))

    def hour_spans(self) -> pl.DataFrame:
        """The starts of the clock hours that meet the sentiment sessions."""
        lo, hi = pl.col("after") - _MARGIN + _JUST_AFTER, pl.col("cutoff") + _JUST_AFTER
        return merged(self.sentiment.select("symbol", lo=lo, hi=hi), timedelta(0))

    def label_spans(self) -> pl.DataFrame:
        """Where the labels of the sentiment sessions lie, whatever hours are kept; sessions between them as well."""
        labels = self.sentiment.select("symbol", lo="day_start", hi=pl.col("open") + _JUST_AFTER)
        return merged(labels, timedelta(days=4))


def plan_windows(
    windows: pl.DataFrame,
    sessions: pl.DataFrame,
    adjusted: pl.DataFrame,
    restated: Sequence[str],
    rules: SentimentRules,
) -> Plan:
    """Work out what dirty windows reach.

    `windows`: symbol, dataset, starts_at, ends_at. `sessions`: the market's, in order. `adjusted`: symbol, starts_at,
    ends_at of vendor bars whose prices are not raw; an action of their symbol changes what they say, and so does
    another split that they are adjusted for (the symbols in `restated`). `rules`: which session collects a message.
    """
    actions = windows.filter(pl.col("dataset") == "actions")["symbol"].unique().sort().to_list()
    span = ("symbol", "starts_at", "ends_at")
    forced = {
        str(dataset): part["symbol"].unique().sort().to_list()
        for (dataset,), part in windows.group_by("dataset")
        if dataset in FORCED
    }
    touched = pl.concat(
        [
            windows.filter(pl.col("dataset").is_in(PRICES)).select(span),
            adjusted.filter(pl.col("symbol").is_in([*actions, *restated])).select(span),
        ]
    )
    messages = windows.filter(pl.col("dataset").is_in(SCORES)).select(span)
    return Plan(
        symbols=windows["symbol"].unique().sort().to_list(),
        prices=_price_sessions(touched, sessions),
        sentiment=_sentiment_sessions(messages, sessions, rules),
        actions=actions,
        forced=forced,
    )


def leftover(windows: pl.DataFrame, open_buckets: pl.DataFrame) -> pl.DataFrame:
    """What of the claimed windows has to be looked at again because time will close a bucket.

    `open_buckets`: symbol, dataset, starts_at (of the first bucket still open), due_at (when the next one closes).
    """
    return (
        windows.join(open_buckets, on=["symbol", "dataset"], suffix="_open")
        .filter(pl.col("ends_at") > pl.col("starts_at_open"))
        .group_by("symbol", "dataset")
        .agg(
            starts_at=pl.max_horizontal("starts_at", "starts_at_open").min(),
            ends_at=pl.col("ends_at").max(),
            due_at=pl.col("due_at").min(),
        )
        .sort("symbol", "dataset")
    )


def _price_sessions(windows: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """The sessions whose local day meets a window."""
    days = days_of(sessions.lazy()).select("session", day_start="_day_start", day_end="_day_end").collect()
    first = days["day_end"].search_sorted(windows["starts_at"], side="right")
    last = days["day_start"].search_sorted(windows["ends_at"], side="left")
    return _exploded(windows, first, last, days)


def _sentiment_sessions(windows: pl.DataFrame, sessions: pl.DataFrame, rules: SentimentRules) -> pl.DataFrame:
    """The sessions that collect a message of a window: session s takes (cutoff of s-1, cutoff of s]."""
    bounds = sessions.select(
        "session", "open", day_start=pl.min_horizontal("day_start", "open"), cutoff=cutoff(rules)
    ).sort("cutoff")
    before = pl.col("cutoff").shift(1).fill_null(pl.col("cutoff").first() - timedelta(days=1))
    collecting = bounds.with_columns(after=before)
    first = bounds["cutoff"].search_sorted(windows["starts_at"], side="left")
    last = bounds["cutoff"].search_sorted(windows["ends_at"] - _JUST_AFTER, side="left") + 1
    return _exploded(windows, first, last, collecting)


def _exploded(windows: pl.DataFrame, first: pl.Series, last: pl.Series, sessions: pl.DataFrame) -> pl.DataFrame:
    """Each window's symbol with each of the sessions from `first` up to, not including, `last`; once each."""
    return (
        windows.lazy()
        .select("symbol", first=first, last=last)
        .with_columns(number=pl.int_ranges("first", "last", dtype=pl.UInt32))
        .explode("number")
        .drop_nulls("number")
        .select("symbol", "number")
        .unique()
        .join(sessions.lazy().with_row_index("number"), on="number", how="inner")
        .sort("symbol", "session")
        .collect()
    )


def merged(spans: pl.DataFrame | pl.LazyFrame, gap: timedelta, series: Sequence[str] = ("symbol",)) -> pl.DataFrame:
    """Spans (lo, hi) of a series that meet, or lie at most `gap` apart, become one."""
    apart = (pl.col("lo") - pl.col("hi").shift(1) > gap).fill_null(value=True)
    return _as_one(spans.lazy().sort(*series, "lo"), apart, series)


def _as_one(spans: pl.LazyFrame, apart: pl.Expr, series: Sequence[str]) -> pl.DataFrame:
    """Spans in order, those of a series that are not `apart` from the one before as one."""
    return (
        spans.with_columns(run=apart.cum_sum().over(series))
        .group_by(*series, "run", maintain_order=True)
        .agg(lo=pl.col("lo").min(), hi=pl.col("hi").max())
        .select(*series, "lo", "hi")
        .collect()
    )

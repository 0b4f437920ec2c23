"""Which source counts where several tell the same, and what splits and dividends do to prices."""

from collections.abc import Sequence
from datetime import date
from typing import Literal

import polars as pl

from transforms.schema import OHLC

DividendRule = Literal["close_before", "close_ex"]
"""At which close a dividend is taken to be reinvested: the one before the ex-date (Yahoo), or its own (Quandl)."""


def choose(rows: pl.LazyFrame, key: Sequence[str], rank: Sequence[str]) -> pl.LazyFrame:
    """One row a key, sorted by it: of the source first in `rank`; those not listed come after, by name."""
    ranked = rows.sort(*key, _place_in(rank), "source")
    return ranked.unique(subset=list(key), keep="first", maintain_order=True)


def choose_actions(actions: pl.LazyFrame, rank: Sequence[str]) -> pl.LazyFrame:
    """ACTIONS of one source per (symbol, action), so that an event told by two sources is applied once."""
    series = ["symbol", "action"]
    best = choose(actions.select(*series, "source").unique(), series, rank)
    return actions.join(best, on=[*series, "source"], how="semi", maintain_order="left")


def _place_in(rank: Sequence[str]) -> pl.Expr:
    places = {name: place for place, name in enumerate(rank)}
    return pl.col("source").replace_strict(places, default=len(rank), return_dtype=pl.UInt32)


def adjust(
    bars: pl.LazyFrame, actions: pl.LazyFrame, as_of: date, dividends: DividendRule | None = "close_before"
) -> pl.LazyFrame:
    """Raw daily bars as a chart shows them on `as_of`: back-adjusted for splits and, unless None, for dividends.

    Definition: prices times the price factor of their session, volume times its volume factor, as
    `adjustment_factors` defines them with the closes of `bars`. Bars and actions after `as_of` have not happened:
    the bars are left out, so the newest bar is what was traded. Returns of the adjusted close are total returns with
    dividends and price returns without; docs/adjustment.md compares the two rules.
    Input: bars of (symbol, session, open, high, low, close, volume) sorted by (symbol, session), others are kept as
    they are; chosen ACTIONS, dividends in cash per raw share. Nulls stay null. A symbol without actions is unchanged.
    """
    known = bars.filter(pl.col("session") <= as_of)
    closes = None if dividends is None else known
    factors = adjustment_factors(actions, closes, as_of, dividends or "close_before")
    return split_adjust(known, factors)


def adjustment_factors(
    actions: pl.LazyFrame,
    closes: pl.LazyFrame | None = None,
    until: date | None = None,
    rule: DividendRule = "close_before",
) -> pl.LazyFrame:
    """Factors by which raw prices and volumes of sessions in [from, to) are multiplied; null: without end.

    Definition: for a session s, the product over the actions with s < ex_date of 1/value (price) and value
    (volume) for a split, and, where raw `closes` (symbol, session, close) are given, of the price factor of a
    dividend D: by `close_before`, 1 - D / (close of the session before the ex-date); by `close_ex`,
    1 / (1 + d / (close of the first session from the ex-date on)). D is cash per share as held before the ex-date;
    d is D per share after a split of the same day, D / value. A close that is null, NaN, infinite or not above 0 is
    none. A dividend without its close, or as large as the close before, is left out: no factor could be right.
    A symbol without actions has no row: factor 1.
    Input: chosen ACTIONS, one source per (symbol, action); those after `until` have not happened yet.
    Source: Yahoo's help on adjusted closes (close_before), columns of Quandl's WIKI prices (close_ex);
    docs/adjustment.md compares both with the vendors' columns.
    """
    known = actions if until is None else actions.filter(pl.col("ex_date") <= until)
    events = _split_events(known)
    if closes is not None:
        priced = closes.filter(pl.col("close").is_finite() & (pl.col("close") > 0))
        events = pl.concat([events, _dividend_events(known, priced, rule)])
    daily = events.group_by("symbol", "ex_date").agg(pl.col("price", "volume").product())
    last = daily.select("symbol").unique().with_columns(ex_date=None, price=1.0, volume=1.0)
    return (
        pl.concat([daily, last], how="vertical_relaxed")
        .sort("symbol", "ex_date", nulls_last=True)
        .select(
            "symbol",
            pl.col("ex_date").shift(1).over("symbol").alias("from"),
            pl.col("ex_date").alias("to"),
            pl.col("price", "volume").cum_prod(reverse=True).over("symbol"),
        )
    )


def _split_events(actions: pl.LazyFrame) -> pl.LazyFrame:
    splits = actions.filter(pl.col("action") == "split")
    return splits.select("symbol", "ex_date", price=1 / pl.col("value"), volume="value")


def _dividend_events(actions: pl.LazyFrame, closes: pl.LazyFrame, rule: DividendRule) -> pl.LazyFrame:
    """The price factor of each day's dividends together: two of one day are one sum, not one after the other."""
    dividends = actions.filter(pl.col("action") == "dividend")
    paid = dividends.group_by("symbol", "ex_date").agg(pl.col("value").sum()).sort("symbol", "ex_date")
    at = paid.join_asof(
        closes.select("symbol", "session", "close").sort("symbol", "session"),
        left_on="ex_date",
        right_on="session",
        by="symbol",
        strategy="backward" if rule == "close_before" else "forward",
        allow_exact_matches=rule == "close_ex",
        check_sortedness=False,
    )
    if rule == "close_before":
        share = 1 - pl.col("value") / pl.col("close")
        factor = pl.when(share > 0).then(share).otherwise(None)
    else:
        splits = _split_events(actions).group_by("symbol", "ex_date").agg(pl.col("price").product())
        at = at.join(splits, on=["symbol", "ex_date"], how="left")
        factor = 1 / (1 + pl.col("value") * pl.col("price").fill_null(1.0) / pl.col("close"))
    return at.select("symbol", "ex_date", price=factor.fill_null(1.0), volume=1.0)


def to_raw_dividends(actions: pl.LazyFrame) -> pl.LazyFrame:
    """ACTIONS whose dividends a vendor gives per share of today: brought to cash per share as held before the ex-date.

    Definition: a dividend's value times the product of the splits on or after its ex-date. Splits stay as they are.
    """
    factors = adjustment_factors(actions).select("symbol", _from=pl.col("from").fill_null(date.min), _volume="volume")
    dated = actions.with_columns(_before=pl.col("ex_date").dt.offset_by("-1d")).sort("symbol", "_before")
    joined = dated.join_asof(
        factors.sort("symbol", "_from"), left_on="_before", right_on="_from", by="symbol", check_sortedness=False
    )
    shares = pl.when(pl.col("action") == "dividend").then(pl.col("_volume")).fill_null(1.0)
    names = actions.collect_schema().names()
    return joined.with_columns(value=pl.col("value") * shares).select(names)


def split_adjust(bars: pl.LazyFrame, factors: pl.LazyFrame) -> pl.LazyFrame:
    """Raw bars times the factors of their `session`. Input sorted by (symbol, session); order is kept."""
    return bars.pipe(_with_factors, factors).pipe(_scaled, pl.col("_price"), pl.col("_volume"))


def to_raw(rows: pl.LazyFrame, factors: pl.LazyFrame) -> pl.LazyFrame:
    """Split-adjusted bars divided by the factors of their `session`: what was traded at the time.

    Input sorted by (symbol, session); order is kept. `factors` are those the vendor had applied: splits up
    to the day the data was made. A `price_basis` column, if there is one, then says raw.
    """
    raw = rows.pipe(_with_factors, factors).pipe(_scaled, 1 / pl.col("_price"), 1 / pl.col("_volume"))
    basis = "price_basis" in rows.collect_schema()
    return raw.with_columns(price_basis=pl.lit("raw")) if basis else raw


def _with_factors(rows: pl.LazyFrame, factors: pl.LazyFrame) -> pl.LazyFrame:
    start = pl.col("from").fill_null(date.min)
    applying = factors.select("symbol", _from=start, _price="price", _volume="volume").sort("symbol", "_from")
    joined = rows.join_asof(applying, left_on="session", right_on="_from", by="symbol", check_sortedness=False)
    return joined.with_columns(pl.col("_price", "_volume").fill_null(1.0))


def _scaled(rows: pl.LazyFrame, price: pl.Expr, volume: pl.Expr) -> pl.LazyFrame:
    scaled = rows.with_columns(pl.col(*OHLC) * price, pl.col("volume") * volume)
    return scaled.drop("_from", "_price", "_volume", strict=False)

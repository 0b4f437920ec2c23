"""Which source counts where several tell the same, and what splits and dividends do to prices."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from transforms.schema import OHLC


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


def adjustment_factors(
    actions: pl.LazyFrame, closes: pl.LazyFrame | None = None, until: date | None = None
) -> pl.LazyFrame:
    """Factors by which raw prices and volumes of sessions in [from, to) are multiplied; null: without end.

    Definition: for a session s, the product over the actions with s < ex_date of 1/value (price) and value
    (volume) for a split, and, where raw `closes` (symbol, session, close) are given, of 1 - value / close
    of the session before the ex-date (price) for a dividend. A symbol without actions has no row: factor 1.
    Input: chosen ACTIONS, one source per (symbol, action); those after `until` have not happened yet.
    """
    known = actions if until is None else actions.filter(pl.col("ex_date") <= until)
    events = _split_events(known)
    if closes is not None:
        events = pl.concat([events, _dividend_events(known, closes)])
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


def _dividend_events(actions: pl.LazyFrame, closes: pl.LazyFrame) -> pl.LazyFrame:
    """A dividend lowers the price by value / close of the session before; without one it is left out."""
    paid = actions.filter(pl.col("action") == "dividend").sort("symbol", "ex_date")
    before = closes.select("symbol", "session", "close").sort("symbol", "session")
    return paid.join_asof(
        before,
        left_on="ex_date",
        right_on="session",
        by="symbol",
        allow_exact_matches=False,
        check_sortedness=False,
    ).select("symbol", "ex_date", price=(1 - pl.col("value") / pl.col("close")).fill_null(1.0), volume=1.0)


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

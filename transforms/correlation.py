"""How a symbol's sentiment and its daily return move together."""

from collections.abc import Sequence
from typing import Literal

import polars as pl

MissingSentiment = Literal["leave_out", "zero"]


def daily_returns(bars: pl.LazyFrame) -> pl.LazyFrame:
    """Symbol, session and `return_1d`: close over the previous bar's close, minus one; null in the first.

    Input: `1d` BARS, split-adjusted, sorted by (symbol, timestamp). Units: 0.01 is one percent.
    """
    change = pl.col("close") / pl.col("close").shift(1).over("symbol") - 1
    return bars.select("symbol", "session", change.alias("return_1d"))


def daily_pairs(
    returns: pl.LazyFrame, sentiment: pl.LazyFrame, missing: MissingSentiment = "leave_out"
) -> pl.LazyFrame:
    """Every return with the `1d` sentiment of its session: `sentiment_mean` and `sentiment_count`.

    A session without a mention has count 0 and mean null (`leave_out`), or 0.0 (`zero`). Sorted by symbol,
    session.
    """
    scores = sentiment.select("symbol", "session", sentiment_mean="mean_score", sentiment_count="count")
    mean = pl.col("sentiment_mean")
    return (
        returns.join(scores, on=["symbol", "session"], how="left")
        .with_columns(mean.fill_null(0.0) if missing == "zero" else mean, pl.col("sentiment_count").fill_null(0))
        .sort("symbol", "session")
    )


def correlations(pairs: pl.LazyFrame, lags: Sequence[int], min_n: int) -> pl.LazyFrame:
    """Pearson's correlation of sentiment and return per symbol and lag, over all sessions (`window` 0).

    Lag k pairs the sentiment of a session with the return of the symbol's k-th next one: k > 0 means
    sentiment leads. A pair with a null is left out; a sample under `min_n` pairs gives no row; r is null
    where one side never varies. `session` is the last one any pair of the sample reads. Columns: symbol, x,
    y, session, window, lag, method, r, n; sorted by symbol and lag.
    """
    none = _at_lag(pairs, 0, min_n).clear()
    return pl.concat([none, *(_at_lag(pairs, lag, min_n) for lag in lags)]).sort("symbol", "lag")


def _at_lag(pairs: pl.LazyFrame, lag: int, min_n: int) -> pl.LazyFrame:
    x, y = pl.col("sentiment_mean"), pl.col("return_1d")
    varies = (x.min() != x.max()) & (y.min() != y.max())
    return (
        pairs.with_columns(
            y.shift(-lag).over("symbol"),
            _last=pl.max_horizontal("session", pl.col("session").shift(-lag).over("symbol")),
        )
        .drop_nulls([x.meta.output_name(), y.meta.output_name()])
        .group_by("symbol")
        .agg(
            pl.col("_last").max().alias("session"),
            pl.when(varies).then(pl.corr(x, y)).alias("r"),
            pl.len().cast(pl.Int32).alias("n"),
        )
        .filter(pl.col("n") >= min_n)
        .select(
            "symbol",
            pl.lit("sentiment_mean").alias("x"),
            pl.lit("return_1d").alias("y"),
            "session",
            pl.lit(0, pl.Int32).alias("window"),
            pl.lit(lag, pl.Int32).alias("lag"),
            pl.lit("pearson").alias("method"),
            pl.col("r").fill_nan(None),
            "n",
        )
    )

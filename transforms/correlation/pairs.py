"""What is correlated: a session's sentiment, or its change, and the return of a session."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
MissingSentiment = Literal["leave_out", "zero"]

LEVELS: Final = ("sentiment_change", "sentiment_mean")
"""What `x` may be, in the order of rows."""
RETURN: Final = "return_1d"


def daily_returns(bars: pl.LazyFrame) -> pl.LazyFrame:
    """Symbol, session and `return_1d`: close over the previous bar's close, minus one; null in the first.

    Input: `1d` BARS, split-adjusted, sorted by (symbol, timestamp). Units: 0.01 is one percent.
    """
    change = pl.col("close") / pl.col("close").shift(1).over("symbol") - 1
    return bars.select("symbol", "session", change.alias(RETURN))


def daily_pairs(
    returns: pl.LazyFrame, sentiment: pl.LazyFrame, missing: MissingSentiment = "leave_out"
) -> pl.LazyFrame:
    """Every return with the `1d` sentiment of its session: `sentiment_mean`, `sentiment_count`, `sentiment_change`.

    A session without a mention has count 0 and mean null (`leave_out`), or 0.0 (`zero`). `sentiment_change`: the
    mean less that of the newest earlier session that has one; null where there is none, or no mean. Sorted by
    symbol, session.
    """
    scores = sentiment.select("symbol", "session", sentiment_mean="mean_score", sentiment_count="count")
    mean = pl.col("sentiment_mean")
    before = mean.forward_fill().shift(1).over("symbol")
    return (
        returns.join(scores, on=["symbol", "session"], how="left")
        .with_columns(mean.fill_null(0.0) if missing == "zero" else mean, pl.col("sentiment_count").fill_null(0))
        .sort("symbol", "session")
        .with_columns(sentiment_change=mean - before)
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """Daily pairs as arrays, NaN for null; `starts[i]` is the row at which symbol i begins, the last is their end."""

    symbols: list[str]
    starts: Ints
    sessions: pl.Series
    levels: Floats
    returns: Floats

    @classmethod
    def of(cls, pairs: pl.DataFrame) -> "Columns":
        """Those of `daily_pairs`."""
        ordered = pairs.sort("symbol", "session")
        runs = ordered.select(pl.col("symbol").rle().struct.unnest())
        levels = np.stack([ordered[name].cast(pl.Float64).to_numpy() for name in LEVELS])
        return cls(
            symbols=runs["value"].to_list(),
            starts=np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)]),
            sessions=ordered["session"],
            levels=levels,
            returns=ordered[RETURN].cast(pl.Float64).to_numpy(),
        )


def delayed(values: Floats, by: int) -> Floats:
    """The values `by` places earlier on the last axis; NaN where there is none."""
    if by == 0:
        return values
    late = np.full(values.shape, np.nan)
    late[..., by:] = values[..., :-by]
    return late


def at_lag(x: Floats, y: Floats, lag: int) -> tuple[Floats, Floats]:
    """Both series so that a pair stands at the later of its two sessions.

    Lag k pairs x of a session with y of the k-th next one: the pair at t is x[t-k], y[t] for k >= 0, else x[t], y[t+k].
    """
    return delayed(x, min(max(lag, 0), x.shape[-1])), delayed(y, min(max(-lag, 0), y.shape[-1]))

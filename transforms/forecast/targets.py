"""What is forecast: a session's return and its volatility, from daily bars."""

import math
from typing import Final

import polars as pl

DECAY: Final = 0.94
"""Weight of yesterday in the expected spread, RiskMetrics' for daily data (J.P. Morgan, Technical Document, 1996)."""

_CLOSE_TO_OPEN: Final = 2 * math.log(2) - 1


def targets(bars: pl.LazyFrame, sessions: pl.LazyFrame) -> pl.LazyFrame:
    """What each session brought, and the spread that was to be expected after it.

    Columns: symbol, session, log_return, volatility, spread.
    `log_return` = ln(close / close of the session before). Null on the first bar, and where a session of the market
    has no bar in between: what two sessions brought is not what one does.
    `volatility` = the square root of the Garman-Klass variance `garman_klass`, a standard deviation of the session's
    log price from open to close. Null where nothing traded off one price (high = low).
    `spread` = exp of the exponentially weighted mean (weight 0.94 on the past) of ln(volatility) up to and with this
    session; null before the first volatility. A session without one keeps the spread before it.
    Units: fractions a session, 0.01 is one per cent (of log price). A split or any other factor common to a bar's
    prices changes none of the three; splits between bars must have been adjusted for.
    Input: split-adjusted daily bars (symbol, session, open, high, low, close), sorted by (symbol, session); the
    market's `sessions` (session). A price that is null or not positive leaves what needs it null.
    """
    numbered = sessions.select("session").unique().sort("session").with_row_index("_number")
    level = pl.col("volatility").log().ewm_mean(alpha=1 - DECAY, adjust=False, ignore_nulls=True)
    return (
        bars.join(numbered, on="session", how="left", maintain_order="left")
        .with_columns(
            log_return=pl.when(pl.col("_number").diff().over("symbol") == 1).then(_log_change(pl.col("close"))),
            volatility=garman_klass().sqrt(),
        )
        .with_columns(spread=level.exp().forward_fill().over("symbol"))
        .select("symbol", "session", "log_return", "volatility", "spread")
    )


def garman_klass() -> pl.Expr:
    """Variance of a session's log price from its open, high, low and close; null where there is none to see.

    Definition: 0.5 ln(high / low)^2 - (2 ln 2 - 1) ln(close / open)^2, null unless positive.
    It does not see the night between two sessions.
    Source: Garman and Klass, On the Estimation of Security Price Volatilities from Historical Data, Journal of
    Business 53 (1980), the estimator they call more practical.
    """
    range_ = _log(pl.col("high")) - _log(pl.col("low"))
    body = _log(pl.col("close")) - _log(pl.col("open"))
    variance = 0.5 * range_.pow(2) - _CLOSE_TO_OPEN * body.pow(2)
    return pl.when((range_ > 0) & (variance > 0)).then(variance)


def _log_change(price: pl.Expr) -> pl.Expr:
    return _log(price) - _log(price).shift(1).over("symbol")


def _log(price: pl.Expr) -> pl.Expr:
    return pl.when(price > 0).then(price).log()

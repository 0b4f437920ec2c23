"""Where a price stands in its own past, and beside a benchmark."""

from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import sma
from transforms.indicators.volatility import flat

NOISE = 1e-14
"""Variance under this share of the mean square is rounding: about what a series of equal returns leaves."""


def zscore(x: pl.Expr, window: int = 20) -> pl.Expr:
    """Standard score.

    Definition: (x - mean) / population standard deviation of the last `window` values; 0 where they are all
    the same (0 / 0): the value is at its mean. Units: standard deviations. Input: adjusted prices of one
    symbol, sorted, no nulls inside; for many, `.over("symbol")`; window >= 2. Lookback: `window - 1` null rows.
    Reach of a change: `window` rows. Source: Excel's STANDARDIZE; reference column zscore_10.
    """
    score = (x - sma(x, window)) / x.rolling_std(window, ddof=0)
    return pl.when(flat(x, window)).then(0.0).otherwise(score)


class Drawdown(NamedTuple):
    """How far below its peak, how far it ever was, and the peak."""

    now: pl.Expr
    worst: pl.Expr
    peak: pl.Expr


def drawdown(x: pl.Expr) -> Drawdown:
    """Fall from the highest value so far.

    Definition: now = 100 * (x / peak - 1), peak = highest of x[0 .. t]; worst = lowest of now[0 .. t], the
    maximum drawdown since the first row. Units: percent, never above 0. Input: as `zscore`. Lookback: none.
    State: the peak, and worst for worst. Source: ChartSchool's sheet cs-ui, percent_drawdown.
    """
    peak = x.cum_max()
    now = 100 * (x / peak - 1)
    return Drawdown(now, now.cum_min(), peak)


def returns(x: pl.Expr) -> pl.Expr:
    """Simple returns, x[t] / x[t-1] - 1; null in the first row."""
    return x / x.shift(1) - 1


def correlation(x: pl.Expr, y: pl.Expr, window: int = 20) -> pl.Expr:
    """Pearson's correlation of two series, row by row, over the last `window` of them.

    Definition: covariance / (deviation of x * deviation of y). Null where either does not vary (0 / 0). Units:
    -1 to 1. Input: two series of one symbol, in step, no nulls inside; for many, `.over("symbol")`; window
    >= 2. Of prices two trends correlate by themselves: give it `returns`, as the catalogue does; TA-Lib's
    CORREL and the reference correlate prices. Lookback: `window - 1` null rows more than the inputs have.
    Reach of a change: `window` rows. Source: Excel's CORREL; reference column corr_20_compare_vs_default.
    """
    spread = (x.rolling_var(window, ddof=0) * y.rolling_var(window, ddof=0)).sqrt()
    known = _varies(x, window) & _varies(y, window)
    return pl.when(known).then((_covariance(x, y, window) / spread).clip(-1, 1))


def beta(x: pl.Expr, benchmark: pl.Expr, window: int = 20) -> pl.Expr:
    """Beta to a benchmark.

    Definition: covariance of the simple returns of both / variance of those of the benchmark, over the last
    `window` returns; population or sample makes no difference. Null where the benchmark's returns do not vary
    (0 / 0). Units: a ratio. Input: adjusted closes of one symbol and the benchmark's of the same rows, sorted,
    no nulls inside; for many, `.over("symbol")`; window >= 2. Lookback: `window` null rows. Reach of a change:
    `window + 1` rows. Source: Excel's COVARIANCE.P and VAR.P; reference column beta_20_compare_vs_default.
    """
    own, market = returns(x), returns(benchmark)
    ratio = _covariance(own, market, window) / market.rolling_var(window, ddof=0)
    return pl.when(_varies(market, window)).then(ratio)


def sharpe(x: pl.Expr, window: int = 20) -> pl.Expr:
    """Rolling Sharpe ratio.

    Definition: mean / population standard deviation of the last `window` simple returns, with no risk-free
    rate taken off, per bar: multiply by sqrt(bars a year) for the annual figure. Null where the returns do not
    vary (nothing to divide by). Units: a ratio. Input: as `zscore`. Lookback: `window` null rows. Reach of a
    change: `window + 1` rows. Source: W. Sharpe (1966); the convention of Lean's SharpeRatio.
    """
    earned = returns(x)
    ratio = earned.rolling_mean(window) / earned.rolling_std(window, ddof=0)
    return pl.when(_varies(earned, window)).then(ratio)


def _covariance(x: pl.Expr, y: pl.Expr, window: int) -> pl.Expr:
    """Population covariance."""
    return (x * y).rolling_mean(window) - x.rolling_mean(window) * y.rolling_mean(window)


def _varies(x: pl.Expr, window: int) -> pl.Expr:
    """Whether the last `window` values differ by more than rounding."""
    spread = x.rolling_var(window, ddof=0) > NOISE * (x * x).rolling_mean(window)
    return flat(x, window).not_() & spread

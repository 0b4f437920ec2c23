"""Moving averages."""

from math import isqrt
from typing import Literal, NamedTuple

import polars as pl

from transforms.kernels.expression import kernel_expr

ROUNDING = 1e-12
"""Prices, or moves of a price, that differ by less than this share of it are equal but for rounding."""
Seed = Literal["first", "mean"]
"""What an average of an average starts from: the inner one's first value, or the mean of `window` of them."""


def sma(x: pl.Expr, window: int) -> pl.Expr:
    """Simple moving average.

    Definition: y[t] = mean of x[t-window+1 .. t]. Units: those of `x`. Input: adjusted prices of one
    symbol, sorted, no nulls inside; for many, `.over("symbol")`. Lookback: `window - 1` null rows. Reach of
    a change: `window` rows. Source: Excel's AVERAGE, in the reference column sma_20.
    """
    return x.rolling_mean(window)


def ema(x: pl.Expr, window: int) -> pl.Expr:
    """Exponential moving average.

    Definition: y[t] = y[t-1] + a * (x[t] - y[t-1]) with a = 2 / (window + 1). Seed: simple mean of the
    first `window` values, as in TA-Lib; a bare `ewm_mean` starts from the first value. Units and input: as
    `sma`; leading nulls are skipped. State: y. Lookback: `window - 1` null rows. Warm-up: 3.5 * window more
    until the seed weighs under 0.1 %. Source: TA-Lib, ta_EMA.c; reference column ema_20.
    """
    return _seeded(x, window, alpha=2 / (window + 1))


def wilder(x: pl.Expr, window: int) -> pl.Expr:
    """Wilder's moving average (also RMA, SMMA).

    Definition: y[t] = (y[t-1] * (window - 1) + x[t]) / window. Seed: simple mean of the first `window`
    values. Units and input: as `ema`. State: y. Lookback: `window - 1` null rows. Warm-up: 7 * window more.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return _seeded(x, window, alpha=1 / window)


def _seeded(x: pl.Expr, window: int, alpha: float) -> pl.Expr:
    """y[t] = y[t-1] + alpha * (x[t] - y[t-1]), from the simple mean of the first `window` values on."""
    seeded = pl.when(x.cum_count() > window).then(x).otherwise(x.rolling_mean(window))  # null, null, ..., mean, x, x
    return seeded.ewm_mean(alpha=alpha, adjust=False)


def wma(x: pl.Expr, window: int) -> pl.Expr:
    """Weighted moving average, the newest value counting most.

    Definition: y[t] = sum((window - i) * x[t-i] for i in 0 .. window-1) / (window * (window + 1) / 2).
    Units and input: as `sma`; leading nulls are skipped. Lookback: `window - 1` null rows. Reach of a
    change: `window` rows. Source: Skender's spot values of WMA; ChartSchool sheet cs-wma.
    """
    weighted = x.fill_null(0).rolling_mean(window, weights=[float(n) for n in range(1, window + 1)])
    return pl.when(x.cum_count() >= window).then(weighted)  # no window with one of the leading nulls in it


class Smoothed(NamedTuple):
    """The average of a series, the average of that one, and the average of that again."""

    once: pl.Expr
    twice: pl.Expr
    thrice: pl.Expr


def smoothed(x: pl.Expr, window: int, *, seed: Seed = "first") -> Smoothed:
    """Exponential averages of each other: the state of `dema`, `tema` and `trix`.

    Definition: once = ema(x), twice = ema(once), thrice = ema(twice), all with a = 2 / (window + 1). Seed:
    the first by its simple mean; the others by the first value of the inner one, so that all three start in
    the same row (Excel's sheet, Skender), or with `seed="mean"` by the mean of its first `window` values
    (TA-Lib). Units and input: as `ema`. Lookback: `window - 1` null rows; with `seed="mean"` as many more
    for each further average.
    """
    once = ema(x, window)
    twice = _again(once, window, seed)
    return Smoothed(once, twice, _again(twice, window, seed))


def _again(y: pl.Expr, window: int, seed: Seed) -> pl.Expr:
    return ema(y, window) if seed == "mean" else y.ewm_mean(span=window, adjust=False)


def dema(x: pl.Expr, window: int, *, seed: Seed = "first") -> pl.Expr:
    """Double exponential moving average.

    Definition: 2 * once - twice of `smoothed`. Seeds, units and input: as there; TA-Lib's is `seed="mean"`.
    State: once and twice. Lookback: `window - 1` null rows, `2 * (window - 1)` with `seed="mean"`. Warm-up:
    5 * window more. Source: P. Mulloy, Technical Analysis of Stocks & Commodities 12 (1994); reference
    column dema.dema.
    """
    once, twice, _ = smoothed(x, window, seed=seed)
    return 2 * once - twice


def tema(x: pl.Expr, window: int, *, seed: Seed = "first") -> pl.Expr:
    """Triple exponential moving average.

    Definition: 3 * once - 3 * twice + thrice of `smoothed`. Seeds, units and input: as there; TA-Lib's is
    `seed="mean"`. State: all three. Lookback: `window - 1` null rows, `3 * (window - 1)` with
    `seed="mean"`. Warm-up: 6 * window more. Source: P. Mulloy (1994), as `dema`; reference column tema.tema.
    """
    once, twice, thrice = smoothed(x, window, seed=seed)
    return 3 * once - 3 * twice + thrice


def hma(x: pl.Expr, window: int) -> pl.Expr:
    """Hull moving average.

    Definition: wma(2 * wma(x, window // 2) - wma(x, window), isqrt(window)). Units and input: as `wma`.
    Lookback: `window + isqrt(window) - 2` null rows. Reach of a change: one row more than that.
    Source: A. Hull (2005); Skender's spot values of HMA.
    """
    return wma(2 * wma(x, max(window // 2, 1)) - wma(x, window), isqrt(window))


def vwma(price: pl.Expr, volume: pl.Expr, window: int) -> pl.Expr:
    """Volume-weighted moving average.

    Definition: sum(price * volume) / sum(volume) over the last `window` rows; null where nothing traded in
    them (0 / 0). Units: those of `price`. Input: as `sma`, volumes >= 0. Lookback: `window - 1` null rows.
    Reach of a change: `window` rows. Source: reference column vwma_10.
    """
    traded = volume.rolling_max(window) > 0
    return pl.when(traded).then((price * volume).rolling_sum(window) / volume.rolling_sum(window))


def efficiency_ratio(x: pl.Expr, window: int) -> pl.Expr:
    """How straight the way of the last `window` changes was, 0 to 1.

    Definition: |x[t] - x[t-window]| / sum of |x[i] - x[i-1]|; 0 where it ends where it began, also where
    nothing moved (0 / 0; TA-Lib has 1 there). Units: none. Input: as `sma`. Lookback: `window` null rows.
    Reach of a change: `window + 1` rows. Source: P. Kaufman, Trading Systems and Methods; reference column
    kama_er_10.
    """
    change, way = x.diff(window).abs(), x.diff().abs().rolling_sum(window)
    return pl.when(change > 0).then((change / way).clip(upper_bound=1)).when(change == 0).then(0.0)


def kama(x: pl.Expr, window: int = 10, fast: int = 2, slow: int = 30) -> pl.Expr:
    """Kaufman's adaptive moving average: an EMA that is quick in a trend and slow in noise.

    Definition: y[t] = y[t-1] + c[t]**2 * (x[t] - y[t-1]) with
    c = efficiency_ratio * (2 / (fast + 1) - 2 / (slow + 1)) + 2 / (slow + 1). Seed: y[window-1] =
    x[window-1] (TA-Lib starts alike and hides that row). Units: those of `x`. Input: as `sma`. Lookback:
    `window - 1` null rows. State: itself. Source: P. Kaufman, Trading Systems and Methods; reference column
    kama_10_2_30.
    """
    return kernel_expr("kama", [x], [window, fast, slow])

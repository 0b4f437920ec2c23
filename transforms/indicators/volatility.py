"""How far prices swing."""

from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import sma, wilder


class Bands(NamedTuple):
    """Three lines around a price."""

    upper: pl.Expr
    middle: pl.Expr
    lower: pl.Expr


def bollinger(x: pl.Expr, window: int = 20, width: float = 2) -> Bands:
    """Bollinger bands.

    Definition: sma(x, window) and `width` standard deviations of the same window above and below it;
    population deviation (divisor `window`). Units: those of `x`. Input: adjusted prices of one symbol,
    sorted, no nulls inside; for many, `.over("symbol")`. Lookback: `window - 1` null rows. Reach of a
    change: `window` rows. Source: J. Bollinger; Excel's STDEV.P in the reference columns bb_mid_20,
    bb_upper_20_2, bb_lower_20_2.
    """
    middle = sma(x, window)
    reach = width * x.rolling_std(window, ddof=0)
    return Bands(middle + reach, middle, middle - reach)


def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Largest of high - low, |high - previous close| and |low - previous close|; null in the first row.

    Units: those of the prices. Input: as `bollinger`. Source: Wilder (1978); reference column tr.
    """
    before = close.shift(1)
    widest = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())
    return pl.when(before.is_not_null()).then(widest)


def atr(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> pl.Expr:
    """Average true range, Wilder's.

    Definition: wilder(true_range, window). Units: those of the prices. Input: as `bollinger`. State: itself.
    Lookback: `window` null rows, since the first row has no true range. Warm-up: 7 * window more.
    Source: Wilder (1978); reference column atr_14.
    """
    return wilder(true_range(high, low, close), window)

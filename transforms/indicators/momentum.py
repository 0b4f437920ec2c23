"""How fast prices move."""

from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import ema, wilder


class GainLoss(NamedTuple):
    """Wilder's averages of the rises and of the falls of a series, both >= 0."""

    gain: pl.Expr
    loss: pl.Expr


def gain_loss(x: pl.Expr, window: int) -> GainLoss:
    """Wilder averages of max(x[t] - x[t-1], 0) and max(x[t-1] - x[t], 0): the state of `rsi`.

    Units: those of `x`. Lookback: `window` null rows.
    """
    change = x.diff()
    return GainLoss(wilder(change.clip(lower_bound=0), window), wilder((-change).clip(lower_bound=0), window))


def rsi(x: pl.Expr, window: int) -> pl.Expr:
    """Relative strength index, Wilder's.

    Definition: 100 * gain / (gain + loss) of `gain_loss`; where nothing moved at all (0 / 0), 50: neither
    side was stronger (TA-Lib says 0 there, Skender 100). Units: 0 to 100. Input: adjusted prices of one
    symbol, sorted, no nulls inside; for many, `.over("symbol")`. Lookback: `window` null rows. State: gain
    and loss. Warm-up: 7 * window more. Source: J. W. Wilder, New Concepts in Technical Trading Systems
    (1978); reference column rsi_14.
    """
    gain, loss = gain_loss(x, window)
    moved = gain + loss
    return pl.when(moved == 0).then(50.0).otherwise(100 * gain / moved)


class Macd(NamedTuple):
    """The line, its signal and their difference; `fast` and `slow` are the averages the line is made of."""

    line: pl.Expr
    signal: pl.Expr
    histogram: pl.Expr
    fast: pl.Expr
    slow: pl.Expr


def macd(x: pl.Expr, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Moving average convergence divergence.

    Definition: line = ema(x, fast) - ema(x, slow); signal = ema(line, signal); histogram = line - signal.
    Seeds: each average by its own simple mean (TA-Lib starts both where the slow one starts: others until
    they converge). Units: those of `x`. Input: as `rsi`. State: both averages and the signal. Lookback:
    line `slow - 1` null rows, signal and histogram `slow + signal - 2`. Source: G. Appel; reference columns
    macd_12_26, macd_signal_9, macd_hist.
    """
    quick, lazy = ema(x, fast), ema(x, slow)
    line = quick - lazy
    smoothed = ema(line, signal)
    return Macd(line, smoothed, line - smoothed, quick, lazy)

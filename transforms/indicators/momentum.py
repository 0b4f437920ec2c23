"""How fast prices move."""

from typing import Literal, NamedTuple

import polars as pl

from transforms.indicators.trend import Seed, ema, smoothed, wilder


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


def macd(
    x: pl.Expr, fast: int = 12, slow: int = 26, signal: int = 9, *, seeds: Literal["own", "together"] = "own"
) -> Macd:
    """Moving average convergence divergence.

    Definition: line = ema(x, fast) - ema(x, slow); signal = ema(line, signal); histogram = line - signal.
    Seeds: each average by its own simple mean of its first values; `seeds="together"` lets the quicker one
    wait, so that both start in the row of the slower one (TA-Lib; they differ until they have converged).
    Units: those of `x`. Input: as `rsi`. State: both averages and the signal. Lookback: line `slow - 1` null
    rows, signal and histogram `slow + signal - 2`. Source: G. Appel; reference columns macd_12_26,
    macd_signal_9, macd_hist.
    """
    quick, lazy = _pair(x, fast, slow, seeds)
    line = quick - lazy
    smooth = ema(line, signal)
    return Macd(line, smooth, line - smooth, quick, lazy)


def _pair(x: pl.Expr, fast: int, slow: int, seeds: Literal["own", "together"]) -> tuple[pl.Expr, pl.Expr]:
    if seeds == "own":
        return ema(x, fast), ema(x, slow)
    seen, start = x.cum_count(), max(fast, slow)
    quick, lazy = (ema(pl.when(seen > start - window).then(x), window) for window in (fast, slow))
    return quick, lazy


def ppo(x: pl.Expr, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Percentage price oscillator: `macd` in percent of the slow average, comparable between symbols.

    Definition: line = 100 * (ema(x, fast) / ema(x, slow) - 1); signal = ema(line, signal); histogram = line
    - signal; null where the slow average is 0. Seeds: each average by its own simple mean, as TA-Lib's PPO
    with exponential averages (it takes simple ones unless told). Units: percent. Input, state and lookback:
    as `macd`. Source: G. Appel; ChartSchool sheet cs-ppo; Skender's spot values of PVO, this of volume.
    """
    quick, lazy = ema(x, fast), ema(x, slow)
    line = pl.when(lazy != 0).then(100 * (quick - lazy) / lazy)
    smooth = ema(line, signal)
    return Macd(line, smooth, line - smooth, quick, lazy)


def momentum(x: pl.Expr, window: int = 10) -> pl.Expr:
    """Change over `window` rows.

    Definition: x[t] - x[t-window]. Units: those of `x`. Input: as `rsi`. Lookback: `window` null rows. Reach
    of a change: `window + 1` rows. Source: reference column mom_20.
    """
    return x.diff(window)


def roc(x: pl.Expr, window: int = 12) -> pl.Expr:
    """Rate of change.

    Definition: 100 * (x[t] - x[t-window]) / x[t-window]; null where the price before was 0. Units: percent.
    Input: as `rsi`. Lookback: `window` null rows. Reach of a change: `window + 1` rows. Source: reference
    column roc_20; ChartSchool sheet cs-roc.
    """
    before = x.shift(window)
    return pl.when(before != 0).then(100 * (x - before) / before)


def trix(x: pl.Expr, window: int = 15, *, seed: Seed = "first") -> pl.Expr:
    """Rate of change of a triple exponential average.

    Definition: 100 * (y[t] / y[t-1] - 1) with y = thrice of `smoothed`; null where y[t-1] is 0. Seed: all
    three averages start in row `window - 1`, as in Excel's sheet and Skender; `seed="mean"` is TA-Lib's.
    Units: percent. Input: as `rsi`. State: once, twice and thrice of `smoothed`. Lookback: `window` null
    rows, `3 * window - 2` with `seed="mean"`. Warm-up: 6 * window more. Source: J. Hutson, Technical
    Analysis of Stocks & Commodities 1 (1983); reference column trix_20.
    """
    return roc(smoothed(x, window, seed=seed).thrice, 1)


class Tsi(NamedTuple):
    """The line, its signal, and the averages it is made of: of the changes and of their sizes."""

    line: pl.Expr
    signal: pl.Expr
    change: pl.Expr
    change_twice: pl.Expr
    size: pl.Expr
    size_twice: pl.Expr


def tsi(x: pl.Expr, long: int = 25, short: int = 13, signal: int = 7) -> Tsi:
    """True strength index.

    Definition: line = 100 * ema(ema(d, long), short) / ema(ema(|d|, long), short) with d = x[t] - x[t-1];
    signal = ema(line, signal). Seeds: each average by its own simple mean. 0 where nothing moved at all
    (0 / 0): no strength either way. Units: -100 to 100. Input: as `rsi`. State: the four averages and the
    signal. Lookback: line `long + short - 1` null rows, signal `long + short + signal - 2`. Warm-up: 4 *
    (long + short) more. Source: W. Blau (1991); reference columns tsi.TSI and tsi.signal; ChartSchool sheet
    cs-tsi.
    """
    change = ema(x.diff(), long)
    size = ema(x.diff().abs(), long)
    change_twice, size_twice = ema(change, short), ema(size, short)
    line = pl.when(size_twice == 0).then(0.0).otherwise(100 * change_twice / size_twice)
    return Tsi(line, ema(line, signal), change, change_twice, size, size_twice)

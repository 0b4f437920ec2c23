"""Volatility over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import rolling_mean_std, seeded_average


@compiled
def bollinger(bounds: Ints, x: Floats, window: int, width: float, upper: Floats, middle: Floats, lower: Floats) -> None:
    """`indicators.volatility.bollinger`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rolling_mean_std(x[start:end], window, middle[start:end], lower[start:end])
        for t in range(start, end):
            reach = width * lower[t]
            upper[t] = middle[t] + reach
            lower[t] = middle[t] - reach


@compiled
def average_range(high: Floats, low: Floats, close: Floats, known: int, window: int, out: Floats) -> None:
    """`indicators.volatility.atr` of one group."""
    if not known:
        out[:1] = np.nan
    for t in range(max(known, 1), high.size):
        out[t] = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
    seeded_average(out, known, window, 1 / window, out)


@compiled
def atr(bounds: Ints, known: Ints, high: Floats, low: Floats, close: Floats, window: int, out: Floats) -> None:
    """`indicators.volatility.atr`."""
    keep, weight = (window - 1) / window, 1 / window
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        first = start + window
        y = 0.0
        if known[g]:
            first = start + known[g] - 1
            y = out[first]
        for t in range(start + known[g], end):
            out[t] = np.nan
            if t > start:
                widest = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
                y = keep * y + weight * widest if t > first else y + weight * widest
            if t >= first:
                out[t] = y


@compiled
def natr(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    out: Floats,
    average: Floats,
) -> None:
    """`indicators.volatility.natr`, with the average true range."""
    atr(bounds, known, high, low, close, window, average)
    for g in range(bounds.size - 1):
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            out[t] = 100 * average[t] / close[t]


@compiled
def keltner(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    width: float,
    atr_window: int,
    upper: Floats,
    middle: Floats,
    lower: Floats,
    average: Floats,
) -> None:
    """`indicators.volatility.keltner`, with the average true range."""
    atr(bounds, known, high, low, close, atr_window, average)
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(close[rows], known[g], window, 2 / (window + 1), middle[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            reach = width * average[t]
            upper[t] = middle[t] + reach
            lower[t] = middle[t] - reach

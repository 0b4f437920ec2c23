"""Ranges over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.momentum import rsi
from transforms.kernels.rolling import rolling_max, rolling_mean


@compiled
def rolling_argmax(x: Floats, window: int, sign: float, out: Ints) -> None:
    """Row of the first of the largest of the last `window` values of `sign * x`, of fewer at the start.

    The rows that may yet be the largest wait in a queue, each larger than all that came after it.
    """
    queue = np.empty(x.size, np.int64)
    head = tail = 0
    for t in range(x.size):
        while tail > head and sign * x[queue[tail - 1]] < sign * x[t]:
            tail -= 1
        queue[tail] = t
        tail += 1
        if queue[head] <= t - window:
            head += 1
        out[t] = queue[head]


@compiled
def place(high: Floats, low: Floats, x: Floats, window: int, least: float, out: Floats) -> None:
    """100 * (x - lowest) / (highest - lowest), 50 where that is at most `least`; NaN in `window - 1` rows."""
    highest, lowest = np.empty(x.size), np.empty(x.size)
    rolling_max(high, window, 1.0, highest)
    rolling_max(low, window, -1.0, lowest)
    for t in range(x.size):
        spread = highest[t] - lowest[t]
        out[t] = 50.0 if spread <= least else 100 * (x[t] - lowest[t]) / spread


@compiled
def mean_of_known(x: Floats, missing: int, window: int, out: Floats) -> None:
    """`rolling_mean` of all but the first `missing` values, which are NaN."""
    known = min(missing, x.size)
    out[:known] = np.nan
    rolling_mean(x[known:], window, out[known:])


@compiled
def stochastic(
    bounds: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    smooth: int,
    signal: int,
    k: Floats,
    d: Floats,
    j: Floats,
) -> None:
    """`indicators.oscillators.stochastic`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        place(high[rows], low[rows], close[rows], window, 0.0, j[rows])
        mean_of_known(j[rows], window - 1, smooth, k[rows])
        mean_of_known(k[rows], window + smooth - 2, signal, d[rows])
        for t in range(bounds[g], bounds[g + 1]):
            j[t] = 3 * k[t] - 2 * d[t]


@compiled
def stoch_rsi(
    bounds: Ints,
    known: Ints,
    x: Floats,
    rsi_window: int,
    window: int,
    smooth: int,
    signal: int,
    k: Floats,
    d: Floats,
    gain: Floats,
    loss: Floats,
) -> None:
    """`indicators.oscillators.stoch_rsi`, with the averages of `gain_loss`; `d` holds the RSI first."""
    rsi(bounds, known, x, rsi_window, d, gain, loss)
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rows = slice(start, end)
        raw = np.full(end - start, np.nan)
        missing = known[g] - 1 if known[g] else rsi_window
        there = slice(min(start + missing, end), end)
        place(d[there], d[there], d[there], window, 1e-9, raw[there.start - start :])
        mean_of_known(raw, missing + window - 1, smooth, k[rows])
        mean_of_known(k[rows], missing + window + smooth - 2, signal, d[rows])


@compiled
def williams_r(bounds: Ints, high: Floats, low: Floats, close: Floats, window: int, out: Floats) -> None:
    """`indicators.oscillators.williams_r`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        place(high[rows], low[rows], close[rows], window, 0.0, out[rows])
        for t in range(bounds[g], bounds[g + 1]):
            out[t] -= 100


@compiled
def cci(bounds: Ints, high: Floats, low: Floats, close: Floats, window: int, out: Floats) -> None:
    """`indicators.oscillators.cci`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        price = (high[start:end] + low[start:end] + close[start:end]) / 3
        rolling_mean(price, window, out[start:end])
        for t in range(window - 1, end - start):
            mean, away = out[start + t], 0.0
            highest = lowest = price[t]
            for i in range(t - window + 1, t + 1):
                away += abs(price[i] - mean)
                highest, lowest = max(highest, price[i]), min(lowest, price[i])
            flat = highest - lowest <= 1e-12 * max(abs(highest), abs(lowest))
            out[start + t] = 0.0 if flat else (price[t] - mean) / (0.015 * (away / window))


@compiled
def aroon(bounds: Ints, high: Floats, low: Floats, window: int, up: Floats, down: Floats, between: Floats) -> None:
    """`indicators.oscillators.aroon`, of equal highs the first."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        top, bottom = np.empty(end - start, np.int64), np.empty(end - start, np.int64)
        rolling_argmax(high[start:end], window + 1, 1.0, top)
        rolling_argmax(low[start:end], window + 1, -1.0, bottom)
        for t in range(end - start):
            known = t >= window
            up[start + t] = 100 * (window - (t - top[t])) / window if known else np.nan
            down[start + t] = 100 * (window - (t - bottom[t])) / window if known else np.nan
            between[start + t] = up[start + t] - down[start + t]

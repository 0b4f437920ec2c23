"""Momentum over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import seeded_average


@compiled
def rsi(bounds: Ints, known: Ints, x: Floats, window: int, out: Floats, gain: Floats, loss: Floats) -> None:
    """`indicators.momentum.rsi`, with the averages of `gain_loss`."""
    keep, weight = (window - 1) / window, 1 / window
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        first = start + window
        up = down = 0.0
        if known[g]:
            first = start + known[g] - 1
            up, down = gain[first], loss[first]
        else:
            for t in range(start, min(first, end)):
                out[t] = gain[t] = loss[t] = np.nan
            for t in range(start + 1, min(first + 1, end)):
                change = x[t] - x[t - 1]
                up += max(change, 0.0) / window
                down += max(-change, 0.0) / window
        for t in range(first, end):
            if t > first:
                change = x[t] - x[t - 1]
                up = keep * up + weight * max(change, 0.0)
                down = keep * down + weight * max(-change, 0.0)
            gain[t] = up
            loss[t] = down
            out[t] = 100 * up / (up + down) if up + down else 50.0


@compiled
def macd(
    bounds: Ints,
    known: Ints,
    x: Floats,
    fast: int,
    slow: int,
    signal: int,
    line: Floats,
    smoothed: Floats,
    histogram: Floats,
    quick: Floats,
    lazy: Floats,
) -> None:
    """`indicators.momentum.macd`."""
    warm = max(fast, slow) + signal
    a, b, c = 2 / (fast + 1), 2 / (slow + 1), 2 / (signal + 1)
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        seeded = min(start + (known[g] if known[g] else warm), end)
        if not known[g]:
            rows = slice(start, seeded)
            seeded_average(x[rows], 0, fast, a, quick[rows])
            seeded_average(x[rows], 0, slow, b, lazy[rows])
            line[rows] = quick[rows] - lazy[rows]
            seeded_average(line[rows], 0, signal, c, smoothed[rows])
            histogram[rows] = line[rows] - smoothed[rows]
        for t in range(seeded, end):
            quick[t] = (1 - a) * quick[t - 1] + a * x[t]
            lazy[t] = (1 - b) * lazy[t - 1] + b * x[t]
            line[t] = quick[t] - lazy[t]
            smoothed[t] = (1 - c) * smoothed[t - 1] + c * line[t]
            histogram[t] = line[t] - smoothed[t]

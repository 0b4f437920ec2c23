"""Averages of averages over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import seeded_average


@compiled
def average_again(x: Floats, known: int, window: int, out: Floats) -> None:
    """`seeded_average` from the first value of `x` that is not NaN."""
    alpha = 2 / (window + 1)
    y = out[known - 1] if known else np.nan
    for t in range(known, x.size):
        y = x[t] if np.isnan(y) else (1 - alpha) * y + alpha * x[t]
        out[t] = y


@compiled
def dema(bounds: Ints, known: Ints, x: Floats, window: int, out: Floats, once: Floats, twice: Floats) -> None:
    """`indicators.trend.dema`, with the averages of `smoothed`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(x[rows], known[g], window, 2 / (window + 1), once[rows])
        average_again(once[rows], known[g], window, twice[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            out[t] = 2 * once[t] - twice[t]


@compiled
def tema(
    bounds: Ints, known: Ints, x: Floats, window: int, out: Floats, once: Floats, twice: Floats, thrice: Floats
) -> None:
    """`indicators.trend.tema`, with the averages of `smoothed`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(x[rows], known[g], window, 2 / (window + 1), once[rows])
        average_again(once[rows], known[g], window, twice[rows])
        average_again(twice[rows], known[g], window, thrice[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            out[t] = 3 * once[t] - 3 * twice[t] + thrice[t]


@compiled
def trix(
    bounds: Ints, known: Ints, x: Floats, window: int, out: Floats, once: Floats, twice: Floats, thrice: Floats
) -> None:
    """`indicators.momentum.trix`, with the averages of `smoothed`."""
    tema(bounds, known, x, window, out, once, twice, thrice)
    for g in range(bounds.size - 1):
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            before = thrice[t - 1] if t > bounds[g] else np.nan
            out[t] = 100 * (thrice[t] - before) / before if before else np.nan


@compiled
def ppo(
    bounds: Ints,
    known: Ints,
    x: Floats,
    fast: int,
    slow: int,
    signal: int,
    line: Floats,
    smooth: Floats,
    histogram: Floats,
    quick: Floats,
    lazy: Floats,
) -> None:
    """`indicators.momentum.ppo`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(x[rows], known[g], fast, 2 / (fast + 1), quick[rows])
        seeded_average(x[rows], known[g], slow, 2 / (slow + 1), lazy[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            line[t] = 100 * (quick[t] - lazy[t]) / lazy[t] if lazy[t] else np.nan
        seeded_average(line[rows], known[g], signal, 2 / (signal + 1), smooth[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            histogram[t] = line[t] - smooth[t]


@compiled
def tsi(
    bounds: Ints,
    known: Ints,
    x: Floats,
    long: int,
    short: int,
    signal: int,
    line: Floats,
    smooth: Floats,
    change: Floats,
    change_twice: Floats,
    size: Floats,
    size_twice: Floats,
) -> None:
    """`indicators.momentum.tsi`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rows = slice(start, end)
        for t in range(start + known[g], end):
            change[t] = x[t] - x[t - 1] if t > start else np.nan
            size[t] = abs(change[t])
        seeded_average(change[rows], known[g], long, 2 / (long + 1), change[rows])
        seeded_average(size[rows], known[g], long, 2 / (long + 1), size[rows])
        seeded_average(change[rows], known[g], short, 2 / (short + 1), change_twice[rows])
        seeded_average(size[rows], known[g], short, 2 / (short + 1), size_twice[rows])
        for t in range(start + known[g], end):
            line[t] = 100 * change_twice[t] / size_twice[t] if size_twice[t] else 0.0
        seeded_average(line[rows], known[g], signal, 2 / (signal + 1), smooth[rows])

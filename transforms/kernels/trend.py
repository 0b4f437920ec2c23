"""Moving averages over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import rolling_mean, seeded_average


@compiled
def sma(bounds: Ints, x: Floats, window: int, out: Floats) -> None:
    """`indicators.trend.sma`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        rolling_mean(x[rows], window, out[rows])


@compiled
def ema(bounds: Ints, known: Ints, x: Floats, window: int, out: Floats) -> None:
    """`indicators.trend.ema`."""
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(x[rows], known[g], window, 2 / (window + 1), out[rows])


@compiled
def kama(bounds: Ints, known: Ints, x: Floats, window: int, fast: int, slow: int, out: Floats) -> None:
    """`indicators.trend.kama`: each way is summed anew, so that nothing of an old one is left in it."""
    slowest = 2 / (slow + 1)
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        first = start + window - 1
        if not known[g]:
            out[start : min(first, end)] = np.nan
            out[first : min(first + 1, end)] = x[first : min(first + 1, end)]
        for t in range(start + known[g] if known[g] else first + 1, end):
            change, way = abs(x[t] - x[t - window]), 0.0
            for i in range(t - window + 1, t + 1):
                way += abs(x[i] - x[i - 1])
            efficiency = min(change / way, 1.0) if change else 0.0
            weight = efficiency * (2 / (fast + 1) - slowest) + slowest
            out[t] = out[t - 1] + weight * weight * (x[t] - out[t - 1])

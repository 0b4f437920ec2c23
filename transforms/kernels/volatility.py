"""Volatility over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import rolling_mean_std


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
def atr(bounds: Ints, high: Floats, low: Floats, close: Floats, window: int, out: Floats) -> None:
    """`indicators.volatility.atr`."""
    keep, weight = (window - 1) / window, 1 / window
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        first = start + window
        y = 0.0
        for t in range(start, end):
            out[t] = np.nan
            if t > start:
                widest = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
                y = keep * y + weight * widest if t > first else y + weight * widest
            if t >= first:
                out[t] = y

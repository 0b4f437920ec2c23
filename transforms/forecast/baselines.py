"""Forecasts that take no library: what a model has to be better than.

Each takes n values, oldest first, and gives n + 1 numbers: number i is the forecast of value i from the values
before it, and the last one that of the value to come. NaN where there are too few values before.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.forecast.targets import DECAY

Floats = NDArray[np.float64]


def zero(values: Floats) -> Floats:
    """Nothing will happen: of returns, a random walk of the log price."""
    return np.zeros(len(values) + 1)


def historic_mean(values: Floats) -> Floats:
    """The mean of all values before."""
    return np.append(np.nan, np.cumsum(values) / np.arange(1, len(values) + 1))


def last(values: Floats) -> Floats:
    """The value before: the naive forecast that MASE is scaled by."""
    return np.append(np.nan, values)


def rolling_mean(values: Floats, window: int) -> Floats:
    """The mean of the `window` values before."""
    return np.append(np.nan, pl.Series(values).rolling_mean(window).fill_null(np.nan).to_numpy())


def ewma(values: Floats, decay: float = DECAY) -> Floats:
    """The exponentially weighted mean of all values before: m = decay * m + (1 - decay) * value, from the first one."""
    return np.append(np.nan, pl.Series(values).ewm_mean(alpha=1 - decay, adjust=False).to_numpy())

"""Forecasts by models of statsforecast (Nixtla), the extra `forecast`; it is imported when the first one is fitted.

Each gives what a baseline gives: number i is the forecast of value i from the values before it.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transforms.errors import ConfigurationError, PermanentError
from transforms.forecast.baselines import Floats

FEWEST: Final = 100
"""Values a model is fitted to at the least."""


class ModelFailed(PermanentError):
    """A model could not be fitted to a series, or forecast something that is no number."""


def require() -> None:
    """Raise `ConfigurationError` unless the models can be had."""
    if find_spec("statsforecast") is None:
        raise ConfigurationError("statsforecast is not installed; add it with: pip install 'warmbars[forecast]'")


def ses(values: Floats, months: NDArray[np.int64], first: int, window: int) -> Floats:
    """Simple exponential smoothing, its weight by maximum likelihood: statsforecast's AutoETS of the model ANN."""
    from statsforecast.models import AutoETS

    return one_step(lambda: AutoETS(model="ANN"), values, months, first, window)


def arima_111(values: Floats, months: NDArray[np.int64], first: int, window: int) -> Floats:
    """ARIMA(1,1,1) by maximum likelihood: a level that wanders, and what of a shock is gone again soon."""
    from statsforecast.models import ARIMA

    return one_step(lambda: ARIMA(order=(1, 1, 1)), values, months, first, window)


def one_step(make: Callable[[], Any], values: Floats, months: NDArray[np.int64], first: int, window: int) -> Floats:
    """Forecasts one step ahead, of the values from number `first` on (and what else its month holds).

    The parameters for a month are fitted on the `window` values before its first one, and held for the month; the
    model's state goes on from value to value. So a forecast depends on nothing that comes after its origin, and is
    the same whether made at the time or looked back at. NaN where fewer than `FEWEST` values come before the month.
    Where those values are all the same, so is the forecast.
    `months`: a number for the month of each value, not decreasing. Raises `ModelFailed`.
    """
    found = np.full(len(values) + 1, np.nan)
    starts = np.flatnonzero(np.diff(months, prepend=np.int64(-1)))
    for start, end in pairwise([*starts.tolist(), len(values)]):
        if start >= FEWEST and end >= first:
            begin = max(0, start - window)
            found[start + 1 : end + 1] = _month(make, values[begin:end], start - begin)
    return found


def _month(make: Callable[[], Any], values: Floats, known: int) -> Floats:
    """Forecasts of what follows each value from number `known` on, by a model fitted to those before.

    Each is made of the values up to its origin alone: what statsforecast calls fitted values differs a little from
    what it forecasts, and with what comes after.
    """
    if np.ptp(values[:known]) == 0:
        return np.full(len(values) - known, values[0])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "possible convergence problem", UserWarning)
            fitted = make().fit(values[:known])
            origins = range(known + 1, len(values) + 1)
            found = np.array([fitted.forward(y=values[:origin], h=1)["mean"][0] for origin in origins])
    except Exception as exc:
        raise ModelFailed(f"{make()} cannot be fitted to {known} values: {exc}") from exc
    if not np.isfinite(found).all():
        raise ModelFailed(f"{make()} fitted to {known} values forecasts something that is no number")
    return found

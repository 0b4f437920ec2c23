"""Intervals around forecasts, from how far off they were: split conformal prediction over a rolling window."""

from typing import Final

import numpy as np

from transforms.forecast.baselines import Floats

LEVELS: Final = (50, 80, 95)
"""Shares, in per cent, of what is to come that the intervals are meant to hold."""
FEWEST_ERRORS: Final = 40
"""Errors an interval is made of at the least: fewer have no 95 % of theirs inside."""


def conformal(errors: Floats, level: int, calibration: int) -> tuple[Floats, Floats]:
    """How far below and above its forecast each value is expected at the most.

    Of n errors (value - forecast, known up to the one before), n + 1 lower and n + 1 upper offsets: number i from the
    newest `calibration` errors before i, the last for the value to come. The lower one is the
    floor((c + 1) * a / 2)-th smallest of those c errors and the upper one the ceil((c + 1) * (1 - a / 2))-th, with
    a = 1 - level / 100. NaN with fewer than `FEWEST_ERRORS` before (errors that are NaN do not count).
    If errors are exchangeable, an interval holds the value with a probability of at least `level` per cent; errors of
    markets are not, so the share that was held is measured and told.
    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Lei et al., Distribution-Free
    Predictive Inference for Regression, JASA 113 (2018), with errors divided by an expected spread (locally weighted).
    """
    padded = np.concatenate([np.full(calibration, np.nan), errors])
    before = np.sort(np.lib.stride_tricks.sliding_window_view(padded, calibration), axis=1)  # NaN last
    count = np.isfinite(before).sum(axis=1)
    tail = (100 - level) / 200
    low = np.maximum(np.floor((count + 1) * tail).astype(np.int64) - 1, 0)
    high = np.minimum(np.ceil((count + 1) * (1 - tail)).astype(np.int64) - 1, np.maximum(count - 1, 0))
    enough = count >= FEWEST_ERRORS
    rows = np.arange(len(before))
    return np.where(enough, before[rows, low], np.nan), np.where(enough, before[rows, high], np.nan)

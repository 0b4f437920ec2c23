"""How good forecasts were."""

from collections.abc import Mapping

import numpy as np

from transforms.forecast.baselines import Floats

Bounds = tuple[Floats, Floats]


def mase(errors: Floats, training: Floats) -> float | None:
    """Mean absolute error over that of the naive forecast in the training values.

    Definition: mean |error| / mean |training[t] - training[t-1]|. None where the training values never change (0/0,
    or anything over 0) or there are none.
    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, IJF 22 (2006).
    """
    steps = np.abs(np.diff(training))
    scale = float(steps.mean()) if len(steps) else 0.0
    return float(np.abs(errors).mean()) / scale if scale > 0 and len(errors) else None


def coverage(values: Floats, bounds: Bounds) -> float:
    """Share of values inside their bounds, which belong to them."""
    low, high = bounds
    return float(((low <= values) & (values <= high)).mean())


def weighted_interval_score(values: Floats, points: Floats, bounds: Mapping[int, Bounds]) -> Floats:
    """How narrow the intervals were and how far outside the values fell, by value; in their units, less is better.

    Definition: (|y - point| / 2 + sum over the K levels of a/2 * IS_a) / (K + 1/2), a = 1 - level / 100, and
    IS_a = (high - low) + 2/a * max(low - y, 0) + 2/a * max(y - high, 0). Approximates the CRPS.
    Source: Gneiting and Raftery, Strictly Proper Scoring Rules, JASA 102 (2007), for IS; Bracher et al., Evaluating
    epidemic forecasts in an interval format, PLOS Computational Biology 17 (2021), for their sum.
    """
    total = np.abs(values - points) / 2
    for level, (low, high) in bounds.items():
        half = (1 - level / 100) / 2
        total = total + half * (high - low) + np.maximum(low - values, 0) + np.maximum(values - high, 0)
    return total / (len(bounds) + 0.5)


def skill(loss: Floats, baseline: Floats) -> float | None:
    """1 - mean loss / mean loss of the baseline: 0.1 is a tenth less. None where the baseline has no loss at all."""
    against = float(baseline.mean())
    return 1 - float(loss.mean()) / against if against > 0 else None


def diebold_mariano(loss: Floats, baseline: Floats) -> float | None:
    """Probability of so much less loss than the baseline's, or more, if neither forecast were the better one.

    Definition: one-sided p of t = mean(d) / sqrt(var(d) / n) with n - 1 degrees of freedom, d = baseline - loss, var
    with n - 1: the test for forecasts one step ahead, of which d is taken to be uncorrelated from one to the next.
    None where d never varies.
    Source: Diebold and Mariano, Comparing Predictive Accuracy, JBES 13 (1995), in the small-sample form of Harvey,
    Leybourne and Newbold, IJF 13 (1997), at horizon 1.
    """
    difference = baseline - loss
    n = len(difference)
    deviation = float(difference.std(ddof=1)) if n > 1 else 0.0
    if deviation == 0:
        return None
    from scipy.special import stdtr

    return float(stdtr(n - 1, -float(difference.mean()) / (deviation / np.sqrt(n))))

"""How sure a correlation of time series is: standard error, p-value and interval that allow for autocorrelation.

A t-test of r takes pairs as independent. Returns and sentiment are not: volatility comes in clusters, moods last.
So the variance of r is the long-run variance of its influence function (Newey and West, A simple positive
semi-definite heteroskedasticity and autocorrelation consistent covariance matrix, Econometrica 55, 1987), in the scale
of Fisher's z = atanh(r), where r is nearly normal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from transforms.correlation.estimate import Estimate
from transforms.correlation.pairs import Floats, Ints

LEAST_FOR_INFERENCE: Final = 20
"""Fewest pairs with which a p-value and an interval are given; r itself may be asked for with fewer."""
LEVEL: Final = 0.95
"""Confidence of the interval."""

_MOST_PERSISTENT = 0.97
_PERFECT = 1e-12


@dataclass(frozen=True, slots=True)
class Inference:
    """Of each sample: NaN throughout where nothing can be said."""

    n_effective: Floats
    p: Floats
    low: Floats
    high: Floats


def bandwidths(psi: Floats, n: Ints) -> Ints:
    """How many autocovariances to take in: Andrews' rule for the Bartlett kernel and an AR(1), rounded down.

    1.1447 * (a*n)^(1/3) with a = 4 rho^2 / ((1-rho)^2 (1+rho)^2), rho the first autocorrelation of psi within +-0.97;
    at most n / 3. Source: Andrews, Heteroskedasticity and autocorrelation consistent covariance matrix estimation,
    Econometrica 59 (1991), equations 6.2 and 6.4.
    """
    variance = (psi * psi).sum(axis=-1)
    first = (psi[:, 1:] * psi[:, :-1]).sum(axis=-1)
    rho = np.divide(first, variance, out=np.zeros(len(psi)), where=variance > 0)
    rho = np.clip(rho, -_MOST_PERSISTENT, _MOST_PERSISTENT)
    a = 4 * rho**2 / ((1 - rho) ** 2 * (1 + rho) ** 2)
    return np.asarray(np.minimum(np.floor(1.1447 * np.cbrt(a * n)), n // 3).astype(np.int64))


def long_run_variance(psi: Floats, n: Ints, bandwidth: Ints) -> Floats:
    """Newey and West's estimate: g[0] + 2 * sum of (1 - j / (bandwidth + 1)) * g[j], g[j] = sum psi[t] psi[t-j] / n.

    `psi`: rows of mean 0, filled from the left, 0 beyond their n entries.
    """
    total = (psi * psi).sum(axis=-1)
    for j in range(1, int(bandwidth.max(initial=0)) + 1):
        weight = np.maximum(1 - j / (bandwidth + 1), 0.0)
        total = total + 2 * weight * (psi[:, j:] * psi[:, :-j]).sum(axis=-1)
    return np.asarray(total / np.maximum(n, 1))


def infer(estimate: Estimate, n: Ints) -> Inference:
    """Test r against 0, two-sided, and give its interval.

    z = atanh(r) has the variance v = long-run variance / ((n - 3) (1 - r^2)^2), and z / sqrt(v) is held against
    Student's t with min(n - 2, 1.5 n / (bandwidth + 1)) degrees of freedom, as many as the kernel leaves.
    `n_effective` = 3 + 1/v: with so many independent normal pairs r would be as uncertain; more than n where pairs
    alternate. NaN with fewer than `LEAST_FOR_INFERENCE` pairs and where a side is constant. A perfect r (+-1 within
    1e-12) leaves no scatter to judge by: p 0, the interval is r, n_effective NaN.
    """
    from scipy import special  # takes half a second to import, and few processes come here

    r, counted = estimate.r, n >= LEAST_FOR_INFERENCE
    perfect = counted & (1 - np.abs(r) <= _PERFECT)
    usable = counted & ~perfect & np.isfinite(r)
    some, pairs = r[usable], n[usable]
    psi = estimate.psi[usable]
    bandwidth = bandwidths(psi, pairs)
    variance = long_run_variance(psi, pairs, bandwidth) / ((pairs - 3) * (1 - some**2) ** 2)
    freedom = np.minimum(pairs - 2, 1.5 * pairs / (bandwidth + 1))
    error, z = np.sqrt(variance), np.arctanh(some)
    reach = special.stdtrit(freedom, (1 + LEVEL) / 2) * error

    def spread(values: Floats, where_perfect: Floats | float) -> Floats:
        out = np.full(len(r), np.nan)
        out[usable] = values
        out[perfect] = where_perfect
        return out

    return Inference(
        n_effective=spread(3 + 1 / variance, np.nan),
        p=spread(2 * special.stdtr(freedom, -np.abs(z) / error), 0.0),
        low=spread(np.tanh(z - reach), r[perfect]),
        high=spread(np.tanh(z + reach), r[perfect]),
    )

"""The compiled loop of rolling correlations. Importing it imports numba: only `rolling` does, once it has rows."""

import numpy as np

from transforms.correlation.pairs import Floats, Ints
from transforms.kernels.jit import compiled


@compiled
def rolling_pairs(x: Floats, y: Floats, age: Ints, rule: Ints, out: Floats) -> None:
    """Per row, n, Pearson's and Spearman's r of the `window` rows up to it; n is -1 where there is to be no row.

    `age`: rows before this one in its symbol. `rule`: window, min_n. `out`: 3 x rows. NaN in x or y: no pair.
    Ranks are kept up to date in whole numbers, so they never drift; Pearson's sums are made anew from deviations.
    Thus a row depends on its window only.
    """
    window, min_n = rule[0], rule[1]
    a, b = np.full(window, np.nan), np.full(window, np.nan)
    rank_a, rank_b = np.zeros(window, np.int64), np.zeros(window, np.int64)
    n = 0
    for t in range(x.size):
        if age[t] == 0:
            a[:] = np.nan
            b[:] = np.nan
            n = 0
        place = age[t] % window
        if not np.isnan(a[place]):
            n -= 1
            _expel(a, rank_a, place)
            _expel(b, rank_b, place)
        if not (np.isnan(x[t]) or np.isnan(y[t])):
            n += 1
            _admit(a, rank_a, place, x[t])
            _admit(b, rank_b, place, y[t])
        out[0, t] = -1
        if age[t] >= window - 1 and n >= min_n:
            out[0, t], out[1, t], out[2, t] = n, _pearson(a, b, n, place + 1), _spearman(a, rank_a, rank_b, n)


@compiled
def _expel(values: Floats, ranks: Ints, place: int) -> None:
    """Take a value out; ranks are twice the number of values below plus the number of others equal."""
    value = values[place]
    values[place] = np.nan
    for i in range(values.size):
        ranks[i] -= 2 * (value < values[i]) + (value == values[i])


@compiled
def _admit(values: Floats, ranks: Ints, place: int, value: float) -> None:
    """Put a value in where there is none."""
    own = 0
    for i in range(values.size):
        equal = value == values[i]
        ranks[i] += 2 * (value < values[i]) + equal
        own += 2 * (values[i] < value) + equal
    values[place], ranks[place] = value, own


@compiled
def _pearson(a: Floats, b: Floats, n: int, oldest: int) -> float:
    """Sums go from the oldest pair to the newest, so that wherever the ring begins the last bit is the same."""
    mean_a = mean_b = largest_a = largest_b = 0.0
    for place in range(oldest, oldest + a.size):
        i = place if place < a.size else place - a.size
        if not np.isnan(a[i]):
            mean_a += a[i] / n
            mean_b += b[i] / n
            largest_a, largest_b = max(largest_a, abs(a[i])), max(largest_b, abs(b[i]))
    aa = bb = ab = 0.0
    for place in range(oldest, oldest + a.size):
        i = place if place < a.size else place - a.size
        if not np.isnan(a[i]):
            aa += (a[i] - mean_a) ** 2
            bb += (b[i] - mean_b) ** 2
            ab += (a[i] - mean_a) * (b[i] - mean_b)
    if np.sqrt(aa / n) <= 1e-12 * largest_a or np.sqrt(bb / n) <= 1e-12 * largest_b:
        return np.nan
    return min(max(float(ab / (np.sqrt(aa) * np.sqrt(bb))), -1.0), 1.0)


@compiled
def _spearman(a: Floats, rank_a: Ints, rank_b: Ints, n: int) -> float:
    """From sums of whole numbers, which are exact."""
    aa = bb = ab = 0
    for i in range(a.size):
        if not np.isnan(a[i]):
            of_a, of_b = rank_a[i] - (n - 1), rank_b[i] - (n - 1)
            aa += of_a * of_a
            bb += of_b * of_b
            ab += of_a * of_b
    if aa == 0 or bb == 0:
        return np.nan
    return min(max(float(ab / np.sqrt(float(aa) * float(bb))), -1.0), 1.0)

"""Windows over one series, in one pass however long the window is.

A window is the tail of one block of `window` rows and the head of the next; tails are accumulated backwards
from the boundary between them, heads forwards (van Herk 1992, Gil and Werman 1993). So a sum never drifts:
it has no more terms than its window. Sums are of deviations from the first row of the later block, which lies
in every window that meets it: a constant stretch gives its own value exactly.
"""

import numpy as np

from transforms.kernels.jit import Floats, compiled


@compiled
def rolling_mean(x: Floats, window: int, out: Floats) -> None:
    """Mean of the last `window` values; NaN in the first `window - 1` rows."""
    out[: window - 1] = np.nan
    tail = np.zeros(window + 1)
    share = 1 / window
    for boundary in range(0, x.size, window):
        centre = x[boundary]
        if boundary:
            for j in range(window - 1, 0, -1):
                tail[j] = tail[j + 1] + (x[boundary - window + j] - centre)
        head = 0.0
        for i in range(min(window, x.size - boundary)):
            head += x[boundary + i] - centre
            if boundary or i == window - 1:
                out[boundary + i] = centre + (tail[i + 1] + head) * share


@compiled
def rolling_mean_std(x: Floats, window: int, mean: Floats, std: Floats) -> None:
    """Mean and population standard deviation of the last `window` values; NaN in the first `window - 1` rows."""
    mean[: window - 1] = np.nan
    std[: window - 1] = np.nan
    share = 1 / window
    tail, tail_squares = np.zeros(window + 1), np.zeros(window + 1)
    for boundary in range(0, x.size, window):
        centre = x[boundary]
        if boundary:
            for j in range(window - 1, 0, -1):
                away = x[boundary - window + j] - centre
                tail[j] = tail[j + 1] + away
                tail_squares[j] = tail_squares[j + 1] + away * away
        head = head_squares = 0.0
        for i in range(min(window, x.size - boundary)):
            away = x[boundary + i] - centre
            head += away
            head_squares += away * away
            if boundary or i == window - 1:
                shift = (tail[i + 1] + head) * share
                mean[boundary + i] = centre + shift
                std[boundary + i] = np.sqrt(max((tail_squares[i + 1] + head_squares) * share - shift * shift, 0.0))


@compiled
def seed(x: Floats, window: int, out: Floats) -> int:
    """The mean of the first `window` values that are not NaN, NaN before it; the row after it."""
    start = 0
    while start < x.size and np.isnan(x[start]):
        start += 1
    after = start + window
    total = 0.0
    for t in range(min(after, x.size)):
        total += x[t] if t >= start else 0.0
        out[t] = np.nan
    if after <= x.size:
        out[after - 1] = total / window
    return after


@compiled
def seeded_average(x: Floats, known: int, window: int, alpha: float, out: Floats) -> None:
    """y[t] = y[t-1] + alpha * (x[t] - y[t-1]) from the mean of the first `window` values on.

    Leading NaNs are skipped; `out` may be `x`. Where `known` is not 0, goes on from `out[known - 1]`.
    """
    after = known if known else seed(x, window, out)
    if after > x.size:
        return
    y = out[after - 1]
    keep = 1 - alpha
    for t in range(after, x.size):
        y = keep * y + alpha * x[t]
        out[t] = y


@compiled
def rolling_max(x: Floats, window: int, sign: float, out: Floats) -> None:
    """Largest of the last `window` values, with `sign` -1 the smallest; NaN in the first `window - 1` rows."""
    out[: window - 1] = np.nan
    tail = np.full(window + 1, -np.inf)
    for boundary in range(0, x.size, window):
        if boundary:
            for j in range(window - 1, 0, -1):
                tail[j] = max(tail[j + 1], sign * x[boundary - window + j])
        head = -np.inf
        for i in range(min(window, x.size - boundary)):
            head = max(head, sign * x[boundary + i])
            if boundary or i == window - 1:
                out[boundary + i] = sign * max(tail[i + 1], head)

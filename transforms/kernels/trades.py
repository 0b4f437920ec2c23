"""Trades folded to minutes."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled

MINUTE_US = 60_000_000


@compiled
def fold_minutes(
    bounds: Ints,
    moments: Ints,
    price: Floats,
    size: Floats,
    first: Ints,
    high: Floats,
    low: Floats,
    volume: Floats,
) -> int:
    """One row per group and clock minute that has trades; how many there are, -1 if the trades are unfit.

    `moments` are microseconds since the epoch, in order within each group, and no price or size is NaN. Of each
    minute: the position of its first trade, the highest and lowest price and the sum of the sizes, in the order
    of the trades; the minute ends where the next one begins.
    """
    made = -1
    for g in range(bounds.size - 1):
        end = before = np.int64(-(2**63))
        for t in range(bounds[g], bounds[g + 1]):
            if moments[t] < before or np.isnan(price[t]) or np.isnan(size[t]):
                return -1
            before = moments[t]
            if moments[t] >= end:
                end = (moments[t] // MINUTE_US + 1) * MINUTE_US
                made += 1
                first[made] = t
                high[made] = low[made] = price[t]
                volume[made] = size[t]
            else:
                high[made] = max(high[made], price[t])
                low[made] = min(low[made], price[t])
                volume[made] += size[t]
    return made + 1

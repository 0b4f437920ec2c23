"""NaNs that kernels leave, as the nulls of a column."""

import numpy as np

from transforms.kernels.jit import Bytes, Floats, Ints, compiled


@compiled
def count_nans(values: Floats) -> int:
    """How many values are NaN."""
    total = 0
    for t in range(values.size):
        total += values[t] != values[t]
    return total


@compiled
def clear_nans(bounds: Ints, values: Floats, nans: int, bits: Bytes) -> None:
    """Clear the bit of each NaN in `bits` (all set before, least significant first); there are `nans` of them.

    Nearly always they stand at the start of a group; only if there are more is every row looked at.
    """
    leading = 0
    for g in range(bounds.size - 1):
        t = bounds[g]
        while t < bounds[g + 1] and np.isnan(values[t]):
            bits[t >> 3] &= ~np.uint8(1 << (t & 7))
            leading += 1
            t += 1
    if leading < nans:
        for t in range(values.size):
            if np.isnan(values[t]):
                bits[t >> 3] &= ~np.uint8(1 << (t & 7))

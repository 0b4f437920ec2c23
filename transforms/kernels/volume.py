"""Volume over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled


@compiled
def vwap(bounds: Ints, high: Floats, low: Floats, close: Floats, volume: Floats, out: Floats) -> None:
    """`indicators.volume.vwap` of typical prices."""
    for g in range(bounds.size - 1):
        traded = value = 0.0
        for t in range(bounds[g], bounds[g + 1]):
            traded += volume[t]
            value += (high[t] + low[t] + close[t]) / 3 * volume[t]
            out[t] = value / traded if traded > 0 else np.nan


@compiled
def obv(bounds: Ints, close: Floats, volume: Floats, out: Floats) -> None:
    """`indicators.volume.obv`."""
    for g in range(bounds.size - 1):
        total = 0.0
        for t in range(bounds[g], bounds[g + 1]):
            if t > bounds[g]:
                total += np.sign(close[t] - close[t - 1]) * volume[t]
            out[t] = total

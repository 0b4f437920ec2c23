"""Volume over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import seeded_average


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
def anchored_vwap(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    session: Ints,
    anchor: int,
    out: Floats,
    value: Floats,
    traded: Floats,
) -> None:
    """`indicators.volume.anchored_vwap` of typical prices; sessions and the anchor are days since 1970."""
    for g in range(bounds.size - 1):
        start, end = bounds[g] + known[g], bounds[g + 1]
        worth = shares = 0.0
        if known[g]:
            worth, shares = value[start - 1], traded[start - 1]
        for t in range(start, end):
            if session[t] >= anchor:
                worth += (high[t] + low[t] + close[t]) / 3 * volume[t]
                shares += volume[t]
            value[t] = worth
            traded[t] = shares
            out[t] = worth / shares if shares > 0 else np.nan


@compiled
def obv(bounds: Ints, known: Ints, close: Floats, volume: Floats, out: Floats) -> None:
    """`indicators.volume.obv`."""
    for g in range(bounds.size - 1):
        start = bounds[g] + known[g]
        total = out[start - 1] if known[g] else 0.0
        for t in range(start, bounds[g + 1]):
            if t > bounds[g]:
                total += np.sign(close[t] - close[t - 1]) * volume[t]
            out[t] = total


@compiled
def vpt(bounds: Ints, known: Ints, close: Floats, volume: Floats, out: Floats) -> None:
    """`indicators.volume.vpt`."""
    for g in range(bounds.size - 1):
        start = bounds[g] + known[g]
        total = out[start - 1] if known[g] else 0.0
        for t in range(start, bounds[g + 1]):
            if t > bounds[g]:
                total += (close[t] / close[t - 1] - 1) * volume[t]
            out[t] = total


@compiled
def adl(bounds: Ints, known: Ints, high: Floats, low: Floats, close: Floats, volume: Floats, out: Floats) -> None:
    """`indicators.volume.adl`."""
    for g in range(bounds.size - 1):
        start = bounds[g] + known[g]
        total = out[start - 1] if known[g] else 0.0
        for t in range(start, bounds[g + 1]):
            if high[t] != low[t]:
                total += ((close[t] - low[t]) - (high[t] - close[t])) / (high[t] - low[t]) * volume[t]
            out[t] = total


@compiled
def chaikin_oscillator(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    fast: int,
    slow: int,
    out: Floats,
    line: Floats,
    quick: Floats,
    lazy: Floats,
) -> None:
    """`indicators.volume.chaikin_oscillator`, with the line and its averages."""
    adl(bounds, known, high, low, close, volume, line)
    for g in range(bounds.size - 1):
        rows = slice(bounds[g], bounds[g + 1])
        seeded_average(line[rows], known[g], fast, 2 / (fast + 1), quick[rows])
        seeded_average(line[rows], known[g], slow, 2 / (slow + 1), lazy[rows])
        for t in range(bounds[g] + known[g], bounds[g + 1]):
            out[t] = quick[t] - lazy[t]


@compiled
def force_index(bounds: Ints, known: Ints, close: Floats, volume: Floats, window: int, out: Floats) -> None:
    """`indicators.volume.force_index`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        for t in range(start + known[g], end):
            out[t] = (close[t] - close[t - 1]) * volume[t] if t > start else np.nan
        seeded_average(out[start:end], known[g], window, 2 / (window + 1), out[start:end])

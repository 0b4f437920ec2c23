"""Strength and turns of trends over groups: `bounds` holds where each starts, and the number of rows."""

import numpy as np

from transforms.kernels.jit import Floats, Ints, compiled
from transforms.kernels.rolling import seeded_average
from transforms.kernels.volatility import average_range


@compiled
def directional(high: Floats, low: Floats, known: int, window: int, line: Floats, up: Floats, down: Floats) -> None:
    """The index of `indicators.strength.adx` and both averages of movements, of one group."""
    if not known:
        up[:1] = np.nan
        down[:1] = np.nan
    for t in range(max(known, 1), high.size):
        rise, fall = high[t] - high[t - 1], low[t - 1] - low[t]
        least = 1e-12 * abs(high[t])
        up[t] = rise if rise - fall > least and rise > 0 else 0.0
        down[t] = fall if fall - rise > least and fall > 0 else 0.0
    seeded_average(up, known, window, 1 / window, up)
    seeded_average(down, known, window, 1 / window, down)
    for t in range(known, high.size):
        both = up[t] + down[t]
        line[t] = 100 * abs(up[t] - down[t]) / both if both != 0 else 0.0
    seeded_average(line, known, window, 1 / window, line)


@compiled
def adx(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    line: Floats,
    plus: Floats,
    minus: Floats,
    ranges: Floats,
    up: Floats,
    down: Floats,
) -> None:
    """`indicators.strength.adx`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rows = slice(start, end)
        directional(high[rows], low[rows], known[g], window, line[rows], up[rows], down[rows])
        average_range(high[rows], low[rows], close[rows], known[g], window, ranges[rows])
        for t in range(start + known[g], end):
            plus[t] = 100 * up[t] / ranges[t] if ranges[t] != 0 else 0.0
            minus[t] = 100 * down[t] / ranges[t] if ranges[t] != 0 else 0.0


@compiled
def adxr(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    window: int,
    rating: Floats,
    line: Floats,
    up: Floats,
    down: Floats,
) -> None:
    """`indicators.strength.adxr`."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rows = slice(start, end)
        directional(high[rows], low[rows], known[g], window, line[rows], up[rows], down[rows])
        for t in range(start, end):
            rating[t] = (line[t] + line[t - window + 1]) / 2 if t - start >= window - 1 else np.nan


@compiled
def psar(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    step: float,
    most: float,
    first: float,
    stop: Floats,
    rising: Floats,
    extreme: Floats,
    factor: Floats,
    following: Floats,
) -> None:
    """`indicators.strength.psar`: the stop, and what the next row needs."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        if known[g]:
            earliest, after = start, start + known[g]
            up, ep = rising[after - 1] > 0, extreme[after - 1]
            af, sar = factor[after - 1], following[after - 1]
        else:
            earliest = after = start + 1
            for out in (stop, rising, extreme, factor, following):
                out[start : min(after, end)] = np.nan
            if after >= end:
                continue
            fall, rise = low[start] - low[after], high[after] - high[start]
            up = not (fall > 0 and fall - rise > 1e-12 * abs(high[start]))
            sar = low[start] if up else high[start]
            ep = high[after] if up else low[after]
            af = first
        for t in range(after, end):
            before = max(t - 1, earliest)
            lowest, highest = min(low[before], low[t]), max(high[before], high[t])
            turns = low[t] <= sar if up else high[t] >= sar
            if turns:
                up = not up
                sar = min(ep, lowest) if up else max(ep, highest)
            stop[t] = sar
            if turns:
                af = first
                ep = high[t] if up else low[t]
            elif (up and high[t] > ep) or (not up and low[t] < ep):
                af = min(af + step, most)
                ep = high[t] if up else low[t]
            sar += af * (ep - sar)
            sar = min(sar, lowest) if up else max(sar, highest)
            rising[t] = 1.0 if up else -1.0
            extreme[t] = ep
            factor[t] = af
            following[t] = sar


@compiled
def supertrend(
    bounds: Ints,
    known: Ints,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    width: float,
    line: Floats,
    direction: Floats,
    upper: Floats,
    lower: Floats,
    average: Floats,
) -> None:
    """`indicators.strength.supertrend`: the line, its side, both bands and the average true range."""
    for g in range(bounds.size - 1):
        start, end = bounds[g], bounds[g + 1]
        rows = slice(start, end)
        first = start + window
        average_range(high[rows], low[rows], close[rows], known[g], window, average[rows])
        up = True
        if known[g]:
            up = direction[start + known[g] - 1] > 0
        else:
            for out in (line, direction, upper, lower):
                out[start : min(first, end)] = np.nan
        for t in range(start + known[g] if known[g] else first, end):
            middle = (high[t] + low[t]) / 2
            above, below = middle + width * average[t], middle - width * average[t]
            if t == first and not known[g]:
                up = close[t] >= middle
            else:
                if not (above < upper[t - 1] or close[t - 1] > upper[t - 1]):
                    above = upper[t - 1]
                if not (below > lower[t - 1] or close[t - 1] < lower[t - 1]):
                    below = lower[t - 1]
            up = close[t] > (below if up else above)
            upper[t] = above
            lower[t] = below
            line[t] = below if up else above
            direction[t] = 1.0 if up else -1.0

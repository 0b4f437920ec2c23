"""Falls from a peak over groups: `bounds` holds where each starts, and the number of rows."""

from transforms.kernels.jit import Floats, Ints, compiled


@compiled
def drawdown(bounds: Ints, known: Ints, x: Floats, now: Floats, peak: Floats) -> None:
    """`now` and `peak` of `indicators.statistics.drawdown`."""
    for g in range(bounds.size - 1):
        start = bounds[g] + known[g]
        for t in range(start, bounds[g + 1]):
            peak[t] = max(peak[t - 1], x[t]) if t > bounds[g] else x[t]
            now[t] = 100 * (x[t] / peak[t] - 1)


@compiled
def max_drawdown(bounds: Ints, known: Ints, x: Floats, worst: Floats, peak: Floats) -> None:
    """`worst` and `peak` of `indicators.statistics.drawdown`."""
    for g in range(bounds.size - 1):
        start = bounds[g] + known[g]
        for t in range(start, bounds[g + 1]):
            first = t == bounds[g]
            peak[t] = x[t] if first else max(peak[t - 1], x[t])
            now = 100 * (x[t] / peak[t] - 1)
            worst[t] = now if first else min(worst[t - 1], now)

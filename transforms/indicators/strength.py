"""How strong a trend is, and where it turns."""

from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import ROUNDING, wilder
from transforms.indicators.volatility import true_range
from transforms.kernels.expression import kernel_expr


class Directional(NamedTuple):
    """ADX, +DI and -DI; `ranges`, `up` and `down` are the averages they are made of."""

    adx: pl.Expr
    plus: pl.Expr
    minus: pl.Expr
    ranges: pl.Expr
    up: pl.Expr
    down: pl.Expr


def adx(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14, *, ta_lib: bool = False) -> Directional:
    """Average directional index, with +DI and -DI.

    Definition: up = high - previous high where that is positive and more than the fall of the low (by 1e-12 of
    the price: less is rounding), else 0; down likewise; +DI = 100 * wilder(up) / wilder(true range), -DI with
    down; DX = 100 * |+DI - -DI| / (+DI + -DI), from which the range cancels; adx = wilder(DX). Where nothing
    moved (0 / 0) both DI are 0, and DX is 0 where both DI are. Seeds: simple means of the first `window` values,
    as in Wilder's book; TA-Lib seeds the three averages with `window - 1` values and smooths the next one in, up
    to 0.8 away at first and the same later: `ta_lib=True`. Units: 0 to 100. Input: adjusted prices of one symbol,
    sorted, no nulls inside; for many, `.over("symbol")`. State: adx and the three averages. Lookback: `window`
    null rows, adx `2 * window - 1`. Warm-up: 14 * window more. Source: J. W. Wilder, New Concepts in Technical
    Trading Systems (1978); reference columns pdi_14, mdi_14, adx_14.
    """
    up, down = _movements(high, low, window, ta_lib)
    reach = (_wilder_of_ta_lib if ta_lib else wilder)(true_range(high, low, close), window)
    plus, minus = ((100 * part / reach).fill_nan(0.0) for part in (up, down))
    return Directional(_index(up, down, window), plus, minus, reach, up, down)


def _movements(high: pl.Expr, low: pl.Expr, window: int, ta_lib: bool) -> tuple[pl.Expr, pl.Expr]:
    """Averages of the upward and of the downward movements."""
    rise, fall, least = high.diff(), -low.diff(), ROUNDING * high.abs()
    smooth = _wilder_of_ta_lib if ta_lib else wilder
    return smooth(_larger(rise, fall, least), window), smooth(_larger(fall, rise, least), window)


def _index(up: pl.Expr, down: pl.Expr, window: int) -> pl.Expr:
    """Average of 100 * |up - down| / (up + down), written so that the expression names each but once."""
    return wilder(100 * (1 - 2 / (1 + up / down)).abs().fill_nan(0.0), window)


def _larger(move: pl.Expr, other: pl.Expr, least: pl.Expr) -> pl.Expr:
    """The move where it is positive and larger than the other by `least`, else 0; null in the first row."""
    return move.clip(lower_bound=0) * (move - other > least)


def _wilder_of_ta_lib(x: pl.Expr, window: int) -> pl.Expr:
    """TA-Lib's start of Wilder's average: as if the first `window - 1` values had been followed by their sum."""
    if window == 1:
        return x
    seen = x.cum_count()
    seed = x.rolling_sum(window - 1) / window
    seeded = pl.when(seen == window - 1).then(seed).when(seen >= window).then(x)
    return pl.when(seen >= window).then(seeded.ewm_mean(alpha=1 / window, adjust=False))


class Rating(NamedTuple):
    """The rating, the index it is made of, and the averages of movements that is made of."""

    rating: pl.Expr
    adx: pl.Expr
    up: pl.Expr
    down: pl.Expr


def adxr(high: pl.Expr, low: pl.Expr, window: int = 14, *, ta_lib: bool = False) -> Rating:
    """Average directional movement rating.

    Definition: mean of adx[t] and adx[t-window+1], as in Excel and TA-Lib; some libraries go back `window`
    rows. Convention for 0/0, seeds, units and input: as `adx`, `ta_lib` too; no close is needed, since the
    true range cancels from the index. State: adx and the averages of movements, from which the last `window`
    values of adx are had. Lookback: `3 * window - 2` null rows. Source: Wilder (1978); reference column adxr_14.
    """
    up, down = _movements(high, low, window, ta_lib)
    line = _index(up, down, window)
    return Rating((line + line.shift(window - 1)) / 2, line, up, down)


class Vortex(NamedTuple):
    """VI+ and VI-."""

    plus: pl.Expr
    minus: pl.Expr


def vortex(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> Vortex:
    """Vortex indicator.

    Definition: VI+ = sum of |high - previous low| / sum of true ranges over `window` bars, VI- with
    |low - previous high|. Null where nothing moved at all (0 / 0). Units: ratios. Input: as `adx`. Lookback:
    `window` null rows. Reach of a change: `window + 1` rows. Source: E. Botes and D. Siepman, The Vortex
    Indicator (2010); reference columns vortex.VI+, vortex.VI-.
    """
    ranges = true_range(high, low, close)
    moved = ranges.rolling_max(window) > 0

    def share(move: pl.Expr) -> pl.Expr:
        return pl.when(moved).then(move.abs().rolling_sum(window) / ranges.rolling_sum(window))

    return Vortex(share(high - low.shift(1)), share(low - high.shift(1)))


class Psar(NamedTuple):
    """The stop; whether it rises (1) or falls (-1) after this bar, the extreme, the factor, the next stop."""

    stop: pl.Expr
    direction: pl.Expr
    extreme: pl.Expr
    factor: pl.Expr
    following: pl.Expr


def psar(high: pl.Expr, low: pl.Expr, step: float = 0.02, most: float = 0.2, *, first: float | None = None) -> Psar:
    """Parabolic stop and reverse.

    Definition: stop[t+1] = stop[t] + factor * (extreme - stop[t]), held beyond the last two lows while rising
    (highs while falling). A bar that touches the stop turns it: the stop goes to the extreme of the trend that
    ended, held beyond the last two bars too, and the factor back to `first` (None: `step`). Each new extreme
    adds `step` to the factor, up to `most`. Start, as in TA-Lib: rising unless the low fell more than the high
    rose between the first two bars, from the first bar's low (high); others guess a rise and differ until the
    first turn they share. Units: those of the prices; direction 1 or -1; the factor is a number. Input: as
    `adx`. State: all but the stop. Lookback: 1 null row. A change may move every later row. A plain loop of
    this stands in tests/transforms/test_strength_loops.py. Source: Wilder (1978); his example in TA-Lib's
    test_sar.c; reference column psar_excel_af0.01.
    """
    fields = Psar._fields
    found = kernel_expr("psar", (high, low), (step, most, step if first is None else first), fields)
    return Psar(*(found.struct.field(field) for field in fields))


class SuperTrend(NamedTuple):
    """The line, its side (1 below the price, -1 above), both bands and the average true range."""

    line: pl.Expr
    direction: pl.Expr
    upper: pl.Expr
    lower: pl.Expr
    atr: pl.Expr


def supertrend(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 10, width: float = 3) -> SuperTrend:
    """SuperTrend.

    Definition: bands `width` average true ranges of `window` bars above and below (high + low) / 2. The upper
    band only falls and the lower one only rises, until the previous close was beyond it. The line is the lower
    band while closes stay above it, then the upper band until a close exceeds that. Start: rising if the
    first bar with an average closes at or above its middle. Units: those of the prices; direction 1 or -1.
    Input: as `adx`. State: direction, both bands and the average true range. Lookback: `window` null rows. A
    change may move every later row. A plain loop of this stands in tests/transforms/test_strength_loops.py.
    Source: O. Seban; TA-Lib's SUPERTREND; values of Stock.Indicators, test SuperTrend.
    """
    fields = SuperTrend._fields
    found = kernel_expr("supertrend", (high, low, close), (window, width), fields)
    return SuperTrend(*(found.struct.field(field) for field in fields))


class Ichimoku(NamedTuple):
    """Conversion and base line, and the two leading spans."""

    conversion: pl.Expr
    base: pl.Expr
    leading_a: pl.Expr
    leading_b: pl.Expr


def ichimoku(high: pl.Expr, low: pl.Expr, conversion: int = 9, base: int = 26, leading: int = 52) -> Ichimoku:
    """Ichimoku cloud.

    Definition: middle(n) = (highest high + lowest low of n bars) / 2; the conversion line is
    middle(conversion), the base line middle(base). The leading spans, (conversion line + base line) / 2 and
    middle(leading), are drawn `base` bars ahead: the value of row t here was computed from the bars up to row
    t - base, so the cloud of row t is known at row t. The lagging span is the close drawn `base` bars back: it
    is no column, since it would put a later close into row t. Units: those of the prices. Input: as `adx`.
    Lookback: lines their window - 1 null rows, spans `base` more. Reach of a change: base + the longest window.
    Source: G. Hosoda; values of Stock.Indicators, test Ichimoku (same placement).
    """

    def middle(window: int) -> pl.Expr:
        return (high.rolling_max(window) + low.rolling_min(window)) / 2

    quick, slow = middle(conversion), middle(base)
    return Ichimoku(quick, slow, ((quick + slow) / 2).shift(base), middle(leading).shift(base))

"""What volume says about prices."""

from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import ROUNDING, ema

EASE_UNIT = 1e8
"""Shares that `ease_of_movement` counts volume in, ChartSchool's."""


def typical_price(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """(high + low + close) / 3."""
    return (high + low + close) / 3


def vwap(price: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """Volume-weighted average price since the first row.

    Definition: sum(price * volume) / sum(volume) over the rows so far; null until something traded (0 / 0).
    Units: those of `price`. Input: typical prices of one session of one symbol, sorted; for many sessions,
    `.over("symbol", "session")`. Lookback: none. Reach of a change: to the end of its session.
    Source: reference column VWAP of the intraday sheet.
    """
    traded = volume.cum_sum()
    return pl.when(traded > 0).then((price * volume).cum_sum() / traded)


class AnchoredVwap(NamedTuple):
    """The average, and the two sums it is made of."""

    vwap: pl.Expr
    value: pl.Expr
    volume: pl.Expr


def anchored_vwap(price: pl.Expr, volume: pl.Expr, moment: pl.Expr, anchor: date | datetime) -> AnchoredVwap:
    """Volume-weighted average price since an anchor.

    Definition: sum(price * volume) / sum(volume) over the rows from the first one with `moment >= anchor` on;
    null before it and until something traded (0 / 0). `moment` is the session or the timestamp, `anchor` a
    value of the same type. Units: those of `price`. Input: typical prices of one symbol, sorted, no nulls
    inside; for many, `.over("symbol")`. Lookback: the rows before the anchor. State: both sums, 0 before the
    anchor. A change may move every later row. Source: P. Lutz, B. Shannon; reference column VWAP of the sheet
    anchored at 10:00.
    """
    counted = moment >= anchor
    traded = pl.when(counted).then(volume).otherwise(0.0).cum_sum()
    value = pl.when(counted).then(price * volume).otherwise(0.0).cum_sum()
    return AnchoredVwap(pl.when(traded > 0).then(value / traded), value, traded)


def rolling_vwap(price: pl.Expr, volume: pl.Expr, window: int = 20) -> pl.Expr:
    """Volume-weighted average price of the last rows.

    Definition: sum(price * volume) / sum(volume) over the last `window` rows; null where nothing traded in
    them (0 / 0). Units: those of `price`. Input: typical prices of one symbol, sorted, no nulls inside; for
    many, `.over("symbol")`. Lookback: `window - 1` null rows. Reach of a change: `window` rows. Source:
    ChartSchool's sheet cs-vwap.
    """
    average = (price * volume).rolling_sum(window) / volume.rolling_sum(window)
    return pl.when(volume.rolling_max(window) > 0).then(average)


def obv(close: pl.Expr, volume: pl.Expr, *, ta_lib: bool = False) -> pl.Expr:
    """On-balance volume.

    Definition: y[t] = y[t-1] + sign(close[t] - close[t-1]) * volume[t], y[0] = 0. TA-Lib starts at volume[0]
    and is that much higher everywhere: `ta_lib=True`. Units: those of `volume`. Input: adjusted prices and
    volumes of one symbol, sorted, no nulls inside; for many, `.over("symbol")`. Lookback: none. State: itself;
    a change moves every later row. Source: J. Granville (1963); reference column obv.
    """
    return (close.diff().sign().fill_null(1 if ta_lib else 0) * volume).cum_sum()


def money_flow(high: pl.Expr, low: pl.Expr, close: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """Money flow volume: volume * ((close - low) - (high - close)) / (high - low); 0 where high = low (0 / 0).

    Units: those of `volume`, signed. Source: M. Chaikin; reference column cmf_mfv.
    """
    multiplier = ((close - low) - (high - close)) / (high - low)
    return pl.when(high == low).then(0.0).otherwise(multiplier * volume)


def adl(high: pl.Expr, low: pl.Expr, close: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """Accumulation/distribution line.

    Definition: running sum of `money_flow`. Units: those of `volume`. Input: as `obv`. Lookback: none. State:
    itself; a change moves every later row. Source: M. Chaikin; reference column adl; TA-Lib's AD.
    """
    return money_flow(high, low, close, volume).cum_sum()


class Oscillator(NamedTuple):
    """The oscillator, the two averages it is made of, and the line they are averages of."""

    line: pl.Expr
    fast: pl.Expr
    slow: pl.Expr
    adl: pl.Expr


def chaikin_oscillator(
    high: pl.Expr,
    low: pl.Expr,
    close: pl.Expr,
    volume: pl.Expr,
    fast: int = 3,
    slow: int = 10,
    *,
    ta_lib: bool = False,
) -> Oscillator:
    """Chaikin oscillator.

    Definition: ema(adl, fast) - ema(adl, slow). Seeds: simple means, as `ema`; TA-Lib's ADOSC seeds both
    averages with the first value of the line and shows them from row max(fast, slow) - 1 on, so that it
    differs until they converge: `ta_lib=True`. Units: those of `volume`. Input: as `obv`. State: the line and
    both averages; where the line starts makes no difference. Lookback: max(fast, slow) - 1 null rows. Source:
    M. Chaikin; value of Stock.Indicators, test ChaikinOsc; TA-Lib's test_per_hlcv.c.
    """
    line = adl(high, low, close, volume)

    def average(window: int) -> pl.Expr:
        if not ta_lib:
            return ema(line, window)
        first_value = line.ewm_mean(span=window, adjust=False)
        return pl.when(line.cum_count() >= max(fast, slow)).then(first_value)

    quick, lazy = average(fast), average(slow)
    return Oscillator(quick - lazy, quick, lazy, line)


def cmf(high: pl.Expr, low: pl.Expr, close: pl.Expr, volume: pl.Expr, window: int = 20) -> pl.Expr:
    """Chaikin money flow.

    Definition: sum of `money_flow` / sum of volume over `window` bars; null where nothing traded in them
    (0 / 0). Units: -1 to 1. Input: as `obv`. Lookback: `window - 1` null rows. Reach of a change: `window`
    rows. Source: M. Chaikin; reference column cmf_20.
    """
    share = money_flow(high, low, close, volume).rolling_sum(window) / volume.rolling_sum(window)
    return pl.when(volume.rolling_max(window) > 0).then(share)


def mfi(high: pl.Expr, low: pl.Expr, close: pl.Expr, volume: pl.Expr, window: int = 14) -> pl.Expr:
    """Money flow index.

    Definition: 100 * up / (up + down), where up (down) sums typical price * volume of those of the last
    `window` bars whose typical price rose (fell). Exactly 100 (0) where no money flowed down (up), and 50
    where none flowed at all (0 / 0): neither side was stronger, as in `rsi` (TA-Lib says 0). A change of less
    than 1e-12 of the price is rounding: high and low may move apart while their sum stands still. Units: 0 to 100.
    Input: as `obv`. Lookback: `window` null rows. Reach of a change: `window + 1` rows. Source: G. Quong
    and A. Soudack (1989); reference column mfi_14.
    """
    price = typical_price(high, low, close)
    change, flow, least = price.diff(), price * volume, ROUNDING * price.abs()
    up = pl.when(change > least).then(flow).when(change.is_not_null()).then(0.0)
    down = pl.when(change < -least).then(flow).when(change.is_not_null()).then(0.0)
    rises, falls = up.rolling_sum(window), down.rolling_sum(window)
    no_rise, no_fall = up.rolling_max(window) == 0, down.rolling_max(window) == 0
    neither = pl.when(no_rise & no_fall).then(50.0)
    return neither.when(no_rise).then(0.0).when(no_fall).then(100.0).otherwise(100 * rises / (rises + falls))


def force_index(close: pl.Expr, volume: pl.Expr, window: int = 13) -> pl.Expr:
    """Force index.

    Definition: ema((close[t] - close[t-1]) * volume[t], window). Seed: simple mean of the first `window`
    products. Units: price times volume. Input: as `obv`. State: itself. Lookback: `window` null rows. Warm-up:
    3.5 * window more. Source: A. Elder, Trading for a Living (1993); values of Stock.Indicators, test
    ForceIndex.
    """
    return ema(close.diff() * volume, window)


def ease_of_movement(high: pl.Expr, low: pl.Expr, volume: pl.Expr, window: int = 14) -> pl.Expr:
    """Ease of movement.

    Definition: simple mean over `window` bars of (middle[t] - middle[t-1]) / (volume / 1e8 / (high - low)),
    middle = (high + low) / 2. A bar without volume counts as 0: nothing traded moved nothing (0 / 0). Units:
    price squared per 100 million shares; exactly 0 where nothing moved. Input: as `obv`. Lookback: `window` null
    rows. Reach of a change: `window + 1` rows. Source: R. Arms; ChartSchool's sheet cs-easeofmovement.
    """
    moved = ((high + low) / 2).diff()
    quiet = pl.when((volume == 0) & moved.is_not_null()).then(0.0)
    ease = quiet.otherwise(EASE_UNIT * moved * (high - low) / volume)
    still = ease.abs().rolling_max(window) == 0  # nothing, not what is left of rounding
    return pl.when(still).then(0.0).otherwise(ease.rolling_mean(window))


def vpt(close: pl.Expr, volume: pl.Expr) -> pl.Expr:
    """Volume-price trend.

    Definition: y[t] = y[t-1] + volume[t] * (close[t] / close[t-1] - 1), y[0] = 0. Units: those of `volume`.
    Input: as `obv`. Lookback: none. State: itself; a change moves every later row. Source: ChartSchool's sheet
    cs-vpt.
    """
    return ((close / close.shift(1) - 1).fill_null(0) * volume).cum_sum()

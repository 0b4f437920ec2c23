"""Where a price stands in the range it came from."""

from typing import Literal, NamedTuple

import polars as pl

from transforms.indicators.momentum import rsi
from transforms.indicators.trend import ROUNDING, sma
from transforms.indicators.volume import typical_price

NOISE = 1e-9
"""Ranges of an RSI below this are rounding: it does not move while prices stand still, save in its last digits."""


def _place(x: pl.Expr, highest: pl.Expr, lowest: pl.Expr, least: float = 0) -> pl.Expr:
    """Where `x` stands between the two: 0 at the lowest, 100 at the highest, 50 where there is no range."""
    spread = highest - lowest
    return pl.when(spread <= least).then(50.0).otherwise(100 * (x - lowest) / spread)


class Stochastic(NamedTuple):
    """%K, its average %D, and %J, which runs ahead of both."""

    k: pl.Expr
    d: pl.Expr
    j: pl.Expr


def stochastic(
    high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14, smooth: int = 3, signal: int = 3
) -> Stochastic:
    """Stochastic oscillator, slow; with `smooth` = 1 the fast one.

    Definition: raw = 100 * (close - lowest low) / (highest high - lowest low) of the last `window` rows;
    k = sma(raw, smooth), d = sma(k, signal), j = 3 * k - 2 * d. Raw is 50 where there is no range (0 / 0):
    the close is neither high nor low (TA-Lib and Skender have 0). Units: k and d 0 to 100, j beyond both.
    Input: adjusted prices of one symbol, sorted, no nulls inside; for many, `.over("symbol")`. Lookback: k
    `window + smooth - 2` null rows, d and j `signal - 1` more. Reach of a change: one row more than that.
    Source: G. Lane; reference columns stoch_k_14_3, stoch_d_3, stoch_j, stoch_raw_k_14; ChartSchool sheet
    cs-soo.
    """
    k = sma(_place(close, high.rolling_max(window), low.rolling_min(window)), smooth)
    d = sma(k, signal)
    return Stochastic(k, d, 3 * k - 2 * d)


class StochRsi(NamedTuple):
    """%K of an RSI and its average %D."""

    k: pl.Expr
    d: pl.Expr


def stoch_rsi(x: pl.Expr, rsi_window: int = 14, window: int = 14, smooth: int = 3, signal: int = 3) -> StochRsi:
    """Stochastic oscillator of the relative strength index.

    Definition: raw = 100 * (rsi - lowest rsi) / (highest rsi - lowest rsi) of the last `window` values of
    rsi(x, rsi_window); k = sma(raw, smooth), d = sma(k, signal). Raw is 50 where the RSI moved by less than
    1e-9 (0 / 0, and rounding). Excel's sheet smooths k; with `smooth` = 1 it is Skender's, ChartSchool's
    (which goes from 0 to 1) and TA-Lib's (which takes a `window` of 5). Units: 0 to 100. Input: as
    `stochastic`.
    Lookback: k `rsi_window + window + smooth - 2` null rows, d `signal - 1` more. State: that of `rsi`, from
    which its last values are had. Warm-up: as `rsi`. Source: T. Chande and S. Kroll, The New Technical Trader
    (1994); reference columns stochrsi_14_14, stochrsi_sig_3; ChartSchool sheet cs-stochrsi.
    """
    strength = rsi(x, rsi_window)
    raw = _place(strength, strength.rolling_max(window), strength.rolling_min(window), least=NOISE)
    k = sma(raw, smooth)
    return StochRsi(k, sma(k, signal))


def williams_r(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> pl.Expr:
    """Williams %R.

    Definition: -100 * (highest high - close) / (highest high - lowest low) of the last `window` rows; -50
    where there is no range (0 / 0), as `stochastic`. Units: -100 to 0. Input: as `stochastic`. Lookback:
    `window - 1` null rows. Reach of a change: `window` rows. Source: L. Williams; reference column
    willr_14; ChartSchool sheet cs-percentr.
    """
    return _place(close, high.rolling_max(window), low.rolling_min(window)) - 100


def cci(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 20) -> pl.Expr:
    """Commodity channel index.

    Definition: (p - m) / (0.015 * mean(|p[i] - m| for i in the window)) with p = (high + low + close) / 3
    and m = sma(p, window) of row t; 0 where the typical price did not move (0 / 0) by more than 1e-12 of
    itself (rounding). Units: none, mostly -200 to 200. Input: as `stochastic`. Lookback: `window - 1` null
    rows. Reach of a change: `window` rows. Source: D. Lambert (1980); Skender's spot value of CCI; ChartSchool
    sheet cs-cci.
    """
    price = typical_price(high, low, close)
    mean = sma(price, window)
    deviation = pl.mean_horizontal((price.shift(age) - mean).abs() for age in range(window))
    highest, lowest = price.rolling_max(window), price.rolling_min(window)
    flat = highest - lowest <= ROUNDING * pl.max_horizontal(highest.abs(), lowest.abs())
    return pl.when(flat).then(0.0).otherwise((price - mean) / (0.015 * deviation))


def ultimate_oscillator(
    high: pl.Expr, low: pl.Expr, close: pl.Expr, short: int = 7, middle: int = 14, long: int = 28
) -> pl.Expr:
    """Ultimate oscillator: buying pressure over three windows.

    Definition: 100 * (4 * share(short) + 2 * share(middle) + share(long)) / 7 with share(n) = sum of
    (close - bottom) over sum of (top - bottom) of the last n rows, top and bottom being the high and the low
    or the previous close where that is beyond them. A share is 1/2 where there was no range at all (0 / 0):
    neither side pressed (TA-Lib has 0). Units: 0 to 100. Input: as `stochastic`. Lookback: `long` null rows,
    the longest of the three. Reach of a change: one row more than that. Source: L. Williams, Technical
    Analysis of Stocks & Commodities 3 (1985); reference column uo_7_14_28; ChartSchool sheet cs-ultosc.
    """
    before = close.shift(1)
    known = before.is_not_null()
    bottom = pl.when(known).then(pl.min_horizontal(low, before))
    top = pl.when(known).then(pl.max_horizontal(high, before))
    pressure, spread = close - bottom, top - bottom

    def share(window: int) -> pl.Expr:
        still = spread.rolling_max(window) == 0
        return pl.when(still).then(0.5).otherwise(pressure.rolling_sum(window) / spread.rolling_sum(window))

    return 100 * (4 * share(short) + 2 * share(middle) + share(long)) / 7


class Aroon(NamedTuple):
    """How fresh the highest high is, how fresh the lowest low is, and the first less the second."""

    up: pl.Expr
    down: pl.Expr
    oscillator: pl.Expr


def aroon(high: pl.Expr, low: pl.Expr, window: int = 25, *, ties: Literal["first", "last"] = "first") -> Aroon:
    """Aroon.

    Definition: up = 100 * (window - age of the highest high) / window among the rows t-window .. t, the age
    of row t being 0; down = the same of the lowest low; oscillator = up - down. Of equal highs the first
    counts, as in Excel's sheet and Skender; `ties="last"` is TA-Lib's. Units: up and down 0 to 100. Input:
    as `stochastic`. Lookback: `window` null rows. Reach of a change: `window + 1` rows. Source: T. Chande
    (1995); reference columns aroon_up_25, aroon_dn_25, aroon_osc_25.
    """
    ages = range(window, -1, -1) if ties == "first" else range(window + 1)
    highest, lowest = high.rolling_max(window + 1), low.rolling_min(window + 1)
    up, down = (
        100 * (window - pl.coalesce(pl.when(x.shift(age) == extreme).then(float(age)) for age in ages)) / window
        for x, extreme in ((high, highest), (low, lowest))
    )
    return Aroon(up, down, up - down)


def awesome_oscillator(high: pl.Expr, low: pl.Expr, fast: int = 5, slow: int = 34) -> pl.Expr:
    """Awesome oscillator.

    Definition: sma(p, fast) - sma(p, slow) with p = (high + low) / 2. Units: those of the prices. Input: as
    `stochastic`. Lookback: `slow - 1` null rows (the longer of the two). Reach of a change: `slow` rows.
    Source: B. Williams, New Trading Dimensions (1998); Skender's spot values of Awesome.
    """
    middle = (high + low) / 2
    return sma(middle, fast) - sma(middle, slow)

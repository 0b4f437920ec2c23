"""How far prices swing."""

import math
from typing import NamedTuple

import polars as pl

from transforms.indicators.trend import ema, sma, wilder


class Bands(NamedTuple):
    """Three lines around a price."""

    upper: pl.Expr
    middle: pl.Expr
    lower: pl.Expr


def flat(x: pl.Expr, window: int) -> pl.Expr:
    """Whether the last `window` values are one and the same: compared, not computed, so rounding has no say."""
    return x.rolling_max(window) == x.rolling_min(window)


def stddev(x: pl.Expr, window: int = 20, ddof: int = 0) -> pl.Expr:
    """Standard deviation.

    Definition: sqrt(sum((x[t-i] - mean)^2) / (window - ddof)) over the last `window` values; exactly 0 where
    they are all the same. Population (`ddof=0`), as TA-Lib and Excel's STDEV.P; `ddof=1` is the sample's.
    Units: those of `x`. Input: as `bollinger`. Lookback: `window - 1` null rows. Reach of a change: `window`
    rows. Source: Excel's STDEV.P; reference column stddev_pop_10.
    """
    return pl.when(flat(x, window)).then(0.0).otherwise(x.rolling_std(window, ddof=ddof))


def bollinger(x: pl.Expr, window: int = 20, width: float = 2) -> Bands:
    """Bollinger bands.

    Definition: sma(x, window) and `width` standard deviations of the same window above and below it;
    population deviation (divisor `window`). Units: those of `x`. Input: adjusted prices of one symbol,
    sorted, no nulls inside; for many, `.over("symbol")`. Lookback: `window - 1` null rows. Reach of a
    change: `window` rows. Source: J. Bollinger; Excel's STDEV.P in the reference columns bb_mid_20,
    bb_upper_20_2, bb_lower_20_2.
    """
    middle = sma(x, window)
    reach = width * x.rolling_std(window, ddof=0)
    return Bands(middle + reach, middle, middle - reach)


def bollinger_b(x: pl.Expr, window: int = 20, width: float = 2) -> pl.Expr:
    """Bollinger's %B: where the price stands between the bands.

    Definition: (x - lower) / (upper - lower) of `bollinger`: 0 on the lower band, 1 on the upper one. Where
    nothing moved (0 / 0), 0.5: the price is on the middle line. Units: a ratio. Input, lookback and reach:
    as `bollinger`. Source: J. Bollinger; reference column bb_pctb.
    """
    deviations = (x - sma(x, window)) / (2 * width * x.rolling_std(window, ddof=0))
    return pl.when(flat(x, window)).then(0.5).otherwise(0.5 + deviations)


def bollinger_width(x: pl.Expr, window: int = 20, width: float = 2) -> pl.Expr:
    """Bollinger's band width.

    Definition: (upper - lower) / middle of `bollinger`; exactly 0 where nothing moved. Units: a ratio.
    Input, lookback and reach: as `bollinger`. Source: J. Bollinger; reference column bb_width.
    """
    return 2 * width * stddev(x, window) / sma(x, window)


def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Largest of high - low, |high - previous close| and |low - previous close|; null in the first row.

    Units: those of the prices. Input: as `bollinger`. Source: Wilder (1978); reference column tr.
    """
    before = close.shift(1)
    widest = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())
    return pl.when(before.is_not_null()).then(widest)


def atr(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> pl.Expr:
    """Average true range, Wilder's.

    Definition: wilder(true_range, window). Units: those of the prices. Input: as `bollinger`. State: itself.
    Lookback: `window` null rows, since the first row has no true range. Warm-up: 7 * window more.
    Source: Wilder (1978); reference column atr_14.
    """
    return wilder(true_range(high, low, close), window)


def natr(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> pl.Expr:
    """Normalised average true range.

    Definition: 100 * atr / close. Units: percent of the close. Input, lookback and warm-up: as `atr`. State:
    the average true range. Source: J. Forman, Cross-Market Evaluations with Normalized Average True Range
    (2006); reference column atrp_14.
    """
    return 100 * atr(high, low, close, window) / close


def keltner(
    high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 20, width: float = 2, atr_window: int = 10
) -> Bands:
    """Keltner channel.

    Definition: ema(close, window) and `width` average true ranges of `atr_window` bars above and below it;
    C. Keltner's own of 1960 was a simple mean of typical prices and of daily ranges. Seeds: those of `ema`
    and `atr`. Units: those of the prices. Input: as `bollinger`. State: the middle line and the average true
    range. Lookback: max(window - 1, atr_window) null rows. Source: L. B. Raschke's version, as ChartSchool and
    the reference's Keltner values have it.
    """
    middle = ema(close, window)
    reach = width * atr(high, low, close, atr_window)
    return Bands(middle + reach, middle, middle - reach)


def donchian(high: pl.Expr, low: pl.Expr, window: int = 20, *, current: bool = False) -> Bands:
    """Donchian channel.

    Definition: highest high and lowest low of the `window` bars before this one, and their mean. That is R.
    Donchian's rule: buy when the price exceeds the highs of the preceding weeks; a channel that held its own
    bar could never be broken. TA-Lib's MAX and MIN, and most charts, count this bar in: `current=True`.
    Units: those of the prices. Input: as `bollinger`. Lookback: `window` null rows (`window - 1` with
    `current`). Reach of a change: `window + 1` rows (`window`). Source: R. Donchian (1960); reference columns
    donchian_up_20, donchian_mid_20, donchian_lo_20.
    """
    past = 0 if current else 1
    upper, lower = high.rolling_max(window).shift(past), low.rolling_min(window).shift(past)
    return Bands(upper, (upper + lower) / 2, lower)


def historical_volatility(x: pl.Expr, window: int = 20, periods: float = 252) -> pl.Expr:
    """Annualised volatility of closes.

    Definition: 100 * sqrt(periods) * sample standard deviation (divisor `window - 1`) of the last `window`
    changes of ln(x); exactly 0 where they are all the same. `periods` is the number of bars in a year: 252
    daily ones of a stock exchange, 365 of a market that never closes. Units: percent a year. Input: as
    `bollinger`, window >= 2. Lookback: `window` null rows. Reach of a change: `window + 1` rows. Source: J.
    Hull, Options, Futures, and Other Derivatives, "Estimating volatility from historical data".
    """
    return 100 * math.sqrt(periods) * stddev(x.log().diff(), window, ddof=1)


def parkinson(high: pl.Expr, low: pl.Expr, window: int = 20, periods: float = 252) -> pl.Expr:
    """Annualised volatility from daily extremes, Parkinson's.

    Definition: 100 * sqrt(periods * mean of ln(high / low)^2 / (4 ln 2)) over `window` bars. Blind to what
    happens between bars. `periods`: as `historical_volatility`. Units: percent a year. Input: as `bollinger`.
    Lookback: `window - 1` null rows. Reach of a change: `window` rows. Source: M. Parkinson, The Extreme Value
    Method for Estimating the Variance of the Rate of Return, Journal of Business 53 (1980).
    """
    return _annual((high / low).log() ** 2 / (4 * math.log(2)), window, periods)


def garman_klass(
    open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 20, periods: float = 252
) -> pl.Expr:
    """Annualised volatility from daily prices, Garman and Klass's.

    Definition: 100 * sqrt(periods * mean of (ln(high / low)^2 / 2 - (2 ln 2 - 1) * ln(close / open)^2)) over
    `window` bars; no bar whose open and close lie within its range makes a negative term. `periods`: as
    `historical_volatility`. Units, input, lookback and reach: as `parkinson`. Source: M. Garman and M. Klass,
    On the Estimation of Security Price Volatilities from Historical Data, Journal of Business 53 (1980).
    """
    body = (2 * math.log(2) - 1) * (close / open).log() ** 2
    return _annual(((high / low).log() ** 2 / 2 - body).clip(lower_bound=0), window, periods)


def _annual(variance: pl.Expr, window: int, periods: float) -> pl.Expr:
    """Percent a year from terms >= 0; exactly 0 where all of a window are 0."""
    mean = variance.rolling_mean(window).clip(lower_bound=0)
    return pl.when(variance.rolling_max(window) == 0).then(0.0).otherwise(100 * (periods * mean).sqrt())


def ulcer_index(x: pl.Expr, window: int = 14) -> pl.Expr:
    """Ulcer index.

    Definition: root of the mean square of 100 * (x / peak - 1) over the last `window` rows, where a row's
    peak is the highest value since the window's first row (Martin's; ChartSchool's text takes the highest of
    each row's own last `window` rows, which needs twice the history and is the same while prices rise).
    Units: percent. Input: as `bollinger`. Lookback: `window - 1` null rows. Reach of a change: `window` rows.
    Cost: one pass for each row of the window. Source: P. Martin and B. McCann, The Investor's Guide to
    Fidelity Funds (1989); ChartSchool's sheet cs-ui.
    """
    earlier = (x.shift(back) for back in range(window))
    squares = [(value / value.rolling_max(window - n) - 1) ** 2 for n, value in enumerate(earlier)]
    return 100 * (pl.sum_horizontal(squares, ignore_nulls=False) / window).sqrt()


def chop(high: pl.Expr, low: pl.Expr, close: pl.Expr, window: int = 14) -> pl.Expr:
    """Choppiness index.

    Definition: 100 * log10(sum of the true ranges / (highest true high - lowest true low)) / log10(window)
    over `window` bars, a true high being max(high, previous close) and a true low min(low, previous close).
    Null where nothing moved at all (0 / 0). Units: 0 (one straight move) to 100 (no progress). Input: as
    `bollinger`, window >= 2. Lookback: `window` null rows. Reach of a change: `window + 1` rows. Source: E. W.
    Dreiss; reference column chop.CHOP14.
    """
    before = close.shift(1)
    highest = pl.when(before.is_not_null()).then(pl.max_horizontal(high, before)).rolling_max(window)
    lowest = pl.when(before.is_not_null()).then(pl.min_horizontal(low, before)).rolling_min(window)
    travelled = true_range(high, low, close).rolling_sum(window)
    return pl.when(highest > lowest).then(100 * (travelled / (highest - lowest)).log10() / math.log10(window))

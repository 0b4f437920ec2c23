"""Where a price stands in its range, as the catalogue offers it."""

from typing import Final

from transforms.catalogue.entry import CLOSE, HIGH, LOW, Column, Family, Indicator, Kernel, State, Window
from transforms.catalogue.momentum import gain_loss_columns
from transforms.indicators import oscillators

_RANGE: Final = ("high", "low", "close")


def _stochastic(name: str, window: int, smooth: int, signal: int) -> Indicator:
    lines = oscillators.stochastic(HIGH, LOW, CLOSE, window, smooth, signal)
    columns = tuple(Column(f"{name}_{line}", expr, "percent") for line, expr in lines._asdict().items())
    about = f"stochastic oscillator of {window} bars: %K smoothed by {smooth}, %D its mean of {signal}, %J"
    rows = window + smooth + signal - 2
    kernel = Kernel("stochastic", _RANGE, (window, smooth, signal))
    return Indicator(name, about, columns, _RANGE, rows - 1, Window(rows), kernel=kernel)


def _stoch_rsi(name: str, rsi_window: int, window: int, smooth: int, signal: int) -> Indicator:
    lines = oscillators.stoch_rsi(CLOSE, rsi_window, window, smooth, signal)
    state = gain_loss_columns(name, rsi_window)
    columns = (*(Column(f"{name}_{line}", expr, "percent") for line, expr in lines._asdict().items()), *state)
    about = f"stochastic of RSI {rsi_window} over {window} bars: %K smoothed by {smooth}, %D its mean of {signal}"
    lookback = rsi_window + window + smooth + signal - 3
    kernel = Kernel("stoch_rsi", ("close",), (rsi_window, window, smooth, signal))
    spans = window + smooth + signal - 2
    # a range of RSIs may be as small as it likes, so that no difference is small beside it
    reach = State(tuple(c.name for c in state), settles=False, reads=2, spans=spans, weight=1 / rsi_window)
    return Indicator(name, about, columns, ("close",), lookback, reach, kernel=kernel)


def _williams_r(name: str, window: int) -> Indicator:
    column = Column(name, oscillators.williams_r(HIGH, LOW, CLOSE, window), "percent")
    about = f"Williams %R of {window} bars, -100 to 0"
    kernel = Kernel("williams_r", _RANGE, (window,))
    return Indicator(name, about, (column,), _RANGE, window - 1, Window(window), kernel=kernel)


def _cci(name: str, window: int) -> Indicator:
    column = Column(name, oscillators.cci(HIGH, LOW, CLOSE, window), "percent")
    about = f"commodity channel index of {window} bars"
    kernel = Kernel("cci", _RANGE, (window,))
    return Indicator(name, about, (column,), _RANGE, window - 1, Window(window), kernel=kernel)


def _ultimate_oscillator(name: str, short: int, middle: int, long: int) -> Indicator:
    column = Column(name, oscillators.ultimate_oscillator(HIGH, LOW, CLOSE, short, middle, long), "percent")
    about = f"buying pressure over {short}, {middle} and {long} bars, 0 to 100"
    rows = max(short, middle, long)
    return Indicator(name, about, (column,), _RANGE, rows, Window(rows + 1))


def _aroon(name: str, window: int) -> Indicator:
    lines = oscillators.aroon(HIGH, LOW, window)
    columns = tuple(Column(f"{name}_{line}", expr, "percent") for line, expr in lines._asdict().items())
    about = f"how fresh the highest high and the lowest low of {window} bars are, 0 to 100, and their difference"
    kernel = Kernel("aroon", ("high", "low"), (window,))
    return Indicator(name, about, columns, ("high", "low"), window, Window(window + 1), kernel=kernel)


def _awesome_oscillator(name: str, fast: int, slow: int) -> Indicator:
    column = Column(name, oscillators.awesome_oscillator(HIGH, LOW, fast, slow), "price")
    about = f"SMA {fast} minus SMA {slow} of the middle between high and low"
    rows = max(fast, slow)
    return Indicator(name, about, (column,), ("high", "low"), rows - 1, Window(rows))


FAMILIES: Final = (
    Family(
        "stochastic",
        _stochastic,
        formula="k = sma of 100 * (close - lowest low) / (highest high - lowest low) of window rows, over smooth "
        "rows (1: the fast one); d = sma(k, signal); j = 3 * k - 2 * d",
        undefined="50 where there is no range (TA-Lib and Skender 0)",
        source="G. Lane; reference columns stoch_k_14_3, stoch_d_3, stoch_j",
        usual=((14, 3, 3), (14, 1, 3)),
        plain=(14, 3, 3),
    ),
    Family(
        "stoch_rsi",
        _stoch_rsi,
        formula="k = sma of 100 * (rsi - lowest rsi) / (highest rsi - lowest rsi) of window rows, over smooth rows; "
        "d = sma(k, signal)",
        seed="as rsi",
        undefined="50 where the RSI moved by less than 1e-9",
        source="T. Chande and S. Kroll, The New Technical Trader (1994)",
        usual=((14, 14, 3, 3),),
        plain=(14, 14, 3, 3),
    ),
    Family(
        "williams_r",
        _williams_r,
        formula="-100 * (highest high - close) / (highest high - lowest low) of window rows",
        undefined="-50 where there is no range (TA-Lib 0)",
        source="L. Williams; reference column willr_14",
        usual=((14,),),
    ),
    Family(
        "cci",
        _cci,
        formula="(p - m) / (0.015 * mean of |p[i] - m|), p = (high + low + close) / 3, m = sma(p, window)",
        undefined="0 where the typical price did not move",
        source="D. Lambert (1980)",
        usual=((20,),),
    ),
    Family(
        "ultimate_oscillator",
        _ultimate_oscillator,
        formula="100 * (4 * share(short) + 2 * share(middle) + share(long)) / 7, share = sum of close - bottom over "
        "sum of top - bottom, which are high and low or the close before where that is beyond them",
        undefined="a share is 1/2 where there was no range at all (TA-Lib 0)",
        source="L. Williams, Technical Analysis of Stocks & Commodities 3 (1985)",
        usual=((7, 14, 28),),
        plain=(7, 14, 28),
    ),
    Family(
        "aroon",
        _aroon,
        formula="up = 100 * (window - age of the highest high) / window, of rows t-window .. t; down the same of the "
        "lowest low; oscillator = up - down; of equal ones the first counts (TA-Lib: the last)",
        source="T. Chande (1995); reference columns aroon_up_25, aroon_dn_25, aroon_osc_25",
        usual=((25,),),
    ),
    Family(
        "awesome_oscillator",
        _awesome_oscillator,
        formula="sma(p, fast) - sma(p, slow), p = (high + low) / 2",
        source="B. Williams, New Trading Dimensions (1998)",
        usual=((5, 34),),
        plain=(5, 34),
    ),
)

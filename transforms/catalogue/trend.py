"""Moving averages, as the catalogue offers them."""

from math import isqrt
from typing import Final

from transforms.catalogue.entry import CLOSE, VOLUME, Column, Family, Indicator, Kernel, State, Window
from transforms.indicators import trend


def span(window: int) -> float:
    """Weight of the newest value in an exponential average."""
    return 2 / (window + 1)


def _sma(name: str, window: int) -> Indicator:
    column = Column(name, trend.sma(CLOSE, window), "price")
    about = f"simple moving average of {window} closes"
    kernel = Kernel("sma", ("close",), (window,))
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window), kernel=kernel)


def _ema(name: str, window: int) -> Indicator:
    column = Column(name, trend.ema(CLOSE, window), "price")
    about = f"exponential moving average, span {window}"
    kernel = Kernel("ema", ("close",), (window,))
    return Indicator(name, about, (column,), ("close",), window - 1, State((name,), weight=span(window)), kernel=kernel)


def _wma(name: str, window: int) -> Indicator:
    column = Column(name, trend.wma(CLOSE, window), "price")
    about = f"moving average of {window} closes, weighted {window} for the newest down to 1"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def smoothed_columns(name: str, window: int, times: int) -> tuple[Column, ...]:
    """The averages of each other that a recursion resumes from, as hidden columns."""
    averages = trend.smoothed(CLOSE, window)._asdict().items()
    return tuple(Column(f"{name}_{times}", expr, "price", shown=False) for times, expr in list(averages)[:times])


def _dema(name: str, window: int) -> Indicator:
    state = smoothed_columns(name, window, 2)
    columns = (Column(name, trend.dema(CLOSE, window), "price"), *state)
    about = f"double exponential moving average, span {window}"
    reach = State(tuple(c.name for c in state), weight=span(window))
    kernel = Kernel("dema", ("close",), (window,))
    return Indicator(name, about, columns, ("close",), window - 1, reach, kernel=kernel)


def _tema(name: str, window: int) -> Indicator:
    state = smoothed_columns(name, window, 3)
    columns = (Column(name, trend.tema(CLOSE, window), "price"), *state)
    about = f"triple exponential moving average, span {window}"
    reach = State(tuple(c.name for c in state), weight=span(window))
    kernel = Kernel("tema", ("close",), (window,))
    return Indicator(name, about, columns, ("close",), window - 1, reach, kernel=kernel)


def _hma(name: str, window: int) -> Indicator:
    column = Column(name, trend.hma(CLOSE, window), "price")
    about = f"Hull moving average of {window} closes"
    rows = window + isqrt(window) - 1
    return Indicator(name, about, (column,), ("close",), rows - 1, Window(rows))


def _kama(name: str, window: int, fast: int, slow: int) -> Indicator:
    column = Column(name, trend.kama(CLOSE, window, fast, slow), "price")
    about = f"Kaufman's adaptive moving average: spans {fast} to {slow} by the efficiency of {window} changes"
    kernel = Kernel("kama", ("close",), (window, fast, slow))
    reach = State((name,), reads=window + 1, weight=min(span(fast), span(slow)) ** 2)
    return Indicator(name, about, (column,), ("close",), window - 1, reach, kernel=kernel)


def _vwma(name: str, window: int) -> Indicator:
    column = Column(name, trend.vwma(CLOSE, VOLUME, window), "price")
    about = f"volume-weighted moving average of {window} closes"
    return Indicator(name, about, (column,), ("close", "volume"), window - 1, Window(window))


FAMILIES: Final = (
    Family(
        "sma",
        _sma,
        formula="y[t] = mean of close[t-window+1 .. t]",
        source="Excel's AVERAGE",
        usual=((20,), (50,), (200,)),
    ),
    Family(
        "ema",
        _ema,
        formula="y[t] = y[t-1] + a * (close[t] - y[t-1]), a = 2 / (window + 1)",
        seed="simple mean of the first window closes, as in TA-Lib",
        source="TA-Lib, ta_EMA.c",
        usual=((12,), (26,)),
    ),
    Family(
        "wma",
        _wma,
        formula="(window * close[t] + (window-1) * close[t-1] + ... + close[t-window+1]) / (1 + 2 + ... + window)",
        source="Skender's spot values; ChartSchool sheet cs-wma",
        usual=((20,),),
    ),
    Family(
        "dema",
        _dema,
        formula="2 * ema(close) - ema(ema(close))",
        seed="first average by its simple mean, the second by the first value of that (TA-Lib: by a mean too)",
        source="P. Mulloy, Technical Analysis of Stocks & Commodities 12 (1994)",
        usual=((20,),),
    ),
    Family(
        "tema",
        _tema,
        formula="3 * ema(close) - 3 * ema(ema(close)) + ema(ema(ema(close)))",
        seed="first average by its simple mean, the others by the first value of that (TA-Lib: by means too)",
        source="P. Mulloy, Technical Analysis of Stocks & Commodities 12 (1994)",
        usual=((20,),),
    ),
    Family(
        "hma",
        _hma,
        formula="wma(2 * wma(close, window // 2) - wma(close, window), floor(sqrt(window)))",
        source="A. Hull (2005)",
        usual=((20,),),
    ),
    Family(
        "kama",
        _kama,
        formula="y[t] = y[t-1] + c**2 * (close[t] - y[t-1]), c = er * (2/(fast+1) - 2/(slow+1)) + 2/(slow+1), "
        "er = |change over window| / sum of the |changes| in it",
        seed="y[window-1] = close[window-1] (TA-Lib alike, hiding that row)",
        undefined="efficiency 0 where nothing moved (TA-Lib 1)",
        source="P. Kaufman, Trading Systems and Methods",
        usual=((10, 2, 30),),
        plain=(10, 2, 30),
    ),
    Family(
        "vwma",
        _vwma,
        formula="sum of close * volume over sum of volume, of the last window rows",
        undefined="null where nothing traded in the window",
        source="reference column vwma_10",
        usual=((20,),),
    ),
)

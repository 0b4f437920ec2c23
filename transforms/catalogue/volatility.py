"""Volatility, as the catalogue offers it."""

from typing import Final

from transforms.catalogue.entry import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    Column,
    Family,
    Indicator,
    Kernel,
    State,
    Window,
)
from transforms.catalogue.limits import rows_at_least
from transforms.catalogue.trend import span
from transforms.indicators import volatility

_HLC: Final = ("high", "low", "close")
_WILDER: Final = "J. W. Wilder, New Concepts in Technical Trading Systems (1978)"


def _bollinger(name: str, window: int, width: float) -> Indicator:
    bands = volatility.bollinger(CLOSE, window, width)
    columns = tuple(Column(f"{name}_{line}", expr, "price") for line, expr in bands._asdict().items())
    about = f"SMA {window} and {width:g} population standard deviations above and below it"
    kernel = Kernel("bollinger", ("close",), (window, width))
    return Indicator(name, about, columns, ("close",), window - 1, Window(window), kernel=kernel)


def _bollinger_b(name: str, window: int, width: float) -> Indicator:
    column = Column(name, volatility.bollinger_b(CLOSE, window, width), "ratio")
    about = f"where the close stands between the Bollinger bands {window}, {width:g}: 0 lower, 1 upper"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _bollinger_width(name: str, window: int, width: float) -> Indicator:
    column = Column(name, volatility.bollinger_width(CLOSE, window, width), "ratio")
    about = f"distance of the Bollinger bands {window}, {width:g} over their middle"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _true_range(name: str) -> Indicator:
    column = Column(name, volatility.true_range(HIGH, LOW, CLOSE), "price")
    return Indicator(name, "range of the bar and the gap before it", (column,), _HLC, 1, Window(2))


def _atr(name: str, window: int) -> Indicator:
    column = Column(name, volatility.atr(HIGH, LOW, CLOSE, window), "price")
    about = f"average true range (Wilder) of {window} bars"
    state = State((name,), reads=2, weight=1 / window)
    return Indicator(name, about, (column,), _HLC, window, state, kernel=Kernel("atr", _HLC, (window,)))


def _natr(name: str, window: int) -> Indicator:
    columns = (
        Column(name, volatility.natr(HIGH, LOW, CLOSE, window), "percent"),
        Column(f"{name}_atr", volatility.atr(HIGH, LOW, CLOSE, window), "price", shown=False),
    )
    about = f"average true range of {window} bars in percent of the close"
    state = State((f"{name}_atr",), reads=2, weight=1 / window)
    return Indicator(name, about, columns, _HLC, window, state, kernel=Kernel("natr", _HLC, (window,)))


def _keltner(name: str, window: int, width: float, atr_window: int) -> Indicator:
    bands = volatility.keltner(HIGH, LOW, CLOSE, window, width, atr_window)
    columns = (
        *(Column(f"{name}_{line}", expr, "price") for line, expr in bands._asdict().items()),
        Column(f"{name}_atr", volatility.atr(HIGH, LOW, CLOSE, atr_window), "price", shown=False),
    )
    about = f"EMA {window} and {width:g} average true ranges of {atr_window} bars above and below it"
    state = State((f"{name}_middle", f"{name}_atr"), reads=2, weight=min(span(window), 1 / atr_window))
    kernel = Kernel("keltner", _HLC, (window, width, atr_window))
    return Indicator(name, about, columns, _HLC, max(window - 1, atr_window), state, kernel=kernel)


def _donchian(name: str, window: int) -> Indicator:
    bands = volatility.donchian(HIGH, LOW, window)
    columns = tuple(Column(f"{name}_{line}", expr, "price") for line, expr in bands._asdict().items())
    about = f"highest high and lowest low of the {window} bars before this one, and their mean"
    return Indicator(name, about, columns, ("high", "low"), window, Window(window + 1))


def _stddev(name: str, window: int) -> Indicator:
    column = Column(name, volatility.stddev(CLOSE, window), "price")
    about = f"population standard deviation of {window} closes"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _historical_volatility(name: str, window: int, periods: float) -> Indicator:
    rows_at_least(2, name, window)
    column = Column(name, volatility.historical_volatility(CLOSE, window, periods), "percent")
    about = f"deviation of {window} log returns, percent a year of {periods:g} bars"
    return Indicator(name, about, (column,), ("close",), window, Window(window + 1))


def _parkinson(name: str, window: int, periods: float) -> Indicator:
    column = Column(name, volatility.parkinson(HIGH, LOW, window, periods), "percent")
    about = f"volatility from the highs and lows of {window} bars, percent a year of {periods:g} bars"
    return Indicator(name, about, (column,), ("high", "low"), window - 1, Window(window))


def _garman_klass(name: str, window: int, periods: float) -> Indicator:
    column = Column(name, volatility.garman_klass(OPEN, HIGH, LOW, CLOSE, window, periods), "percent")
    about = f"volatility from the four prices of {window} bars, percent a year of {periods:g} bars"
    return Indicator(name, about, (column,), ("open", *_HLC), window - 1, Window(window))


def _ulcer_index(name: str, window: int) -> Indicator:
    column = Column(name, volatility.ulcer_index(CLOSE, window), "percent")
    about = f"root mean square of the falls from the peak within {window} closes"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _chop(name: str, window: int) -> Indicator:
    rows_at_least(2, name, window)
    column = Column(name, volatility.chop(HIGH, LOW, CLOSE, window), "percent")
    about = f"choppiness of {window} bars: 0 one straight move, 100 no progress"
    return Indicator(name, about, (column,), _HLC, window, Window(window + 1))


FAMILIES: Final = (
    Family(
        "bollinger",
        _bollinger,
        formula="sma(close, window) and width population standard deviations above and below it",
        source="J. Bollinger; Excel's STDEV.P",
        usual=((20, 2),),
        plain=(20, 2),
    ),
    Family(
        "bollinger_b",
        _bollinger_b,
        formula="(close - lower) / (upper - lower) of the Bollinger bands",
        undefined="0.5 where the window's closes are all the same",
        source="J. Bollinger; Excel",
        usual=((20, 2),),
        plain=(20, 2),
    ),
    Family(
        "bollinger_width",
        _bollinger_width,
        formula="(upper - lower) / middle of the Bollinger bands",
        source="J. Bollinger; Excel",
        usual=((20, 2),),
        plain=(20, 2),
    ),
    Family(
        "true_range",
        _true_range,
        formula="max(high - low, |high - close[t-1]|, |low - close[t-1]|)",
        seed="the first row has none",
        source=_WILDER,
        plain=(),
    ),
    Family(
        "atr",
        _atr,
        formula="Wilder average of the true range",
        seed="simple mean of the first window true ranges; the first row has none",
        source=_WILDER,
        usual=((14,),),
    ),
    Family(
        "natr",
        _natr,
        formula="100 * atr(window) / close",
        seed="that of atr",
        source="J. Forman (2006); TA-Lib's NATR",
        usual=((14,),),
    ),
    Family(
        "keltner",
        _keltner,
        formula="ema(close, window) and width * atr(atr_window) above and below it",
        seed="those of ema and atr",
        source="L. B. Raschke's version of C. Keltner's channel; ChartSchool",
        usual=((20, 2, 10),),
        plain=(20, 2, 10),
    ),
    Family(
        "donchian",
        _donchian,
        formula="max of high[t-window .. t-1], min of low[t-window .. t-1], and their mean",
        source="R. Donchian (1960); Excel",
        usual=((20,),),
    ),
    Family(
        "stddev",
        _stddev,
        formula="population standard deviation of close[t-window+1 .. t]",
        source="Excel's STDEV.P",
        usual=((20,),),
    ),
    Family(
        "historical_volatility",
        _historical_volatility,
        formula="100 * sqrt(periods) * sample standard deviation of window changes of ln(close)",
        source="J. Hull, Options, Futures, and Other Derivatives",
        usual=((20, 252),),
        plain=(20, 252),
    ),
    Family(
        "parkinson",
        _parkinson,
        formula="100 * sqrt(periods * mean of ln(high / low)^2 / (4 ln 2))",
        source="M. Parkinson, Journal of Business 53 (1980)",
        usual=((20, 252),),
        plain=(20, 252),
    ),
    Family(
        "garman_klass",
        _garman_klass,
        formula="100 * sqrt(periods * mean of (ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2))",
        source="M. Garman and M. Klass, Journal of Business 53 (1980)",
        usual=((20, 252),),
        plain=(20, 252),
    ),
    Family(
        "ulcer_index",
        _ulcer_index,
        formula="root mean square of 100 * (close / highest close since the window's first row - 1)",
        source="P. Martin and B. McCann (1989); ChartSchool",
        usual=((14,),),
    ),
    Family(
        "chop",
        _chop,
        formula="100 * log10(sum of true ranges / (highest true high - lowest true low)) / log10(window)",
        undefined="null where nothing moved in the window",
        source="E. W. Dreiss; Excel",
        usual=((14,),),
    ),
)

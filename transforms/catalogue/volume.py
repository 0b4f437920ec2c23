"""What volume says, as the catalogue offers it."""

from datetime import date
from typing import Final

import polars as pl

from transforms.catalogue.entry import (
    CLOSE,
    HIGH,
    LOW,
    VOLUME,
    Column,
    Family,
    Indicator,
    Kernel,
    RestOfSession,
    State,
    Window,
)
from transforms.catalogue.trend import span
from transforms.indicators import volume

EPOCH: Final = date(1970, 1, 1)
SESSION: Final = pl.col("session")
_TYPICAL: Final = volume.typical_price(HIGH, LOW, CLOSE)
_HLCV: Final = ("high", "low", "close", "volume")


def _vwap(name: str) -> Indicator:
    column = Column(name, volume.vwap(_TYPICAL, VOLUME), "price")
    about = "volume-weighted average of typical prices since the session's first bar"
    over = ("symbol", "session")
    return Indicator(name, about, (column,), _HLCV, 0, RestOfSession(), over=over, kernel=Kernel("vwap", _HLCV))


def _anchored_vwap(name: str, anchor: date) -> Indicator:
    found = volume.anchored_vwap(_TYPICAL, VOLUME, SESSION, anchor)
    columns = (
        Column(name, found.vwap, "price"),
        Column(f"{name}_value", found.value, "price_volume", shown=False),
        Column(f"{name}_volume", found.volume, "volume", shown=False),
    )
    about = f"volume-weighted average of typical prices since the session of {anchor}"
    state = State((f"{name}_value", f"{name}_volume"), settles=False, cumulative=True)
    inputs = (*_HLCV, "session")
    kernel = Kernel("anchored_vwap", inputs, ((anchor - EPOCH).days,))
    return Indicator(name, about, columns, inputs, 0, state, kernel=kernel)


def _rolling_vwap(name: str, window: int) -> Indicator:
    column = Column(name, volume.rolling_vwap(_TYPICAL, VOLUME, window), "price")
    about = f"volume-weighted average of {window} typical prices"
    return Indicator(name, about, (column,), _HLCV, window - 1, Window(window))


def _obv(name: str) -> Indicator:
    column = Column(name, volume.obv(CLOSE, VOLUME), "volume")
    about = "running sum of volume, signed by the change of the close"
    inputs = ("close", "volume")
    state = State((name,), settles=False, cumulative=True, reads=2)
    return Indicator(name, about, (column,), inputs, 0, state, kernel=Kernel("obv", inputs))


def _adl(name: str) -> Indicator:
    column = Column(name, volume.adl(HIGH, LOW, CLOSE, VOLUME), "volume")
    about = "running sum of volume, weighted by where in its range the bar closed"
    state = State((name,), settles=False, cumulative=True)
    return Indicator(name, about, (column,), _HLCV, 0, state, kernel=Kernel("adl", _HLCV))


def _chaikin_oscillator(name: str, fast: int, slow: int) -> Indicator:
    found = volume.chaikin_oscillator(HIGH, LOW, CLOSE, VOLUME, fast, slow)
    hidden = {f"{name}_adl": found.adl, f"{name}_fast": found.fast, f"{name}_slow": found.slow}
    columns = (
        Column(name, found.line, "volume"),
        *(Column(part, expr, "volume", shown=False) for part, expr in hidden.items()),
    )
    about = f"EMA {fast} less EMA {slow} of the accumulation/distribution line"
    state = State(tuple(hidden), settles=False, cumulative=True)
    kernel = Kernel("chaikin_oscillator", _HLCV, (fast, slow))
    return Indicator(name, about, columns, _HLCV, max(fast, slow) - 1, state, kernel=kernel)


def _cmf(name: str, window: int) -> Indicator:
    column = Column(name, volume.cmf(HIGH, LOW, CLOSE, VOLUME, window), "ratio")
    about = f"Chaikin money flow of {window} bars"
    return Indicator(name, about, (column,), _HLCV, window - 1, Window(window))


def _mfi(name: str, window: int) -> Indicator:
    column = Column(name, volume.mfi(HIGH, LOW, CLOSE, VOLUME, window), "percent")
    about = f"share of {window} bars' money that flowed while the typical price rose"
    return Indicator(name, about, (column,), _HLCV, window, Window(window + 1))


def _force_index(name: str, window: int) -> Indicator:
    column = Column(name, volume.force_index(CLOSE, VOLUME, window), "price_volume")
    about = f"EMA {window} of the change of the close times volume"
    inputs, state = ("close", "volume"), State((name,), reads=2, weight=span(window))
    return Indicator(name, about, (column,), inputs, window, state, kernel=Kernel("force_index", inputs, (window,)))


def _ease_of_movement(name: str, window: int) -> Indicator:
    column = Column(name, volume.ease_of_movement(HIGH, LOW, VOLUME, window), "price_squared_per_volume")
    about = f"mean over {window} bars of the move of the middle per 100 million shares and range"
    return Indicator(name, about, (column,), ("high", "low", "volume"), window, Window(window + 1))


def _vpt(name: str) -> Indicator:
    column = Column(name, volume.vpt(CLOSE, VOLUME), "volume")
    about = "running sum of volume times the return of its bar"
    inputs, state = ("close", "volume"), State((name,), settles=False, cumulative=True, reads=2)
    return Indicator(name, about, (column,), inputs, 0, state, kernel=Kernel("vpt", inputs))


FAMILIES: Final = (
    Family(
        "vwap",
        _vwap,
        formula="sum of typical price * volume over sum of volume, since the session's first bar",
        undefined="null until something traded",
        source="reference column VWAP of the intraday sheet",
        plain=(),
    ),
    Family(
        "anchored_vwap",
        _anchored_vwap,
        formula="sum of typical price * volume over sum of volume, since the first bar of the anchor's session",
        undefined="null until something traded",
        source="P. Lutz, B. Shannon; the reference's sheet anchored at 10:00",
        usual=(),  # no date is usual; anchored_vwap_20240102 starts on 2 January 2024
    ),
    Family(
        "rolling_vwap",
        _rolling_vwap,
        formula="sum of typical price * volume over sum of volume, of the last window bars",
        undefined="null where nothing traded in the window",
        source="ChartSchool",
        usual=((20,),),
    ),
    Family(
        "obv",
        _obv,
        formula="y[t] = y[t-1] + sign(close[t] - close[t-1]) * volume[t]",
        seed="y[0] = 0 (TA-Lib starts at volume[0])",
        source="J. Granville (1963)",
        plain=(),
    ),
    Family(
        "adl",
        _adl,
        formula="y[t] = y[t-1] + volume * ((close - low) - (high - close)) / (high - low)",
        seed="the first bar's money flow",
        undefined="a bar with high = low adds 0",
        source="M. Chaikin; TA-Lib's AD",
        plain=(),
    ),
    Family(
        "chaikin_oscillator",
        _chaikin_oscillator,
        formula="ema(adl, fast) - ema(adl, slow)",
        seed="simple means (TA-Lib: the line's first value)",
        undefined="a bar with high = low adds 0",
        source="M. Chaikin; Stock.Indicators",
        usual=((3, 10),),
        plain=(3, 10),
    ),
    Family(
        "cmf",
        _cmf,
        formula="sum of volume * ((close - low) - (high - close)) / (high - low) over sum of volume",
        undefined="null where nothing traded in the window; a bar with high = low adds 0",
        source="M. Chaikin; Excel",
        usual=((20,),),
    ),
    Family(
        "mfi",
        _mfi,
        formula="100 * up / (up + down), sums of typical price * volume where the typical price rose or fell",
        undefined="50 where no money flowed in the window",
        source="G. Quong and A. Soudack (1989); Excel",
        usual=((14,),),
    ),
    Family(
        "force_index",
        _force_index,
        formula="ema((close[t] - close[t-1]) * volume[t], window)",
        seed="simple mean of the first window products; the first row has none",
        source="A. Elder, Trading for a Living (1993)",
        usual=((13,),),
    ),
    Family(
        "ease_of_movement",
        _ease_of_movement,
        formula="mean of (middle[t] - middle[t-1]) * (high - low) * 1e8 / volume, middle = (high + low) / 2",
        undefined="a bar without volume counts as 0",
        source="R. Arms; ChartSchool",
        usual=((14,),),
    ),
    Family(
        "vpt",
        _vpt,
        formula="y[t] = y[t-1] + volume[t] * (close[t] / close[t-1] - 1)",
        seed="y[0] = 0",
        source="ChartSchool",
        plain=(),
    ),
)

"""Strength and turns of trends, as the catalogue offers them."""

from typing import Final

import polars as pl

from transforms.catalogue.entry import (
    CLOSE,
    HIGH,
    LOW,
    Column,
    Family,
    Indicator,
    Kernel,
    State,
    Window,
)
from transforms.catalogue.limits import step_within
from transforms.indicators import strength

_HL: Final = ("high", "low")
_HLC: Final = ("high", "low", "close")
_WILDER: Final = "J. W. Wilder, New Concepts in Technical Trading Systems (1978)"


def _adx(name: str, window: int) -> Indicator:
    found = strength.adx(HIGH, LOW, CLOSE, window)
    ranges = f"{name}_ranges"
    hidden = (
        Column(ranges, found.ranges, "price", shown=False, beside=(ranges,)),
        *_movement_columns(name, found.up, found.down),
    )
    columns = (
        Column(name, found.adx, "percent"),
        Column(f"{name}_plus", found.plus, "percent"),
        Column(f"{name}_minus", found.minus, "percent"),
        *hidden,
    )
    about = f"average directional index (Wilder) of {window} bars, with +DI and -DI"
    reach = State((name, *(c.name for c in hidden)), reads=2, weight=1 / window)
    return Indicator(name, about, columns, _HLC, 2 * window - 1, reach, kernel=Kernel("adx", _HLC, (window,)))


def _movement_columns(name: str, up: pl.Expr, down: pl.Expr) -> tuple[Column, ...]:
    """The averages of both movements that a recursion resumes from, as hidden columns: only their ratio counts."""
    both = {f"{name}_up": up, f"{name}_down": down}
    return tuple(Column(part, expr, "price", shown=False, beside=tuple(both)) for part, expr in both.items())


def _adxr(name: str, window: int) -> Indicator:
    found = strength.adxr(HIGH, LOW, window)
    hidden = (
        Column(f"{name}_adx", found.adx, "percent", shown=False),
        *_movement_columns(name, found.up, found.down),
    )
    columns = (Column(name, found.rating, "percent"), *hidden)
    about = f"mean of today's ADX {window} and that of {window - 1} bars before"
    reach = State(tuple(c.name for c in hidden), reads=2, spans=window, weight=1 / window)
    return Indicator(name, about, columns, _HL, 3 * window - 2, reach, kernel=Kernel("adxr", _HL, (window,)))


def _vortex(name: str, window: int) -> Indicator:
    lines = strength.vortex(HIGH, LOW, CLOSE, window)._asdict()
    columns = tuple(Column(f"{name}_{line}", expr, "ratio") for line, expr in lines.items())
    about = f"upward and downward travel over the true ranges of {window} bars"
    return Indicator(name, about, columns, _HLC, window, Window(window + 1))


def _psar(name: str, step: float, most: float) -> Indicator:
    step_within(most, name, step)
    found = strength.psar(HIGH, LOW, step, most)
    columns = (
        Column(name, found.stop, "price"),
        Column(f"{name}_direction", found.direction, "ratio"),
        Column(f"{name}_extreme", found.extreme, "price", shown=False),
        Column(f"{name}_factor", found.factor, "ratio", shown=False),
        Column(f"{name}_next", found.following, "price", shown=False),
    )
    about = f"parabolic stop and reverse, accelerating by {step:g} up to {most:g}; direction 1 rises, -1 falls"
    state = State(tuple(column.name for column in columns[1:]), settles=False, reads=2)
    kernel = Kernel("psar", _HL, (step, most, step))
    return Indicator(name, about, columns, _HL, 1, state, kernel=kernel)


def _supertrend(name: str, window: int, width: float) -> Indicator:
    found = strength.supertrend(HIGH, LOW, CLOSE, window, width)
    columns = (
        Column(name, found.line, "price"),
        Column(f"{name}_direction", found.direction, "ratio"),
        Column(f"{name}_upper", found.upper, "price", shown=False),
        Column(f"{name}_lower", found.lower, "price", shown=False),
        Column(f"{name}_atr", found.atr, "price", shown=False),
    )
    about = f"stop {width:g} average true ranges of {window} bars away; direction 1 below the price, -1 above"
    state = State(tuple(column.name for column in columns[1:]), settles=False, reads=2, weight=1 / window)
    kernel = Kernel("supertrend", _HLC, (window, width))
    return Indicator(name, about, columns, _HLC, window, state, kernel=kernel)


def _ichimoku(name: str, conversion: int, base: int, leading: int) -> Indicator:
    lines = strength.ichimoku(HIGH, LOW, conversion, base, leading)._asdict()
    columns = tuple(Column(f"{name}_{line}", expr, "price") for line, expr in lines.items())
    about = f"conversion line {conversion}, base line {base}, and the cloud computed {base} bars before"
    longest = max(conversion, base, leading) + base
    return Indicator(name, about, columns, _HL, longest - 1, Window(longest))


FAMILIES: Final = (
    Family(
        "adx",
        _adx,
        formula="Wilder average of DX = 100 * |+DI - -DI| / (+DI + -DI); +DI = 100 * wilder(up) / wilder(true range)",
        seed="simple means of the first window values (TA-Lib: of the first window - 1, for the three averages)",
        undefined="+DI and -DI 0 where nothing moved, DX 0 where both are 0",
        source=_WILDER,
        usual=((14,),),
    ),
    Family(
        "adxr",
        _adxr,
        formula="(adx[t] + adx[t-window+1]) / 2",
        seed="that of adx",
        undefined="that of adx",
        source=_WILDER,
        usual=((14,),),
    ),
    Family(
        "vortex",
        _vortex,
        formula="sum of |high[t] - low[t-1]| (plus) or |low[t] - high[t-1]| (minus) over sum of true ranges",
        undefined="null where nothing moved in the window",
        source="E. Botes and D. Siepman (2010)",
        usual=((14,),),
    ),
    Family(
        "psar",
        _psar,
        formula="stop[t+1] = stop[t] + factor * (extreme - stop[t]), beyond the last two lows or highs",
        seed="as TA-Lib: rises unless the low fell more than the high rose between the first two bars",
        source=f"{_WILDER}; TA-Lib, ta_SAR.c",
        usual=((0.02, 0.2),),
        plain=(0.02, 0.2),
    ),
    Family(
        "supertrend",
        _supertrend,
        formula="(high + low) / 2 -/+ width * atr(window), only closing in on the price until a close crosses it",
        seed="below the price if the first bar with an average closes at or above its middle",
        source="O. Seban; TA-Lib; Stock.Indicators",
        usual=((10, 3),),
        plain=(10, 3),
    ),
    Family(
        "ichimoku",
        _ichimoku,
        formula="middle(n) = (highest high + lowest low of n bars) / 2; spans shown at t are those of t - base",
        source="G. Hosoda; Stock.Indicators",
        usual=((9, 26, 52),),
        plain=(9, 26, 52),
    ),
)

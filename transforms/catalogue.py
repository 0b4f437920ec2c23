"""Everything we compute per bar: a name gives its expressions, its columns and how far a change travels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from inspect import signature
from typing import Final, Literal

import polars as pl

from transforms.equal import Scale
from transforms.errors import UnknownIndicator
from transforms.indicators import momentum, trend, volatility, volume

OPEN, HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
LONGEST_WINDOW: Final = 10_000

Magnitude = Literal["price", "percent", "volume"]
_SCALES: Final[dict[Magnitude, Scale]] = {"price": CLOSE, "percent": 100.0, "volume": VOLUME}


@dataclass(frozen=True, slots=True)
class Window:
    """A change reaches this many rows, its own included."""

    rows: int


@dataclass(frozen=True, slots=True)
class State:
    """A change reaches on until the state in these columns settles, or to the end if it never does."""

    columns: tuple[str, ...]
    settles: bool = True


@dataclass(frozen=True, slots=True)
class RestOfSession:
    """A change reaches to the end of its session."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column; `magnitude` says its scale in `transforms.equal`, `shown` is false for mere state."""

    name: str
    expr: pl.Expr
    magnitude: Magnitude
    shown: bool = True

    @property
    def scale(self) -> Scale:
        """A number, or an expression over the columns of the bar."""
        return _SCALES[self.magnitude]


@dataclass(frozen=True, slots=True, eq=False)
class Indicator:
    """What one name stands for.

    The expressions read the bar columns `inputs`, split-adjusted, in one group of `over`.
    `lookback`: rows from the start of a group until no column is null. `about`: one line for people.
    """

    name: str
    about: str
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    lookback: int
    reach: Window | State | RestOfSession
    over: tuple[str, ...] = ("symbol",)

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the columns a reader asks for."""
        return tuple(column.name for column in self.columns if column.shown)

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the columns a recursion resumes from."""
        return self.reach.columns if isinstance(self.reach, State) else ()


def _sma(name: str, window: int) -> Indicator:
    column = Column(name, trend.sma(CLOSE, window), "price")
    about = f"simple moving average of {window} closes"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _ema(name: str, window: int) -> Indicator:
    column = Column(name, trend.ema(CLOSE, window), "price")
    about = f"exponential moving average, span {window}"
    return Indicator(name, about, (column,), ("close",), window - 1, State((name,)))


def _rsi(name: str, window: int) -> Indicator:
    averages = momentum.gain_loss(CLOSE, window)
    columns = (
        Column(name, momentum.rsi(CLOSE, window), "percent"),
        Column(f"{name}_gain", averages.gain, "price", shown=False),
        Column(f"{name}_loss", averages.loss, "price", shown=False),
    )
    about = f"relative strength index (Wilder) of {window} changes, 0 to 100"
    return Indicator(name, about, columns, ("close",), window, State((f"{name}_gain", f"{name}_loss")))


def _macd(name: str, fast: int, slow: int, signal: int) -> Indicator:
    lines = momentum.macd(CLOSE, fast, slow, signal)
    columns = (
        Column(name, lines.line, "price"),
        Column(f"{name}_signal", lines.signal, "price"),
        Column(f"{name}_histogram", lines.histogram, "price"),
        Column(f"{name}_fast", lines.fast, "price", shown=False),
        Column(f"{name}_slow", lines.slow, "price", shown=False),
    )
    about = f"EMA {fast} minus EMA {slow}, its EMA {signal} as signal, and their difference"
    state = State((f"{name}_fast", f"{name}_slow", f"{name}_signal"))
    return Indicator(name, about, columns, ("close",), max(fast, slow) + signal - 2, state)


def _bollinger(name: str, window: int, width: int) -> Indicator:
    bands = volatility.bollinger(CLOSE, window, width)
    columns = tuple(Column(f"{name}_{line}", expr, "price") for line, expr in bands._asdict().items())
    about = f"SMA {window} and {width} population standard deviations above and below it"
    return Indicator(name, about, columns, ("close",), window - 1, Window(window))


def _atr(name: str, window: int) -> Indicator:
    column = Column(name, volatility.atr(HIGH, LOW, CLOSE, window), "price")
    about = f"average true range (Wilder) of {window} bars"
    return Indicator(name, about, (column,), ("high", "low", "close"), window, State((name,)))


def _vwap(name: str) -> Indicator:
    column = Column(name, volume.vwap(volume.typical_price(HIGH, LOW, CLOSE), VOLUME), "price")
    about = "volume-weighted average of typical prices since the session's first bar"
    inputs = ("high", "low", "close", "volume")
    return Indicator(name, about, (column,), inputs, 0, RestOfSession(), over=("symbol", "session"))


def _obv(name: str) -> Indicator:
    column = Column(name, volume.obv(CLOSE, VOLUME), "volume")
    about = "running sum of volume, signed by the change of the close"
    return Indicator(name, about, (column,), ("close", "volume"), 0, State((name,), settles=False))


FAMILIES: Final[dict[str, Callable[..., Indicator]]] = {
    "sma": _sma,
    "ema": _ema,
    "rsi": _rsi,
    "macd": _macd,
    "bollinger": _bollinger,
    "atr": _atr,
    "vwap": _vwap,
    "obv": _obv,
}
"""First word of a name -> what makes the indicator from the whole numbers that follow it."""


_DEFAULTS: Final[dict[str, tuple[int, ...]]] = {"macd": (12, 26, 9), "bollinger": (20, 2)}


@cache
def resolve(name: str) -> Indicator:
    """The indicator called `name`: `sma_20`, `macd` or `macd_5_35_5`, `bollinger_10_2`, `vwap`, ..."""
    family, *words = name.split("_")
    make = FAMILIES.get(family)
    if make is None or not all(map(_is_parameter, words)):
        raise UnknownIndicator(_unknown(name))
    parameters = tuple(map(int, words)) or _DEFAULTS.get(family, ())
    if len(parameters) != len(signature(make).parameters) - 1:
        raise UnknownIndicator(_unknown(name))
    return make(name, *parameters)


def _is_parameter(word: str) -> bool:
    return word.isdecimal() and word == str(int(word)) and 1 <= int(word) <= LONGEST_WINDOW


def _unknown(name: str) -> str:
    close = get_close_matches(name, CATALOGUE, n=3) or list(CATALOGUE)
    return (
        f"no indicator is called {name!r}; close names: {', '.join(close)} "
        f"(parameters are whole numbers from 1 to {LONGEST_WINDOW}, as in sma_10 or macd_5_35_5)"
    )


CATALOGUE: Final[dict[str, Indicator]] = {
    name: resolve(name)
    for name in (
        *("sma_20", "sma_50", "sma_200", "ema_12", "ema_26", "rsi_14", "macd"),
        *("bollinger", "atr_14", "vwap", "obv"),
    )
}
"""The usual ones; `resolve` knows every other parameter too."""


def columns_of(names: Iterable[str]) -> tuple[Column, ...]:
    """All columns of the indicators, state included, each name once."""
    return tuple({column.name: column for name in names for column in resolve(name).columns}.values())


def compute(bars: pl.LazyFrame, names: Sequence[str], keep: Sequence[str] = ()) -> pl.LazyFrame:
    """Symbol, timestamp, session, the columns `keep` of the bars, and every column of the indicators.

    Input: split-adjusted BARS of any number of symbols, sorted by (symbol, timestamp); each is computed on
    its own.
    """
    made = {
        column.name: column.expr.over(*indicator.over)
        for indicator in map(resolve, names)
        for column in indicator.columns
    }
    return bars.select("symbol", "timestamp", "session", *keep, **made)

"""Invented rows of any size: whole cents and whole shares, so that a float32 and a float64 store the same values."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from transforms.calendars import calendar_sessions
from transforms.schema import BARS, TICKS

MARKET = "XNYS"
_MINUTES = 390
_LAST = date(2013, 10, 11)


@dataclass(frozen=True, slots=True)
class Panel:
    """So many symbols with so many bars each."""

    symbols: int
    bars: int

    @property
    def rows(self) -> int:
        """Of the whole frame."""
        return self.symbols * self.bars


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; `sampled`: symbols of it that the slowest peers are given.

    `factors`, `daily`: daily bars; `minutes`: bars of one minute. `ticks`: trades, of fifty symbols in five sessions.
    `matrix`: symbols and sessions of the correlation matrix, `window` of them at a time.
    """

    factors: Panel = Panel(800, 3_392)
    daily: Panel = Panel(500, 2_520)
    minutes: Panel = Panel(100, 100_000)
    ticks: int = 10_000_000
    matrix: Panel = Panel(500, 252)
    window: int = 60
    sampled: int = 4
    sampled_matrix: int = 50


FULL = Sizes()
TOY = Sizes(Panel(3, 620), Panel(3, 620), Panel(2, 800), 20_000, Panel(6, 80), 20, 2, 6)


def daily_bars(panel: Panel) -> pl.DataFrame:
    """BARS of `1d`, sorted by symbol and timestamp."""
    sessions = newest_sessions(panel.bars)
    return _bars(panel, sessions.select("session", timestamp="open"), 0.01)


def minute_bars(panel: Panel) -> pl.DataFrame:
    """BARS of `1m` of whole sessions up to the number wanted, sorted by symbol and timestamp."""
    sessions = newest_sessions(-(-panel.bars // _MINUTES))
    minute = pl.int_ranges(0, _MINUTES, dtype=pl.Int64).alias("_minute")
    stamps = (
        sessions.select("session", "open", minute)
        .explode("_minute")
        .select("session", timestamp=pl.col("open") + pl.duration(minutes="_minute"))
    )
    return _bars(panel, stamps.head(panel.bars), 0.001)


def ticks(count: int) -> pl.DataFrame:
    """TICKS of five sessions, sorted by symbol, timestamp and sequence; no two of a symbol at one instant."""
    random = np.random.default_rng(11)
    sessions = newest_sessions(5)
    symbols = 50
    each = count // symbols // 5
    opened = sessions["open"].to_numpy().astype("M8[us]").astype(np.int64)
    within = np.sort(random.integers(0, _MINUTES * 60_000_000 - each, (symbols, 5, each)), axis=-1) + np.arange(each)
    stamps = (opened[None, :, None] + within).reshape(-1)
    price = np.round(50 * np.exp(np.cumsum(random.normal(0, 1e-4, (symbols, 5 * each)), axis=1)), 2).reshape(-1)
    frame = pl.DataFrame(
        {
            "symbol": np.repeat(np.arange(symbols), 5 * each),
            "timestamp": stamps.astype("M8[us]"),
            "sequence": np.tile(np.arange(5 * each, dtype=np.int32), symbols),
            "price": price,
            "size": random.integers(1, 9, len(stamps)) * 100.0,
        }
    )
    named = frame.with_columns(
        pl.col("symbol").replace_strict(dict(enumerate(_names(symbols))), return_dtype=pl.String),
        pl.col("timestamp").dt.replace_time_zone("UTC"),
        source=pl.lit("invented"),
        condition=pl.lit(None, pl.String),
    )
    return named.select(pl.col(name).cast(dtype) for name, dtype in TICKS.items()).rechunk()


def with_conditions(trades: pl.DataFrame) -> pl.DataFrame:
    """The same trades with conditions as New York's tape has them; none is a message or an auction's."""
    usual = ["20000001", "20002020", "2000", "2021", "20000020"]
    number = pl.int_range(pl.len()) % len(usual)
    return trades.with_columns(condition=number.replace_strict(dict(enumerate(usual)), return_dtype=pl.String))


def returns(panel: Panel) -> pl.DataFrame:
    """`symbol`, `session`, `return_1d`: daily returns that share a market's, sorted by symbol and session."""
    random = np.random.default_rng(13)
    shared = random.normal(0, 0.01, panel.bars)
    own = random.normal(0, 0.01, (panel.symbols, panel.bars))
    return _keys(panel, newest_sessions(panel.bars).select("session")).with_columns(
        return_1d=pl.Series((shared + own).reshape(-1))
    )


@cache
def newest_sessions(count: int) -> pl.DataFrame:
    """The last `count` sessions of New York before a fixed day, oldest first."""
    return calendar_sessions(MARKET, _LAST - timedelta(days=count * 3 // 2 + 30), _LAST).tail(count)


def _bars(panel: Panel, stamps: pl.DataFrame, step: float) -> pl.DataFrame:
    random = np.random.default_rng(7)
    shape = panel.symbols, panel.bars
    close = _cents(50 * np.exp(np.cumsum(random.normal(0, step, shape), axis=1)))
    opened = _cents(close * random.uniform(1 - step, 1 + step, shape))
    high, low = _cents(np.maximum(opened, close) * (1 + step / 2)), _cents(np.minimum(opened, close) * (1 - step / 2))
    volume = random.integers(1_000, 9_000_000, shape).astype(np.float64)
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    made = _keys(panel, stamps).with_columns(pl.Series(name, values.reshape(-1)) for name, values in columns.items())
    return made.select(pl.col(name).cast(dtype) for name, dtype in BARS.items()).rechunk()


def _keys(panel: Panel, stamps: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame({"symbol": _names(panel.symbols)}).join(stamps, how="cross", maintain_order="left_right")


def _names(count: int) -> list[str]:
    return [f"S{n:04}" for n in range(count)]


def _cents(prices: Any) -> Any:
    return np.maximum(np.round(prices, 2), 0.01).astype(np.float32).astype(np.float64)

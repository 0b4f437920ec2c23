"""Bars of one minute from trades."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import or_
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.errors import PermanentError, SchemaMismatch
from transforms.kernels import load, readable
from transforms.resample import fold
from transforms.runs import bounds
from transforms.schema import BARS, TICKS, UTC_US
from transforms.sessions import BucketRules, place

_FOLDED: Final = ("timestamp", "price", "size")
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def bars_from_ticks(ticks: Frame, sessions: pl.LazyFrame, rules: BucketRules) -> Frame:
    """`1m` bars from TICKS sorted by (symbol, timestamp, sequence): their fold in that order.

    Timestamps of another unit or zone, and numbers of another type, are read as those of TICKS. Errors:
    `SchemaMismatch` for a trade without timestamp, price or size (null or NaN), `PermanentError` for trades
    that come after later ones of their symbol, or apart from its others.

    Messages make no bar. In regular hours a trade after the close counts in the session's last bucket if it
    carries an auction condition, or if its conditions are unknown (null) and it came before close +
    close_grace.
    """
    if isinstance(ticks, pl.DataFrame):
        return _by_minutes(ticks, sessions, rules)
    return ticks.map_batches(lambda frame: _by_minutes(frame, sessions, rules), schema=BARS)


def _by_trades(ticks: pl.DataFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.DataFrame:
    """The definition: each trade is placed in its session and bucket; it must be complete and in its place."""
    condition, price = pl.col("condition"), pl.col("price")
    in_grace = condition.is_null() & (pl.col("timestamp") < pl.col("_close") + rules.close_grace)
    return (
        ticks.lazy()
        .filter(_carries(rules.message_conditions).not_())
        .pipe(place, sessions, rules, late=_carries(rules.auction_conditions) | in_grace)
        .with_columns(open=price, high=price, low=price, close=price, volume="size")
        .pipe(fold, "1m")
        .collect()
    )


def _by_minutes(ticks: pl.DataFrame, sessions: pl.LazyFrame, rules: BucketRules) -> pl.DataFrame:
    """Trades are folded to clock minutes, and these placed; only those after a close are looked at one by one."""
    other = [name for name in _FOLDED if ticks.schema.get(name) != TICKS[name]]
    trades = _without_messages(ticks.with_columns(pl.col(name).cast(TICKS[name]) for name in other), rules)
    regular = rules.trading_hours == "regular"
    placed = _minutes(trades).lazy().pipe(place, sessions, rules, late=pl.lit(regular)).collect()
    inside = placed.filter(pl.col("_minute") < pl.col("_end")).select(BARS.names())
    after = placed.filter(pl.col("_minute") >= pl.col("_end"))
    if after.is_empty():
        return inside
    positions = after.select(pl.int_ranges("first", "end").explode()).to_series()
    late = _by_trades(trades[positions], sessions, rules)
    return pl.concat([inside, late]).lazy().pipe(place, sessions, rules).pipe(fold, "1m").collect()


def _minutes(trades: pl.DataFrame) -> pl.DataFrame:
    """One row per symbol and clock minute with trades: OHLCV, and where its trades are, `first` to `end`."""
    if trades["timestamp"].has_nulls():
        raise _unfit(trades)
    moments, prices, sizes = (readable(trades[name]) for name in _FOLDED)
    symbols, fold_minutes = bounds(trades), load("fold_minutes")

    def folded(some: NDArray[np.int64]) -> list[NDArray[Any]]:
        most = some[-1] - some[0]
        columns = (np.empty(most, np.int64), *(np.empty(most) for _ in range(3)))
        made = fold_minutes(some, moments, prices, sizes, *columns)
        if made < 0:
            raise _unfit(trades)
        return [column[:made].copy() for column in columns]

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        parts = list(pool.map(folded, _shares(symbols, pl.thread_pool_size())))
    first, high, low, volume = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    end = np.append(first, trades.height)[1:]
    return pl.DataFrame(
        {"symbol": trades["symbol"].gather(first), "open": prices[first], "high": high, "low": low}
        | {"close": prices[end - 1], "volume": volume, "first": first, "end": end}
    ).with_columns(timestamp=pl.Series(moments[first]).cast(UTC_US).dt.truncate("1m"))


def _unfit(trades: pl.DataFrame) -> PermanentError:
    """What is wrong with trades that cannot be folded, and with which of them first."""
    missing = pl.any_horizontal(pl.col(_FOLDED).is_null(), pl.col("price", "size").is_nan())
    late = (pl.col("timestamp") < pl.col("timestamp").shift(1)) & (pl.col("symbol") == pl.col("symbol").shift(1))
    named = trades.select("symbol", "timestamp", "price", "size", missing=missing, late=late)
    for one in named.filter("missing").head(1).rows(named=True):
        told = ", ".join(f"{name} {one[name]}" for name in _FOLDED)
        return SchemaMismatch(f"a trade of {one['symbol']!r} lacks a value ({told}); drop or repair such rows")
    one = named.filter("late").row(0, named=True)
    return PermanentError(
        f"the trade of {one['symbol']!r} at {one['timestamp']} comes after a later one; sort by symbol, timestamp,"
        " sequence"
    )


def _shares(symbols: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """The bounds of symbols in up to `count` parts of about as many rows, each with its own end."""
    cuts = np.unique(np.searchsorted(symbols, np.linspace(0, symbols[-1], count + 1)))
    return [symbols[low : high + 1] for low, high in zip(cuts[:-1], cuts[1:], strict=True)] or [symbols]


def _without_messages(ticks: pl.DataFrame, rules: BucketRules) -> pl.DataFrame:
    """The trades; each condition there is, and there are few, is looked at once."""
    if ticks["condition"].null_count() == ticks.height:
        return ticks
    messages = ticks.select(pl.col("condition").unique()).filter(_carries(rules.message_conditions)).to_series()
    return (
        ticks.filter(pl.col("condition").is_in(messages.implode()).not_().fill_null(True)) if len(messages) else ticks
    )


def _carries(conditions: Sequence[str]) -> pl.Expr:
    """Whether a trade carries one of the conditions (see `BucketRules`); a null carries none.

    A condition that is no hexadecimal number has no bits.
    """
    told = pl.col("condition")
    bits = reduce(or_, (int(c, 16) for c in conditions if c.startswith("0x")), 0)
    words = "|".join(re.escape(c) for c in conditions if not c.startswith("0x"))
    carried = told.str.to_integer(base=16, dtype=pl.Int64, strict=False).fill_null(0) & bits != 0
    if not words:
        return carried
    return carried | told.str.contains(rf"(?:^|[\s,;|])(?:{words})(?:$|[\s,;|])").fill_null(False)

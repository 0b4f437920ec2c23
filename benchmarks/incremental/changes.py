"""Changes to a store: late trades, new minutes, splits. Each commits its raw rows; the refresh comes after."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from benchmarks.incremental.store import SOURCE, Store
from storage.market.raw import Rows
from transforms.schema import OHLC, RAW_SCHEMAS, UTC_US, Dataset

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade in a minute without any, a little above the close of the minute before."""

    symbol: str
    at: datetime
    price: float


def late_trade(store: Store, number: int, back: int) -> Trade:
    """A trade so many sessions before the last, after noon, in the first minute there without a bar of the symbol."""
    symbol = store.names[number]
    opened, closed = store.sessions.select("open", "close").row(-1 - back)
    middle = opened + (closed - opened) / 2
    span = pl.DataFrame({"symbol": [symbol], "lo": [middle], "hi": [closed]}).cast({"lo": UTC_US, "hi": UTC_US})
    bars = store.deps.derived.stored("bars_1m", span, ("timestamp", "close")).sort("timestamp")
    gap = bars.filter(pl.col("timestamp").shift(-1) - pl.col("timestamp") > _MINUTE).head(1)
    if gap.is_empty():
        raise RuntimeError(f"{symbol} traded in every minute after {middle}")
    ((at, close),) = gap.iter_rows()
    return Trade(symbol, at + 1.5 * _MINUTE, round(close * 1.002, 2))


def arrive(store: Store, trades: Sequence[Trade]) -> None:
    """Commit late trades as an ingest does."""
    rows = pl.DataFrame(
        {
            "symbol": [trade.symbol for trade in trades],
            "timestamp": pl.Series([trade.at for trade in trades], dtype=UTC_US),
            "price": [trade.price for trade in trades],
        }
    )
    named = rows.with_columns(size=pl.lit(100.0), sequence=pl.lit(0), source=pl.lit(SOURCE))
    _stored(store, "ticks", named.sort("symbol", "timestamp"))


def withdraw(store: Store, trades: Sequence[Trade]) -> None:
    """Take late trades back, with the dirty windows that this makes."""
    with store.deps.database.transaction() as connection:
        for trade in trades:
            connection.execute("DELETE FROM stock_ticks WHERE symbol = %s AND timestamp = %s", [trade.symbol, trade.at])
            connection.execute(
                "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
                " VALUES (%s, 'ticks', %s, %s, %s, 1, 0)",
                [trade.symbol, trade.at, trade.at + timedelta(microseconds=1), trade.at],
            )


def split(store: Store, symbol: str, session: int, value: float) -> None:
    """Announce a split, or say another value of it."""
    day = store.sessions["session"][session]
    rows = pl.DataFrame({"symbol": [symbol], "ex_date": [day], "action": ["split"], "value": [value]})
    _stored(store, "actions", rows.with_columns(source=pl.lit(SOURCE), ordinal=pl.lit(0)))


def _stored(store: Store, dataset: Dataset, rows: pl.DataFrame) -> None:
    schema = RAW_SCHEMAS[dataset]
    lacking = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
    frame = rows.with_columns(lacking).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    store.deps.raw.upsert(Rows(dataset, frame, "raw", store.bench.settings.market, 0))


def new_minute(store: Store, number: int) -> datetime:
    """Commit minute `number` of the session after the store's last, for every symbol; when it closes."""
    at = store.next_open + number * _MINUTE
    moved = 1 + 0.001 * np.sin(number + np.arange(store.shape.symbols))
    price = np.round(store.closes["close"].to_numpy() * moved, 2)
    rows = store.closes.select("symbol", granularity=pl.lit("1m"), timestamp=pl.lit(at, UTC_US))
    prices = (pl.Series(name, price) for name in OHLC)
    _stored(store, "bars", rows.with_columns(*prices, volume=pl.lit(1_000.0), source=pl.lit(SOURCE)))
    return at + _MINUTE


def all_dirty(store: Store, symbol: str) -> None:
    """Have everything of a symbol recomputed, though nothing changed."""
    with store.deps.database.transaction() as connection:
        for table, dataset in (("stock_data", "bars"), ("stock_ticks", "ticks"), ("sentiment_data", "sentiment")):
            connection.execute(
                "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
                f" SELECT symbol, %s, min(timestamp), max(timestamp) + interval '1 microsecond', min(timestamp),"
                f" count(*), 0 FROM {table} WHERE symbol = %s GROUP BY symbol",
                [dataset, symbol],
            )

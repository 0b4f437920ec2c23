"""A few raw rows to write."""

from datetime import UTC, datetime, timedelta

import polars as pl

from storage.market.raw import Rows
from transforms.schema import RAW_BARS, TICKS, UTC_US

NOON = datetime(2024, 1, 3, 17, tzinfo=UTC)
"""Noon in New York, a Wednesday."""


def ticks(count: int, *, symbol: str = "AAA", start: datetime = NOON, price: float = 10.0) -> pl.DataFrame:
    """Trades a second apart, each a cent higher."""
    number = pl.int_range(count)
    return pl.select(
        symbol=pl.lit(symbol),
        timestamp=(pl.lit(start) + number * timedelta(seconds=1)).cast(UTC_US),
        source=pl.lit("test"),
        sequence=pl.lit(0),
        price=price + number / 100,
        size=pl.lit(100.0),
        condition=pl.lit(None),
    ).cast(dict(TICKS))


def minutes(count: int, *, symbol: str = "AAA", start: datetime = NOON, price: float = 10.0) -> pl.DataFrame:
    """Minute bars."""
    number = pl.int_range(count)
    close = price + number / 100
    return pl.select(
        symbol=pl.lit(symbol),
        granularity=pl.lit("1m"),
        timestamp=(pl.lit(start) + number * timedelta(minutes=1)).cast(UTC_US),
        source=pl.lit("test"),
        open=close,
        high=close + 1,
        low=close - 1,
        close=close,
        volume=pl.lit(100.0),
        adjusted_close=pl.lit(None, dtype=pl.Float64),
    ).select(RAW_BARS.names())


def tick_rows(frame: pl.DataFrame, run_id: int = 1) -> Rows:
    """Ready to be written."""
    return Rows("ticks", frame, "raw", "XNYS", run_id)


def bar_rows(frame: pl.DataFrame, run_id: int = 1) -> Rows:
    """Ready to be written."""
    return Rows("bars", frame, "raw", "XNYS", run_id)

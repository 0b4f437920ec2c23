"""DuckDB: a GROUP BY over Arrow data."""

from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.peers import installed

_QUERY = """
    SELECT symbol, epoch_us(timestamp) // 60000000 AS minute,
           arg_min(price, sequence) AS open, max(price) AS high, min(price) AS low, arg_max(price, sequence) AS close,
           sum(size) AS volume
    FROM ticks GROUP BY symbol, minute ORDER BY symbol, minute
"""
"""Minutes as whole numbers and a fold by the order of trades: quicker here than date_trunc and ordered aggregates."""


class DuckBars:
    """One-minute bars of trades."""

    def __init__(self, ticks: pa.Table, threads: int) -> None:
        """Register the trades; nothing is copied."""
        self._connection: Any = installed("duckdb").connect()
        self._connection.execute(f"SET threads = {threads}")
        self._connection.register("ticks", ticks)

    def run(self) -> pa.Table:
        """Symbol, minute since 1970, open, high, low, close, volume; sorted."""
        return self._connection.sql(_QUERY).to_arrow_table()

    def close(self) -> None:
        """Let go of the data."""
        self._connection.close()


def as_bars(found: pa.Table) -> pl.DataFrame:
    """What `run` gave, as the columns of BARS but the session."""
    stamp = (pl.col("minute") * 60_000_000).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame(pl.from_arrow(found)).with_columns(timestamp=stamp, symbol=pl.col("symbol").cast(pl.String))
    return frame.select("symbol", "timestamp", "open", "high", "low", "close", "volume")

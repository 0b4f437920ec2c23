"""From rows and keys that differ to the dirty windows in which a refresh makes them again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from flows.full import Table
from flows.verify_compare import times
from flows.wiring import Deps
from storage.cache.checker import CacheChecker, KeyFault
from storage.market.checking import CheckStore
from storage.market.runs import Run
from transforms.schema import MARKET_SYMBOL, UTC_US

_GAP = timedelta(days=4)
"""Rows of a symbol that are closer than this share a window."""
_JUST_AFTER, _HOUR = timedelta(microseconds=1), timedelta(hours=1)
_OF_ROWS = {"bars": "prices", "quotes": "prices", "sentiment": "scores", "indicators": "indicators"}
"""Datasets of windows by the first word of the table: what lies in the window is made again."""
_OF_SYMBOLS = {"adjustment": "actions", "correlations": "correlations", "rolling": "correlations"}
"""Likewise: all of the symbol is."""
_OF_MARKET = {"correlation_findings": "correlations", "return_matrix": "returns"}
_WINDOWS = pl.Schema({"symbol": pl.String(), "dataset": pl.String(), "starts_at": UTC_US, "ends_at": UTC_US})


def windows_of(table: Table, wrong: pl.DataFrame) -> pl.DataFrame:
    """The windows (symbol, dataset, starts_at, ends_at) in which wrong rows of a table are made again.

    Those without a time are for everything of the symbol.
    """
    if table.name in _OF_MARKET:
        dataset = _OF_MARKET[table.name]
        return pl.DataFrame([(MARKET_SYMBOL, dataset, None, None)], schema=_WINDOWS, orient="row")
    word = table.name.partition("_")[0]
    if word in _OF_SYMBOLS:
        return _timeless(wrong["symbol"].unique().to_list(), _OF_SYMBOLS[word])
    length = _HOUR if table.name == "sentiment_1h" else _JUST_AFTER
    apart = pl.col("timestamp") - pl.col("timestamp").shift(1) > _GAP
    other_year = pl.col("timestamp").dt.year() != pl.col("timestamp").dt.year().shift(1)
    starts = pl.lit(value=False) if word == "indicators" else (apart | other_year).fill_null(value=True)
    return (
        times(table, wrong)
        .sort("symbol", "timestamp")
        .with_columns(run=starts.cum_sum().over("symbol"))
        .group_by("symbol", "run", maintain_order=True)
        .agg(starts_at=pl.col("timestamp").min(), ends_at=pl.col("timestamp").max() + length)
        .select("symbol", pl.lit(_OF_ROWS[word]).alias("dataset"), "starts_at", "ends_at")
        .cast(_WINDOWS)
    )


def mark(deps: Deps, windows: Sequence[pl.DataFrame], faults: Sequence[KeyFault], run: Run) -> int:
    """Mark as dirty, for a refresh as of `run.as_of` or later; wrong keys are removed. How many windows."""
    published = deps.outbox.versions()
    broken = sorted({fault.symbol for fault in faults if fault.fault != "ahead"} & {*published})
    of_keys = [
        _timeless([symbol for symbol in broken if symbol != MARKET_SYMBOL], "keys"),
        _timeless([symbol for symbol in broken if symbol == MARKET_SYMBOL], "quotes"),
    ]
    now = pl.lit(run.as_of.astimezone(UTC), dtype=UTC_US)
    every = pl.concat([*windows, *of_keys]).with_columns(pl.col("starts_at", "ends_at").fill_null(now))
    due = every.unique().with_columns(due_at=pl.min_horizontal("starts_at", now))
    marked = CheckStore(deps.database).mark(due.sort("symbol", "dataset", "starts_at"), run.id)
    CacheChecker(deps.client, deps.keys).remove(faults)
    return marked


def _timeless(symbols: Sequence[str], dataset: str) -> pl.DataFrame:
    nothing: datetime | None = None
    rows = [(symbol, dataset, nothing, nothing) for symbol in symbols]
    return pl.DataFrame(rows, schema=_WINDOWS, orient="row")

"""From changed days to dirty windows: what a change of raw rows tells refresh."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from storage.market.database import Connection, copy_in, table_name
from transforms.schema import MARKET_SYMBOL, UTC_US, Dataset

_A_DAY = timedelta(days=1)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def mark_dirty(connection: Connection, dataset: Dataset, days: pl.DataFrame, run_id: int) -> int:
    """Append a dirty window for every run of changed days, due from its first row's moment on; how many.

    Days with nothing between them but a weekend are one run. Actions are due at once, also those still to come: with
    its first one a better source takes over all that is told of its kind.
    """
    due_at = pl.lit(_LONG_AGO) if dataset == "actions" else pl.col("starts_at")
    since = pl.col("last").dt.date().shift(1).over("symbol") + _A_DAY
    between = pl.business_day_count(since, pl.col("first").dt.date())
    windows = (
        days.sort("symbol", "first", "last")
        .with_columns(pl.col("last").cum_max().over("symbol"))
        .with_columns(run=(between > 0).fill_null(value=True).cum_sum().over("symbol"))
        .group_by("symbol", "run", maintain_order=True)
        .agg(
            starts_at=pl.col("first").min(),
            ends_at=pl.col("last").max() + timedelta(microseconds=1),
            rows=pl.sum_horizontal("inserted", "changed", "removed").sum(),
        )
        .select(
            "symbol",
            pl.lit(dataset).alias("dataset"),
            "starts_at",
            "ends_at",
            due_at.cast(UTC_US).alias("due_at"),
            "rows",
            pl.lit(run_id, dtype=pl.Int64).alias("run_id"),
        )
    )
    return copy_in(connection, table_name("dirty_windows"), windows)


def open_market(connection: Connection, datasets: Sequence[str], due_at: datetime, run_id: int) -> None:
    """Have market-wide results of these kinds made again from a moment on (`storage.market.derived.MarketDataset`)."""
    connection.execute(
        "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
        " SELECT %(symbol)s, dataset, %(at)s, %(at)s, %(at)s, 0, %(run)s FROM unnest(%(datasets)s::text[]) AS dataset",
        {"symbol": MARKET_SYMBOL, "at": due_at, "run": run_id, "datasets": list(datasets)},
    )

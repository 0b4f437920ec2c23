"""What the parts of a refresh share: the batch they work on, and how computed rows are compared with stored ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from flows.derive import Market, as_factors
from flows.plan import Plan
from storage.market.derived import Changes, Claim, DerivedStore
from transforms.adjust import split_adjust
from transforms.equal import Scale, changed_rows
from transforms.schema import UTC_US

KEY = ("symbol", "timestamp")


@dataclass(slots=True)
class Batch:
    """A claim, what it reaches, and the changes found so far."""

    store: DerivedStore
    claim: Claim
    plan: Plan
    market: Market
    as_of: datetime
    changes: list[Changes] = field(default_factory=list)
    open: list[pl.DataFrame] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)

    def compare(
        self,
        table: str,
        computed: pl.DataFrame,
        stored: pl.DataFrame,
        key: Sequence[str],
        scales: Mapping[str, Scale],
    ) -> Changes:
        """Note what has to be written so that `stored` equals `computed`."""
        self.claim.keep_alive()
        changes = difference(table, computed, stored, key, scales)
        if len(changes):
            self.changes.append(changes)
            self.changed |= changes.symbols
        return changes

    def is_open(self, nearest: pl.DataFrame, *datasets: str) -> None:
        """Note buckets that time has yet to close (symbol, starts_at, due_at)."""
        self.open += [nearest.with_columns(dataset=pl.lit(dataset)) for dataset in datasets]


def difference(
    table: str, computed: pl.DataFrame, stored: pl.DataFrame, key: Sequence[str], scales: Mapping[str, Scale]
) -> Changes:
    """What has to be written and deleted so that the rows `stored` of a table equal `computed`."""
    upserts, deletes = computed, stored.select(key)  # the first time there is nothing to compare with
    if not stored.is_empty():
        upserts = changed_rows(computed.lazy(), stored.lazy(), key, scales).collect()
        gone = stored.join(computed, on=key, how="anti").select(key)
        replaced = stored.join(upserts, on=key, how="semi").select(key)
        deletes = pl.concat([gone, replaced])
    return Changes(table, upserts.select(*key, *(c for c in scales if c not in key)), deletes)


@dataclass(frozen=True, slots=True)
class Series:
    """The whole series of the symbols that changed, and since when each did: from the beginning if it is not said."""

    bars: pl.DataFrame
    changed: list[str]
    since: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"symbol": pl.String(), "lo": UTC_US}))


def split_adjusted(store: DerivedStore, bars: pl.DataFrame, symbols: Sequence[str]) -> pl.DataFrame:
    """Bars of these symbols in order, adjusted by their stored split factors."""
    return split_adjust(bars.sort(KEY).lazy(), as_factors(store.factors(symbols))).collect()


def within(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in one of the (disjoint) spans."""
    return _marked(rows, spans).filter("inside").select(rows.columns)


def outside(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in none of the (disjoint) spans."""
    return _marked(rows, spans).filter(~pl.col("inside")).select(rows.columns)


def _marked(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    starts = spans.sort("symbol", "lo").with_columns(timestamp="lo")
    found = rows.sort(KEY).join_asof(starts, on="timestamp", by="symbol", check_sortedness=False)
    return found.with_columns(inside=(pl.col("timestamp") < pl.col("hi")).fill_null(value=False))

"""What the parts of a refresh share: the batch they work on, and how computed rows are compared with stored ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from flows.derive import Market, as_factors
from flows.plan import Plan
from storage.market.derived import Changes, Claim, DerivedStore, distinct
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
    factors: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Split factors of the batch's symbols, as they are going to be."""

    @property
    def changed(self) -> set[str]:
        """Symbols that get a new version: those of a row that changed, and those whose keys are to be made again."""
        return {*self.plan.again("keys"), *(symbol for changes in self.changes for symbol in changes.symbols)}

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
        self.changes.append(changes)
        return changes

    def adjusted(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Bars in the order of (symbol, session), adjusted for splits."""
        if self.factors.is_empty():
            return bars
        return split_adjust(bars.lazy(), as_factors(self.factors)).collect()

    def is_open(self, nearest: pl.DataFrame, *datasets: str) -> None:
        """Note buckets that time has yet to close (symbol, starts_at, due_at)."""
        self.open += [nearest.with_columns(dataset=pl.lit(dataset)) for dataset in datasets]


def difference(
    table: str, computed: pl.DataFrame, stored: pl.DataFrame, key: Sequence[str], scales: Mapping[str, Scale]
) -> Changes:
    """What has to be written and deleted so that the rows `stored` of a table equal `computed`."""
    names = [*key, *(c for c in scales if c not in key)]
    if computed.is_empty() or stored.is_empty():  # as the first time: there is nothing to compare with
        return Changes(table, _only(computed, names), _only(stored, key))
    upserts = changed_rows(computed.lazy(), stored.lazy(), key, scales)
    gone = stored.lazy().join(computed.lazy(), on=key, how="anti")
    replaced = stored.lazy().join(upserts, on=key, how="semi")
    found = pl.collect_all([upserts.select(names), pl.concat([gone.select(key), replaced.select(key)])])
    return Changes(table, *found)


def _only(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Some columns; without a call of the engine."""
    return pl.DataFrame([rows.get_column(name) for name in names])


@dataclass(frozen=True, slots=True)
class Revised:
    """Rows of one series of every symbol as its raw rows say inside `spans`, and what that changed.

    `table` has the rows that are stored, also outside of them. `touched`: the keys of rows that are new, other or gone.
    `held`: how many rows of a symbol were stored inside the spans (symbol, count).
    """

    table: str
    spans: pl.DataFrame
    computed: pl.DataFrame
    touched: pl.DataFrame
    held: pl.DataFrame

    @property
    def symbols(self) -> list[str]:
        """Whose rows changed."""
        return sorted(distinct(self.touched["symbol"]))

    @property
    def since(self) -> pl.DataFrame:
        """The first row of each symbol that changed: symbol, lo."""
        return self.touched.group_by("symbol").agg(lo=pl.col("timestamp").min())

    def whole(self, store: DerivedStore, symbols: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
        """The whole series of some symbols as it is going to be, in order."""
        stored = store.whole(self.table, symbols, columns)
        mine = self.computed.filter(pl.col("symbol").is_in(symbols)).select(columns)
        return pl.concat([outside(stored, self.spans), mine]).sort(KEY)


@dataclass(frozen=True, slots=True)
class Series:
    """The whole series of the symbols that changed, and since when each did: from the beginning if it is not said."""

    bars: pl.DataFrame
    changed: list[str]
    since: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"symbol": pl.String(), "lo": UTC_US}))


def within(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in one of the (disjoint) spans."""
    return _marked(rows.lazy(), spans).filter("inside").select(rows.columns).collect()


def outside(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie in none of the (disjoint) spans."""
    return rows if rows.is_empty() or spans.is_empty() else without(rows.lazy(), spans).collect()


def without(rows: pl.LazyFrame, spans: pl.DataFrame) -> pl.LazyFrame:
    """The same of rows that are not there yet."""
    return _marked(rows, spans).filter(~pl.col("inside")).drop("inside", "hi")


def _marked(rows: pl.LazyFrame, spans: pl.DataFrame) -> pl.LazyFrame:
    starts = spans.lazy().select("symbol", "hi", timestamp="lo").sort("timestamp")
    found = rows.sort("timestamp").join_asof(starts, on="timestamp", by="symbol", check_sortedness=False)
    return found.with_columns(inside=(pl.col("timestamp") < pl.col("hi")).fill_null(value=False))

"""Stores of simulated minutes, each with servers of its own; built once a run by the ordinary way in and kept."""

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cached_property

import polars as pl
from psycopg import sql

from benchmarks.bench import Bench, soon
from benchmarks.harness import Progress
from benchmarks.incremental.sizes import ENDLESS, Shape, Sizes
from flows import steps
from flows.sources.base import LINE
from flows.sources.finish import finished
from flows.sources.simulated import symbol_names
from flows.sources.simulated_days import ANCHOR, Days, simulate_days
from flows.sources.simulated_messages import messages_of
from flows.sources.simulated_minutes import has_auction, minutes_of
from flows.wiring import Deps
from storage.market.raw import Rows
from storage.settings import DEFAULT_INDICATORS
from transforms.schema import OHLC, UTC_US, Dataset

SEED = 7
SOURCE = "simulated"
LAST = date(2024, 12, 31)
"""No session of a store is later."""
FILLED = "filled"
"""Marks a directory whose store is whole; says how long that took."""
_BLOCK = 1_000_000
"""Minutes made and written at a time."""


class Stores:
    """The stores of a run, each built when it is first asked for."""

    def __init__(self, bench: Bench, sizes: Sizes) -> None:
        """Build them beside `bench`."""
        self._bench = bench
        self._built: dict[Shape, Store] = {}
        self.sizes = sizes

    def get(self, shape: Shape, progress: Progress) -> "Store":
        """The store of this shape, in which everything is published and nothing dirty."""
        if shape not in self._built:
            kept = [name for name in DEFAULT_INDICATORS if not shape.settling or name not in ENDLESS]
            store = Store(self._bench.beside(shape.name, indicators=tuple(kept)), shape)
            store.fill(progress)
            self._built[shape] = store
        return self._built[shape]


class Store:
    """A filled store whose keys are published, at the end of its last session."""

    def __init__(self, bench: Bench, shape: Shape) -> None:
        """Nothing is started before `fill`."""
        self.bench = bench
        self.shape = shape
        self.names = symbol_names(shape.symbols)

    @property
    def deps(self) -> Deps:
        """Everything connected."""
        return self.bench.deps

    @cached_property
    def sessions(self) -> pl.DataFrame:
        """The store's sessions, in order."""
        return self._days.sessions

    @cached_property
    def as_of(self) -> datetime:
        """A day after the last session: every bucket has closed."""
        last: datetime = self.sessions["close"][-1]
        return last + timedelta(days=1)

    @cached_property
    def next_open(self) -> datetime:
        """When the session after the last one opens."""
        after = self._market.filter(pl.col("session") > LAST).sort("session")
        opens: datetime = after["open"][0]
        return opens

    def minutes_stored(self) -> int:
        """How many minutes of the session after the last one are stored."""
        span = pl.DataFrame({"symbol": self.names[:1]}).with_columns(
            lo=pl.lit(self.next_open, UTC_US), hi=pl.lit(self.next_open + timedelta(days=1), UTC_US)
        )
        return self.deps.derived.stored("bars_1m", span, ("timestamp",)).height

    @cached_property
    def closes(self) -> pl.DataFrame:
        """The last close of every symbol, in order: symbol, close."""
        span = pl.DataFrame({"symbol": self.names}).with_columns(
            lo=pl.lit(self.sessions["day_start"][-1], UTC_US), hi=pl.lit(self.as_of, UTC_US)
        )
        return self.deps.derived.stored("bars_1d", span, ("symbol", "close")).sort("symbol")

    @cached_property
    def _market(self) -> pl.DataFrame:
        return self.deps.market(self.bench.settings.market, soon()).sessions.collect()

    @cached_property
    def _days(self) -> Days:
        known = (
            self._market.filter(pl.col("session").is_between(ANCHOR, LAST))
            .sort("session")
            .with_columns(after=pl.col("close").shift(1), auction=has_auction())
        )
        return simulate_days(SEED, self.shape.symbols, known, self.shape.sessions)

    def fill(self, progress: Progress) -> None:
        """Fill the store and publish it; one that an earlier run left in this directory is brought up to date."""
        mark = self.bench.home / FILLED
        if not mark.exists():
            started = time.perf_counter()
            self._store(progress)
            self._settle(progress)
            self.bench.owner(sql.SQL("VACUUM ANALYZE"))
            mark.write_text(f"{time.perf_counter() - started:.0f} s\n")
        self._settle(progress)

    def _settle(self, progress: Progress) -> None:
        for step in (steps.refresh, steps.publish):
            step(self.deps, self.as_of, lambda told: progress(f"filling {self.shape.about}: {told}"))

    def _store(self, progress: Progress) -> None:
        with self.deps.runs.run("ingest", self.as_of) as run:
            for done, (dataset, frame) in enumerate(self._frames()):
                self.deps.raw.upsert(Rows(dataset, frame, "raw", self.bench.settings.market, run.id))
                progress(f"storing {self.shape.about}: block {done // 2 + 1} of {self._blocks}")

    @property
    def _block(self) -> int:
        return max(_BLOCK // (390 * self.shape.sessions), 1)

    @property
    def _blocks(self) -> int:
        return -(-self.shape.symbols // self._block)

    def _frames(self) -> Iterator[tuple[Dataset, pl.DataFrame]]:
        for start in range(0, self.shape.symbols, self._block):
            some = self._days.pick(slice(start, start + self._block), slice(None))
            yield "bars", self._bars(some)
            yield "sentiment", self._messages(some)

    def _bars(self, days: Days) -> pl.DataFrame:
        made = minutes_of(SEED, days)
        rows = made.with_columns(
            self._symbol(),
            *(pl.Series(name, made[name].to_numpy() / 100) for name in OHLC),
            granularity=pl.lit("1m"),
            timestamp=pl.col("start").cast(UTC_US),
        )
        return _finished(rows, "bars")

    def _messages(self, days: Days) -> pl.DataFrame:
        rows = messages_of(SEED, days).with_columns(self._symbol(), timestamp=pl.col("at").cast(UTC_US))
        return _finished(rows, "sentiment")

    def _symbol(self) -> pl.Expr:
        return pl.lit(pl.Series(self.names)).gather(pl.col("symbol")).alias("symbol")


def _finished(rows: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    lined = rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE))
    return finished(lined, dataset, SOURCE).drop(LINE)

"""Ticks in, against a bare COPY of the same rows."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import polars as pl
from psycopg import sql

from benchmarks.bench import Bench, soon
from benchmarks.copying import copy_rows, encoded, twins
from benchmarks.harness import Measure, Stages, seconds
from flows import steps
from flows.sources import Batch, Failure
from transforms.schema import UTC_US

_ALL = 1_000_000_000
"""More rows than any file has: one batch."""


class Held:
    """A source whose rows are in memory already."""

    def __init__(self, name: str, batches: list[Batch]) -> None:
        """Hand over `batches`, again at every call."""
        self.name = name
        self._batches = batches

    def batches(self, as_of: datetime, batch_rows: int, scratch: Path) -> Iterator[Batch | Failure]:
        """The same batches."""
        yield from self._batches


def read(bench: Bench, name: str) -> list[Batch]:
    """A file of the benchmark's data as batches in memory."""
    (source,) = bench.sources([name])
    items = list(source.batches(soon(), _ALL, bench.home))
    batches = [item for item in items if isinstance(item, Batch)]
    if not batches or len(batches) < len(items):
        raise RuntimeError(f"{name} could not be read: {items}")
    return batches


def stamped(frame: pl.DataFrame, as_of: datetime, basis: str = "raw") -> pl.DataFrame:
    """Raw rows with the bookkeeping columns of their table."""
    return frame.with_columns(
        pl.lit(basis).alias("price_basis"),
        pl.lit(as_of, dtype=UTC_US).alias("arrived_at"),
        pl.lit(1, dtype=pl.Int64).alias("run_id"),
    )


class TickIngest(Measure):
    """`steps.ingest` of ticks that are in memory."""

    name = "ingest of ticks"
    unit = "rows/s"
    target = 0.7
    direction = "at least"

    def __init__(self, bench: Bench) -> None:
        """Measure on the ticks of `bench`."""
        self._bench = bench
        self._stack = ExitStack()
        self._stages = Stages()

    @property
    def about(self) -> str:
        """Both sides in full."""
        return (
            "rows in memory, in both cases sorted by their key, into an empty table. Ours: steps.ingest (validation, "
            "rejected rows, a transaction per symbol-day, instruments, coverage, dirty windows, the run's record). "
            "Reference, the strict one: psycopg COPY of bytes encoded beforehand, all columns, one transaction, "
            "a table with the same key. Reading the file is in neither."
        )

    def setup(self) -> None:
        """Read the file; encode the rows for the reference."""
        batches = read(self._bench, "ticks")
        self._source = Held("ticks", batches)
        as_of = soon()
        good = [batch.checked(as_of, self._bench.settings.future_tolerance)[0] for batch in batches]
        self._frame = stamped(pl.concat(good), as_of)
        self._bytes = [bytes(piece) for piece in encoded(self._frame)]
        self._connection = self._stack.enter_context(twins(self._bench.servers.owner_url, ["stock_ticks"]))

    def ours(self) -> float:
        """Rows a second through `steps.ingest`."""
        self._bench.clear()
        deps, as_of = self._bench.deps, soon()
        taken = seconds(lambda: steps.ingest(deps, [self._source], as_of))
        (stored,) = deps.database.frame(sql.SQL("SELECT count(*) FROM stock_ticks")).row(0)
        if stored != self._frame.height:
            raise RuntimeError(f"{stored} of {self._frame.height} rows were stored")
        return self._frame.height / taken

    def reference(self) -> float:
        """Rows a second by COPY of ready bytes."""
        ready, encoding = self._copied(encode=False), self._copied(encode=True)
        self._stages.add({"rows/s of the COPY with its encoding (pgpq)": self._frame.height / encoding})
        return self._frame.height / ready

    def _copied(self, *, encode: bool) -> float:
        self._connection.execute("TRUNCATE floors.stock_ticks")

        def copy() -> None:
            pieces = encoded(self._frame) if encode else self._bytes
            copy_rows(self._connection, "floors.stock_ticks", self._frame.columns, pieces)

        return seconds(copy)

    def details(self) -> Mapping[str, float]:
        """The milder reference."""
        return self._stages.medians()

    def teardown(self) -> None:
        """Drop the reference's table."""
        self._stack.close()

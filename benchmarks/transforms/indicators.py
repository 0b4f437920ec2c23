"""The default indicators of many symbols, against libraries called symbol by symbol, and against their own floor."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.transforms.equality import same
from benchmarks.transforms.inputs import Inputs
from storage.settings import DEFAULT_INDICATORS
from transforms.catalogue import columns_of, compute

Which = Literal["daily", "minutes"]
_COLUMNS = ("timestamp", "session", "high", "low", "close", "volume")


class Library(Protocol):
    """A peer: `computed(prepared(arrays of one symbol))` gives columns by the names of ours.

    `threads`: symbols at once. `sampled`: only a few symbols, as all would take minutes. `settled`: rows after which
    other seeds do not show. `note`: what is peculiar.
    """

    name: str
    threads: int
    sampled: bool
    settled: int
    note: str

    def prepared(self, bars: Mapping[str, Any]) -> Any:
        """Its form of the arrays; not measured."""

    def computed(self, bars: Any) -> dict[str, Any]:
        """What is measured."""


class Indicators(Measure):
    """Rows a second, all columns of all default indicators."""

    unit = "rows/s"
    direction = "at least"

    def __init__(self, inputs: Inputs, which: Which, library: Callable[[], Library], target: float) -> None:
        """Hold ours against `library` on the frame `which` of the inputs."""
        self.name = f"default indicators, {which}, {getattr(library, 'name', '')}"
        self.target = target
        self._inputs, self._which, self._make = inputs, which, library
        self._stages = Stages()

    @property
    def about(self) -> str:
        """Sizes, and what is peculiar about the peer."""
        panel = getattr(self._inputs.sizes, self._which)
        library = self._library
        some = (
            f"{self._rows // panel.bars} of the symbols, its time scaled linearly" if library.sampled else "all symbols"
        )
        return (
            f"{panel.symbols:,} symbols x {panel.bars:,} bars in memory: {', '.join(DEFAULT_INDICATORS)}. Ours: "
            f"catalogue.compute on one frame, state columns included. Reference: {library.name} symbol by symbol on "
            f"contiguous arrays prepared beforehand, {library.threads} thread(s), {some}; {library.note}. "
            f"Values agree once other seeds do not show ({library.settled} rows)."
        )

    def setup(self) -> None:
        """Prepare the peer's arrays and compare the numbers of the first symbols."""
        self._library = self._make()
        self._bars: pl.DataFrame = getattr(self._inputs, self._which)
        panel = getattr(self._inputs.sizes, self._which)
        count = min(self._inputs.sizes.sampled, panel.symbols) if self._library.sampled else panel.symbols
        self._rows: int = count * panel.bars
        arrays = {name: self._bars[name].to_physical().to_numpy() for name in _COLUMNS}
        arrays["timestamp"] = arrays["timestamp"].astype("M8[us]")
        self._given = [
            self._library.prepared({name: array[at : at + panel.bars] for name, array in arrays.items()})
            for at in range(0, self._rows, panel.bars)
        ]
        found = compute(self._bars, DEFAULT_INDICATORS)
        for number in {0, count - 1}:
            part, bars = (f.slice(number * panel.bars, panel.bars) for f in (found, self._bars))
            self._compare(part, bars["close"].to_numpy(), self._library.computed(self._given[number]))

    def _compare(self, ours: pl.DataFrame, close: Any, theirs: Mapping[str, Any]) -> None:
        """Equal after `settled` rows; of the running volume its steps, as its start differs, where the close moved."""
        after = self._library.settled
        moved = np.diff(close)[after:] != 0
        for name, column in theirs.items():
            mine, other = ours[name].to_numpy()[after:], np.asarray(column)[after:]
            if name == "obv":
                mine, other = (np.diff(x)[moved[-len(x) + 1 :]] for x in (mine, other))
            same(f"{self._library.name}'s {name}", mine, other, relative=1e-6, absolute=1e-6)

    def ours(self) -> float:
        """All symbols."""
        took = seconds(lambda: compute(self._bars, DEFAULT_INDICATORS))
        self._stages.add({"s of ours": took})
        return self._bars.height / took

    def reference(self) -> float:
        """All symbols, or some."""
        took = seconds(self._symbol_by_symbol)
        self._stages.add({f"s of {self._library.name}, {self._rows:,} rows": took})
        return self._rows / took

    def _symbol_by_symbol(self) -> list[dict[str, Any]]:
        if self._library.threads == 1:
            return [self._library.computed(bars) for bars in self._given]
        with ThreadPoolExecutor(self._library.threads) as pool:
            return list(pool.map(self._library.computed, self._given))

    def details(self) -> Mapping[str, float]:
        """Seconds of both."""
        return self._stages.medians()

    def teardown(self) -> None:
        """Let go of the peer's copies."""
        self._given = []


class Expressions(Measure):
    """Seconds of the plain expressions on many symbols, against the same on one run of rows."""

    name = "plain expressions, daily"
    unit = "s"
    target = 1.2
    direction = "at most"

    def __init__(self, inputs: Inputs) -> None:
        """Work on the `daily` bars of the inputs."""
        self._inputs = inputs

    @property
    def about(self) -> str:
        """What is left out."""
        panel = self._inputs.sizes.daily
        return (
            f"{panel.symbols:,} symbols x {panel.bars:,} bars in memory, the default indicators. Ours: "
            "catalogue.compute with engine='expressions', each symbol on its own. Reference: the same expressions on "
            "all rows as if they were one symbol's and one session's."
        )

    def setup(self) -> None:
        """Take the expressions without their groups."""
        columns = columns_of(DEFAULT_INDICATORS)
        self._bars = self._inputs.daily
        self._floor = self._bars.lazy().select(
            "symbol", "timestamp", "session", **{column.name: column.expr for column in columns}
        )

    def ours(self) -> float:
        """By symbol."""
        plan = compute(self._bars.lazy(), DEFAULT_INDICATORS, engine="expressions")
        return seconds(plan.collect)

    def reference(self) -> float:
        """In one."""
        return seconds(lambda: self._floor.collect(engine="in-memory"))

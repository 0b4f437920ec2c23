"""Indicators by compiled kernels: from the start of each group, or from where a recursion is known to stand."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from transforms import runs
from transforms.catalogue.entry import Indicator
from transforms.kernels import load, readable

_CHUNK: Final = 16_384
"""Rows given to the kernels at a time, unless one group has more: few enough for the processor's cache."""
_DAYS: Final = "session"
"""The one input that is no number; kernels read it as days since 1970."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where recursions start in the groups of the column `by`.

    `bounds`: where each group starts, and the number of rows, if that was found already. `known`: how many leading
    rows of each group are known, 0 where it is computed from its start. `state`: of every state column, what it is
    in the last of these rows, which are in the `places` of the frame.
    """

    by: str = "symbol"
    bounds: NDArray[np.int64] | None = None
    known: NDArray[np.int64] | None = None
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    state: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def over(self, indicator: Indicator) -> tuple[str, ...]:
        """The columns whose groups an indicator is computed in."""
        return tuple(self.by if name == "symbol" else name for name in indicator.over)

    def within(self, frame: pl.DataFrame, indicators: Sequence[Indicator]) -> dict[tuple[str, ...], NDArray[np.int64]]:
        """Bounds of the groups of `by`, and of those that the indicators are computed in."""
        whole = runs.bounds(frame, (self.by,)) if self.bounds is None else self.bounds
        found: dict[tuple[str, ...], NDArray[np.int64]] = {(self.by,): whole}
        for over in {*map(self.over, indicators)} - {(self.by,)}:
            rest = [name for name in over if name != self.by]
            found[over] = runs.merged([whole, runs.bounds(frame, rest)])
        return found


def compiled(frame: pl.DataFrame, indicators: Sequence[Indicator], start: Start) -> list[pl.Series]:
    """Columns by kernels, a few thousand rows of whole groups at a time so that they stay in the processor's cache."""
    if not indicators:
        return []
    bounds = start.within(frame, indicators)
    whole = bounds[start.by,]
    made = {column.name: _floats(frame.height) for indicator in indicators for column in indicator.columns}
    for name, values in start.state.items():
        made[name][start.places] = values
    fill = _filler(frame, indicators, start, bounds, made)
    cuts = _cuts(whole)
    if len(cuts) <= 2:
        counted = [fill(0, frame.height)]
    else:
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            counted = list(pool.map(fill, cuts[:-1], cuts[1:]))
    return [_column(name, values, whole, sum(nans[name] for nans in counted)) for name, values in made.items()]


def _filler(
    frame: pl.DataFrame,
    indicators: Sequence[Indicator],
    start: Start,
    bounds: Mapping[tuple[str, ...], NDArray[np.int64]],
    made: Mapping[str, NDArray[np.float64]],
) -> Callable[[int, int], dict[str, int]]:
    """What fills these rows of all columns, and says how many NaNs are in each, asked while they are in the cache."""
    arrays = {name: _array(frame[name]) for indicator in indicators for name in indicator.inputs}
    known = np.zeros(bounds[start.by,].size - 1, np.int64) if start.known is None else start.known
    calls = [(load(kernel.name), i, kernel) for i in indicators if (kernel := i.kernel) is not None]
    count = load("count_nans")

    def fill(first: int, last: int) -> dict[str, int]:
        nans: dict[str, int] = {}
        for call, indicator, kernel in calls:
            within = bounds[start.over(indicator)]
            low, high = np.searchsorted(within, (first, last))
            groups: list[NDArray[Any]] = [within[low : high + 1]]
            if indicator.state:
                groups.append(known[low:high])
            names = [column.name for column in indicator.columns]
            inputs = (arrays[name] for name in kernel.inputs)
            call(*groups, *inputs, *kernel.parameters, *(made[name] for name in names))
            nans |= {name: count(made[name][first:last]) for name in names}
        return nans

    return fill


def _array(values: pl.Series) -> NDArray[Any]:
    return readable(values.cast(pl.Date) if values.name == _DAYS else values)


def _floats(count: int) -> NDArray[np.float64]:
    """Room for a column, from Arrow's pool: it gives memory back to the system less eagerly than numpy."""
    return np.frombuffer(pa.allocate_buffer(8 * count), np.float64)


def _column(name: str, values: NDArray[np.float64], bounds: NDArray[np.int64], nans: int) -> pl.Series:
    """The values with nulls for NaNs, without a copy of them."""
    if not nans:
        return pl.Series(name, values)
    bits = np.full((values.size + 7) // 8, 0xFF, np.uint8)
    load("clear_nans")(bounds, values, nans, bits)
    buffers = [pa.py_buffer(bits), pa.py_buffer(values)]
    return pl.Series(name, pa.Array.from_buffers(pa.float64(), values.size, buffers, nans))


def _cuts(bounds: NDArray[np.int64]) -> list[int]:
    """Bounds at least `_CHUNK` rows apart, the last one among them."""
    cuts = [0]
    for bound in bounds.tolist():
        if bound - cuts[-1] >= _CHUNK:
            cuts.append(bound)
    return cuts if cuts[-1] == bounds[-1] else [*cuts, int(bounds[-1])]

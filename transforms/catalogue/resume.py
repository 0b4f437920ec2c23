"""Indicators of some rows in the middle of a series, resumed from stored state.

A stretch is a run of neighbouring rows of one symbol, nothing left out between them. Unless it begins the series,
its first rows are context: their indicators are stored and stay so. Recursions go on from the state stored in one
of them, with the operations that a computation of the whole series would have done there; windows look back at them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms import runs
from transforms.catalogue.compiled import Start
from transforms.catalogue.engine import kept_columns, of_complete
from transforms.catalogue.entry import Indicator
from transforms.catalogue.names import resolve
from transforms.catalogue.reach import context_rows, resume_row, state_columns, travels
from transforms.errors import PermanentError, SchemaMismatch

_MOMENT: Final = "timestamp"
_THERE: Final = "_there"


@dataclass(frozen=True, slots=True, eq=False)
class _Stretches:
    """Which of the stretches are resumed, where they lie, and from where recursions start."""

    resumed: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    start: Start


def compute_from(
    bars: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str], keep: Sequence[str] = (), by: str = "symbol"
) -> pl.DataFrame:
    """What `compute` gives, of rows in the middle of series.

    `bars`: as for `compute`, but stretches of series (see the module), each with a value of its own in the column
    `by`. `stored`: rows of indicators, hidden columns too, with `by` and the timestamp; rows that are not needed do
    not disturb. A stretch of which it has no row begins its series.

    Rows: those whose every value is what the whole series would give. Of a stretch that begins its series all; of
    another those from position `context_rows(names)` on (from 0), and if one of the indicators runs over the session
    so far (`travels(names).session`), only those of later sessions than that of the stretch's first row, of which
    some rows may be missing. Recursions are the same to the last bit if the stored state is, others *equal* (see
    `transforms.equal`). Columns: those of `compute`, with `by` among those kept.

    Errors: as `compute`; `PermanentError` too for a null or NaN among the inputs (the rows that take no part cannot
    be told from here: compute the whole series), for a stretch whose stored rows lack the one to resume from, which
    is that of its row `resume_row(names)`, or hold no state there (see `resumable`).
    """
    indicators = [resolve(name) for name in dict.fromkeys(names)]
    kept = kept_columns(bars.schema, indicators, (by, *keep))
    numbers = _complete(bars, indicators)
    stretches = _stretches(numbers, stored, tuple(names), by)
    values = of_complete(numbers, indicators, "compiled", stretches.start)
    found = bars[kept].hstack(values.get_columns())
    return _whole(found, stretches, tuple(names))


def _complete(bars: pl.DataFrame, indicators: Sequence[Indicator]) -> pl.DataFrame:
    """The bars with all inputs as Float64; raises where one is null or NaN."""
    inputs = dict.fromkeys(name for indicator in indicators for name in indicator.inputs)
    others = {name for name in inputs if name != "session" and bars.schema[name] != pl.Float64}
    bars = bars.with_columns(pl.col(others).cast(pl.Float64)) if others else bars
    for name in inputs:
        values = bars[name]
        if values.null_count() or (values.dtype.is_float() and np.isnan(values.to_numpy()).any()):
            row = bars.filter(values.is_null() | values.is_in([math.nan])).row(0, named=True)
            raise PermanentError(
                f"the row of {row['symbol']!r} at {row[_MOMENT]} has no {name}, so nothing can be resumed around it;"
                " compute the whole series"
            )
    return bars


def _stretches(bars: pl.DataFrame, stored: pl.DataFrame, names: tuple[str, ...], by: str) -> _Stretches:
    """Where the stretches lie, with the state of those that `stored` has rows of."""
    bounds = runs.bounds(bars, (by,))
    first, lengths = bounds[:-1], np.diff(bounds)
    labels = bars[by].gather(first).to_list()
    if len(set(labels)) < len(labels):
        raise PermanentError(f"rows of one {by} stand apart, others between them; give each stretch its own {by}")
    if lacking := [name for name in (by, _MOMENT, *state_columns(names)) if name not in stored.columns]:
        raise SchemaMismatch(f"the stored rows lack the columns {', '.join(lacking)}, which say where to resume")
    known_labels = set(stored[by].unique().to_list())
    resumed = np.array([label in known_labels for label in labels], np.bool_)
    place = resume_row(names)
    if (short := resumed & (lengths <= place)).any():
        label = labels[int(short.argmax())]
        raise PermanentError(f"the stretch {label!r} has no row {place} (from 0) to resume from; give it more context")
    at = first[resumed] + place
    state = _state(pl.DataFrame([bars[name].gather(at) for name in (by, _MOMENT)]), stored, names)
    start = Start(by, bounds, np.where(resumed, place + 1, 0), at, state)
    return _Stretches(resumed, bounds, start)


def _state(rows: pl.DataFrame, stored: pl.DataFrame, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Of each state column what is stored in these rows, in their order; raises where there is none."""
    by = rows.columns[0]
    columns = state_columns(names)
    keys = (pl.col(name).cast(kind) for name, kind in rows.schema.items())
    theirs = stored.select(*keys, pl.col(columns).cast(pl.Float64), pl.lit(True).alias(_THERE))
    found = rows.join(theirs, on=[by, _MOMENT], how="left", maintain_order="left")
    if found.height > rows.height:
        raise PermanentError(f"the stored rows hold some {by} and {_MOMENT} twice")
    for name in (_THERE, *columns):
        if found[name].null_count():
            label, moment = found.filter(pl.col(name).is_null()).row(0)[:2]
            lacks = "is not among the stored ones" if name == _THERE else f"has no {name} yet"
            raise PermanentError(
                f"the row of {label!r} at {moment}, to resume from, {lacks}; compute the series from its start"
            )
    return {name: found[name].to_numpy() for name in columns}


def _whole(found: pl.DataFrame, stretches: _Stretches, names: tuple[str, ...]) -> pl.DataFrame:
    """The rows that do not depend on what was before their stretch."""
    bounds, resumed = stretches.bounds, stretches.resumed
    first, lengths = bounds[:-1], np.diff(bounds)
    begin = np.where(resumed, np.minimum(first + context_rows(names), bounds[1:]), first)
    if travels(names).session:
        begin = np.where(resumed, np.maximum(begin, _second_session(found["session"], bounds)), begin)
    if len(first) == 1:
        return found.slice(int(begin[0]))
    return found.filter(pl.Series(np.arange(found.height) >= np.repeat(begin, lengths)))


def _second_session(session: pl.Series, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first row of each stretch that is of another session than its first, or where the stretch ends."""
    days = session.to_numpy()
    first, lengths = bounds[:-1], np.diff(bounds)
    same = days == np.repeat(days[first], lengths)
    return first + np.add.reduceat(same, first, dtype=np.int64) if first.size else first

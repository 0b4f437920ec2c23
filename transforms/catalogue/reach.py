"""How far a change travels through some indicators, and when it has come to rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, log, log1p
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.catalogue.entry import Column, Indicator, RestOfSession, State, Window
from transforms.catalogue.names import resolve
from transforms.equal import Scale, Within

SETTLED: Final = 1e-12
"""Share of its scale by which a state that fades may differ and count as the same."""
_MOMENT, _STORED = "timestamp", "_stored_"
_FADED: Final = 1e-9
"""What is left of a change where it is expected to have settled: few changes are larger than a thousandth."""


@dataclass(frozen=True, slots=True)
class Travel:
    """What a change of one bar reaches.

    `window`: rows it reaches by windows alone, its own included (1 where there is nothing to compute). `session`:
    whether values of the rest of its session depend on it. `state_columns`: what recursions resume from.
    `lookback`: from this position in a series on (from 0) every row has all state. `settling_rows`: about how many
    rows later a change of the state has settled, as far as the weights say; 0 where they do not. `cumulative`: the
    indicators that keep a change for good, so that every later row changes.
    """

    window: int
    session: bool
    state_columns: tuple[str, ...]
    lookback: int
    settling_rows: int
    cumulative: tuple[str, ...]


def travels(names: Sequence[str]) -> Travel:
    """What a change of one bar reaches through these indicators."""
    return _travels(tuple(names))


@cache
def _travels(names: tuple[str, ...]) -> Travel:
    indicators = [resolve(name) for name in names]
    states = _states(names)
    return Travel(
        window=max([1, *(_input_rows(indicator) for indicator in indicators)]),
        session=any(isinstance(indicator.reach, RestOfSession) for indicator in indicators),
        state_columns=state_columns(names),
        lookback=max([0, *(indicator.lookback for indicator in indicators if indicator.state)]),
        settling_rows=max([0, *(_settling_rows(state.weight) for state in states if state.weight)]),
        cumulative=tuple(i.name for i in indicators if isinstance(i.reach, State) and i.reach.cumulative),
    )


def _states(names: Sequence[str]) -> list[State]:
    reaches = (resolve(name).reach for name in names)
    return [reach for reach in reaches if isinstance(reach, State)]


def _input_rows(indicator: Indicator) -> int:
    """How many rows of bars a value, or a step of a recursion, reads."""
    match indicator.reach:
        case Window(rows):
            return rows
        case State(reads=reads):
            return reads
        case RestOfSession():
            return 1


def _settling_rows(weight: float) -> int:
    return ceil(log(_FADED) / log1p(-weight)) if weight < 1 else 1


def state_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The columns that recursions resume from, each once."""
    return tuple(dict.fromkeys(column for name in names for column in resolve(name).state))


@cache
def _resume_row(names: tuple[str, ...]) -> int:
    return max([0, *(state.reads - 2 for state in _states(names))])


def resume_row(names: Sequence[str]) -> int:
    """Position in a stretch (from 0) of the row whose stored state recursions resume from; 0 for nearly all.

    A step of `kama` reads as many rows as its window has, which must lie in the stretch.
    """
    return _resume_row(tuple(names))


@cache
def _context_rows(names: tuple[str, ...]) -> int:
    resumed = resume_row(names)
    after = [max(1, state.spans - 1) for state in _states(names)]
    windows = [reach.rows - 1 for name in names if isinstance(reach := resolve(name).reach, Window)]
    return max([1, *(resumed + rows for rows in after), *windows])


def context_rows(names: Sequence[str]) -> int:
    """How many rows a stretch needs before the first that is to be computed, the one resumed from included."""
    return _context_rows(tuple(names))


def resumable(stored: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Of each stored row whether it holds all state, so that it can be resumed from."""
    columns = state_columns(names)
    has_all = pl.all_horizontal(pl.col(columns).is_not_null()) if columns else pl.lit(True)
    return stored.select(pl.repeat(True, pl.len()) & has_all).to_series().rename("resumable")


def scales_of(names: Sequence[str]) -> dict[str, Scale]:
    """Of each column what decides whether a row is rewritten; see `transforms.equal.changed_rows`.

    What is only shown has the scale of its magnitude. State that fades is kept to 1e-12 of that (of the sum of the
    columns it is divided by, where there are such), so that what is resumed from it is *equal*; other state exactly.
    The expressions read the columns close and volume of the bars, and the state itself.
    """
    return {
        column.name: _state_scale(column, reach)
        if isinstance(reach, State) and column.name in reach.columns
        else column.scale
        for name in names
        for reach in [resolve(name).reach]
        for column in resolve(name).columns
    }


def _state_scale(column: Column, reach: State) -> Scale:
    if not reach.settles:
        return None
    scale = pl.sum_horizontal(column.beside) if column.beside else column.scale
    assert not isinstance(scale, Within)
    return None if scale is None else Within(scale, SETTLED)


def settled(computed: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str], by: str = "symbol") -> pl.Series:
    """Of each row of `computed` whether the state is what is stored, so that what follows is stored as it should be.

    `computed`: from `compute` or `compute_from`, with `close` and `volume` kept; each value of `by` one stretch in
    which the rows before the first are as stored. `stored`: rows by `by` and timestamp; where there is none, nothing
    is settled. Nulls are only like nulls. Where a value is made of some rows of a recursion (`stoch_rsi`, `adxr`),
    all of them must be so.

    The rule: let a row be settled, and at least `travels(names).window` - 1 rows later than the last changed bar.
    Then the rows after it keep what is stored. State that fades may be 1e-12 of its scale away there, and less in
    every later row; what is computed from it is *equal*.
    """
    columns = state_columns(names)
    theirs = stored.select(by, _MOMENT, pl.col(columns).name.prefix(_STORED), pl.lit(True).alias(_STORED))
    joined = computed.join(theirs, on=[by, _MOMENT], how="left", maintain_order="left")
    sizes = joined.select(**_sizes(names))
    there = joined[_STORED].fill_null(False).to_numpy()
    result = there
    for reach in _states(names):
        same = there & np.logical_and.reduce([_same(joined, name, sizes) for name in reach.columns])
        result = result & (same if reach.spans == 1 else _lasting(same, reach.spans, joined[by]))
    return pl.Series("settled", result)


def _sizes(names: Sequence[str]) -> dict[str, float | pl.Expr]:
    """The scales of the state that may differ, as `scales_of` has them."""
    state = state_columns(names)
    return {
        name: scale.scale for name, scale in scales_of(names).items() if name in state and isinstance(scale, Within)
    }


def _same(joined: pl.DataFrame, name: str, sizes: pl.DataFrame) -> NDArray[np.bool_]:
    """The opposite of `transforms.equal.not_equal`, which costs more than all the rest where rows are few."""
    ours, theirs = (joined[column].cast(pl.Float64).to_numpy() for column in (name, f"{_STORED}{name}"))
    same: NDArray[np.bool_] = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if name in sizes.columns:
        size = np.fmax(np.maximum(np.abs(ours), np.abs(theirs)), sizes[name].to_numpy())
        same |= np.abs(ours - theirs) <= SETTLED * size
    return same


def _lasting(same: NDArray[np.bool_], rows: int, stretches: pl.Series) -> NDArray[np.bool_]:
    """Whether it holds in the last `rows` rows, those before the first of a stretch counting as such."""
    frame = pl.DataFrame({"stretch": stretches, "same": same.astype(np.int8)})
    least = pl.col("same").rolling_min(rows, min_samples=1).over("stretch")
    found: NDArray[np.bool_] = frame.select(least == 1).to_series().to_numpy()
    return found

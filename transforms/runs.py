"""Where one symbol's rows end and the next one's begin, in frames sorted by symbol."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.errors import PermanentError

_STRIDES: Final = (4_093, 61, 1)
"""Rows between two looks where the rows are many: primes, lest each look at interleaved rows meets one symbol."""


def bounds(frame: pl.DataFrame, over: Sequence[str] = ("symbol",)) -> NDArray[np.int64]:
    """Where each run of rows that agree in `over` starts, and the number of rows.

    Of many rows only those near a change of symbol are looked at one by one. Raises `PermanentError` where the
    rows of a symbol are not neighbours.
    """
    found = [_of_symbols(frame[name]) if name == "symbol" else _dense(frame[name]) for name in over]
    return found[0] if len(found) == 1 else merged(found)


def merged(some: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Bounds of the rows that lie in one run of each: all of the bounds, each once."""
    starts = np.zeros(some[0][-1] + 1, np.bool_)
    for bounds_of_one in some:
        starts[bounds_of_one] = True
    return np.flatnonzero(starts)


def _of_symbols(symbols: pl.Series) -> NDArray[np.int64]:
    found = _sparse(symbols) if len(symbols) > 16 * _STRIDES[0] else _dense(symbols)
    first = symbols.gather(found[:-1])
    if first.n_unique() < len(first):
        again = first.filter(first.is_duplicated())[0]
        raise PermanentError(f"rows of symbol {again!r} stand apart, others between them; sort by symbol, timestamp")
    return found


def _dense(values: pl.Series) -> NDArray[np.int64]:
    """Bounds of the runs of any column, every row looked at."""
    if values.is_empty():
        return np.zeros(1, np.int64)
    if (values.dtype.is_temporal() or values.dtype.is_integer()) and not values.null_count():
        numbers = values.to_physical().to_numpy()
        starts = np.flatnonzero(numbers[1:] != numbers[:-1])
    else:
        starts = values[1:].ne_missing(values[:-1]).arg_true().to_numpy().astype(np.int64)
    return np.concatenate([[0], starts + 1, [len(values)]])


def _sparse(symbols: pl.Series) -> NDArray[np.int64]:
    """Bounds of sorted symbols by ever closer looks: between two rows of one symbol there is no other."""
    starts, ends = [0, 1, _STRIDES[0]], [1, _STRIDES[0], len(symbols) - 1]
    for stride in _STRIDES:
        within = [np.append(np.arange(start, end, stride), end) for start, end in zip(starts, ends, strict=True)]
        looks = np.unique(np.concatenate(within)) if within else np.zeros(1, np.int64)
        seen = symbols.gather(looks)
        changed = seen[1:].ne_missing(seen[:-1]).to_numpy()
        starts, ends = looks[:-1][changed], looks[1:][changed]
    return np.concatenate([[0], ends, [len(symbols)]])

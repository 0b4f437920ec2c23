"""Compiled twins of expressions that are too slow over many rows, and recursions that no expression can say.

Recursions take, beside the bounds of the groups, how many leading rows of each are known: where that is not 0 the last
of these holds the state in the arrays to fill, and the kernel goes on after it with the operations it would have done
there anyway, so that what it fills in is the same to the last bit. The others have no memory to go on from.

Nothing here imports numba before a kernel is asked for. Tests hold each kernel equal to its expression
(tests/transforms/test_kernels.py), or to its definition as a plain loop (test_strength_loops.py and
test_momentum_definitions.py beside it).
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

MODULES = (
    *("trend", "momentum", "volatility", "volume", "nulls"),
    *("strength", "trades", "smoothed", "oscillators", "statistics"),
)


@cache
def load(name: str) -> Callable[..., Any]:
    """The kernel of this name, wherever it is; the first call of each compiles it, or loads it from disk."""
    for module in MODULES:
        found: Callable[..., Any] | None = getattr(import_module(f"transforms.kernels.{module}"), name, None)
        if found is not None:
            return found
    raise KeyError(name)


def readable(values: pl.Series) -> NDArray[np.float64]:
    """The values as an array that a kernel may read, without a copy where there need not be one."""
    numbers = values if values.dtype.is_float() else values.to_physical()
    array: NDArray[np.float64] = np.ascontiguousarray(numbers.to_numpy())
    array.flags.writeable = False
    return array

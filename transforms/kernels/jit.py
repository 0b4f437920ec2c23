"""The one place that knows numba. Importing it takes a second: only `transforms.kernels.load` does."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """Compile a function over arrays; runs without the interpreter's lock, IEEE arithmetic.

    The code is kept on disk, unless numba finds no directory it may write to: then each process compiles anew.
    """
    made = njit(nogil=True, error_model="numpy")(function)
    try:
        made.enable_caching()
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
    return cast(Callable[P, T], made)

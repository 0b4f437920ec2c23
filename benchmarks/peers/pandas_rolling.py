"""pandas: rolling correlation of every two columns."""

from typing import Any

import numpy as np
import polars as pl

from benchmarks.peers import installed


def wide(returns: pl.DataFrame) -> Any:
    """A pandas frame with a row a session and a column a symbol."""
    pandas = installed("pandas")
    columns = [name for name in returns.columns if name != "session"]
    return pandas.DataFrame(returns.select(columns).to_numpy(), index=returns["session"].to_list(), columns=columns)


def matrices(frame: Any, window: int) -> Any:
    """Windows x symbols x symbols, of every session that has `window` rows up to it."""
    found = np.asarray(frame.rolling(window).corr())
    symbols = frame.shape[1]
    return found.reshape(-1, symbols, symbols)[window - 1 :]

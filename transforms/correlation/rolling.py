"""Correlation of sentiment and return over the newest sessions, as it was at every session."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from transforms.correlation.pairs import LEVELS, Columns, Floats, Ints, at_lag
from transforms.errors import ConfigurationError

ROLLING: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "window": pl.Int32(),
        "lag": pl.Int32(),
        "n": pl.Int32(),
        "pearson": pl.Float64(),
        "spearman": pl.Float64(),
    }
)
"""What `rolling_correlations` gives."""


def rolling_correlations(pairs: pl.LazyFrame, lags: Sequence[int], windows: Sequence[int], min_n: int) -> pl.LazyFrame:
    """Pearson's and Spearman's r of `sentiment_mean` and `return_1d` in the `window` sessions up to each session.

    A window holds the pairs whose later side lies in one of its sessions (those with a bar of the symbol), so nothing
    in it comes after `session`. Rows begin with the first session that has a whole window before it. A window with
    fewer than `min_n` pairs gives no row; r is null where one side never varies. A row depends on its window only,
    wherever the input begins. No p-value: windows overlap, and of thousands the largest r is always large.

    Input: `daily_pairs`. Columns: `ROLLING`, sorted by symbol, session, window and lag. A window that cannot hold
    `min_n` pairs raises `ConfigurationError`.
    """
    small = [window for window in windows if window < min_n]
    if small:
        raise ConfigurationError(
            f"a rolling window of {small[0]} sessions never holds {min_n} pairs; widen the window or lower min_n"
        )
    each = partial(_rolling, lags=tuple(sorted(set(lags))), windows=tuple(sorted(set(windows))), min_n=min_n)
    return pairs.map_batches(each, schema=ROLLING, predicate_pushdown=False, projection_pushdown=False)


def _rolling(pairs: pl.DataFrame, lags: tuple[int, ...], windows: tuple[int, ...], min_n: int) -> pl.DataFrame:
    columns = Columns.of(pairs)
    parts = [ROLLING.to_frame()]
    if columns.symbols:
        age = np.arange(columns.starts[-1]) - np.repeat(columns.starts[:-1], np.diff(columns.starts))
        for lag in lags:
            x, y = _lagged(columns, lag, age)
            parts += [_in_windows(columns, (x, y, age), window, min_n).with_columns(lag=lag) for window in windows]
    together = pl.concat([part.select(ROLLING.names()).cast(ROLLING) for part in parts])
    return together.with_columns(pl.col("pearson", "spearman").fill_nan(None)).sort(ROLLING.names()[:4])


def _lagged(columns: Columns, lag: int, age: Ints) -> tuple[Floats, Floats]:
    """Both sides at a lag, of all symbols in a row; a pair never reaches into the symbol before."""
    x, y = at_lag(columns.levels[LEVELS.index("sentiment_mean")], columns.returns, lag)
    inside = age >= abs(lag)
    return np.where(inside, x, np.nan), np.where(inside, y, np.nan)


def _in_windows(columns: Columns, rows: tuple[Floats, Floats, Ints], window: int, min_n: int) -> pl.DataFrame:
    """The rows that have a whole window with enough pairs."""
    from transforms.correlation.kernel import rolling_pairs  # imports numba, which takes a second

    out = np.empty((3, len(rows[0])))
    rolling_pairs(*rows, np.array([window, min_n], dtype=np.int64), out)
    (kept,) = np.nonzero(out[0] >= 0)
    symbol = np.searchsorted(columns.starts, kept, side="right") - 1
    return pl.DataFrame(
        {
            "symbol": pl.Series(columns.symbols, dtype=pl.String).gather(symbol),
            "session": columns.sessions.gather(kept),
            **{name: values[kept] for name, values in zip(("n", "pearson", "spearman"), out, strict=True)},
        }
    ).with_columns(window=window)

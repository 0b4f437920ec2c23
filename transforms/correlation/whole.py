"""Correlation of sentiment and return over every session there is, with what is known about it."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from transforms.correlation.estimate import packed, pearson, spearman
from transforms.correlation.inference import infer
from transforms.correlation.pairs import LEVELS, RETURN, Columns, Floats, at_lag

CORRELATIONS: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "x": pl.String(),
        "y": pl.String(),
        "session": pl.Date(),
        "window": pl.Int32(),
        "lag": pl.Int32(),
        "method": pl.String(),
        "r": pl.Float64(),
        "n": pl.Int32(),
        "n_effective": pl.Float64(),
        "p": pl.Float64(),
        "ci_low": pl.Float64(),
        "ci_high": pl.Float64(),
    }
)
"""What `correlations` gives."""
METHODS: Final = {"pearson": pearson, "spearman": spearman}


def correlations(pairs: pl.LazyFrame, lags: Sequence[int], min_n: int) -> pl.LazyFrame:
    """Pearson's and Spearman's correlation of sentiment and return per symbol and lag, over all sessions (`window` 0).

    `x` is the level of sentiment (`sentiment_mean`) or its change (`sentiment_change`), `y` is `return_1d`.
    Lag k pairs the sentiment of a session with the return of the symbol's k-th next one: k > 0 means sentiment leads.
    A pair with a null is left out; a sample under `min_n` pairs gives no row; r is null where one side never varies.
    `session` is the last one any pair of the sample reads.

    `n_effective`, `p` and the 95 % interval `ci_low` to `ci_high` allow for autocorrelation and ties (`inference`);
    they are null with fewer than `LEAST_FOR_INFERENCE` pairs. `p` is of this test alone: of many, some come out small
    by chance, which `findings` makes up for.

    Input: `daily_pairs`. Columns: `CORRELATIONS`, sorted by symbol, x, lag and method.
    """
    each = partial(_correlations, lags=tuple(sorted(set(lags))), min_n=min_n)
    return pairs.map_batches(each, schema=CORRELATIONS, predicate_pushdown=False, projection_pushdown=False)


def _correlations(pairs: pl.DataFrame, lags: tuple[int, ...], min_n: int) -> pl.DataFrame:
    columns = Columns.of(pairs)
    parts = list(_by_symbol(columns, lags, min_n)) if lags else []
    if not parts:
        return CORRELATIONS.to_frame()
    found = pl.concat(parts).filter(pl.col("n") >= min_n)
    measured = ("r", "n_effective", "p", "ci_low", "ci_high")
    sessions = columns.sessions.gather(found["_last"])
    return (
        found.with_columns(pl.col(measured).fill_nan(None), session=sessions)
        .select(CORRELATIONS.names())
        .cast(CORRELATIONS)
        .sort("symbol", "x", "lag", "method")
    )


def _by_symbol(columns: Columns, lags: tuple[int, ...], min_n: int) -> Iterator[pl.DataFrame]:
    labels = pl.DataFrame([(x, lag) for x in LEVELS for lag in lags], schema=["x", "lag"], orient="row")
    for symbol, start, end in zip(columns.symbols, columns.starts, columns.starts[1:], strict=False):
        if np.count_nonzero(~np.isnan(columns.levels[LEVELS.index("sentiment_mean"), start:end])) < min_n:
            continue  # most symbols are never mentioned
        sides = [at_lag(columns.levels[:, start:end], columns.returns[start:end], lag) for lag in lags]
        x = np.stack([x for x, _ in sides], axis=1).reshape(len(labels), -1)
        y = np.tile(np.stack([y for _, y in sides]), (len(LEVELS), 1))
        for method, values in _samples(x, y):
            yield labels.with_columns(
                values.with_columns(pl.col("_last") + start),
                symbol=pl.lit(symbol),
                y=pl.lit(RETURN),
                window=0,
                method=pl.lit(method),
            )


def _samples(x: Floats, y: Floats) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each method's results, a row a sample; `_last`: place of the newest pair."""
    both = ~(np.isnan(x) | np.isnan(y))
    last = both.shape[1] - 1 - np.argmax(both[:, ::-1], axis=1)
    x, y, present = packed(x, y)
    n = present.sum(axis=1)
    for method, estimate in METHODS.items():
        found = estimate(x, y, present)
        sure = infer(found, n)
        yield (
            method,
            pl.DataFrame(
                {
                    **{"_last": last, "r": found.r, "n": n, "n_effective": sure.n_effective},
                    **{"p": sure.p, "ci_low": sure.low, "ci_high": sure.high},
                }
            ),
        )

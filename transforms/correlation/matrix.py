"""Correlation of the returns of many symbols with each other, and how it moves."""

from collections.abc import Iterator
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from transforms.correlation.pairs import Bools, Floats, daily_returns
from transforms.errors import SchemaMismatch

MATRIX: Final = pl.Schema({"symbol": pl.String(), "position": pl.Int32(), "n": pl.Int32(), "r": pl.List(pl.Float64())})
"""What `return_matrix` gives."""
DECIMALS: Final = 4
"""Of r in `return_matrix`: with 252 sessions its standard error is 0.06."""

_CONSTANT = 1e-12


def correlation_matrix(values: Floats, min_n: int) -> Floats:
    """Pearson's r of every two columns of `values` (rows x columns, NaN for missing) over the rows both have.

    NaN with fewer than `min_n` such rows, and where one of the two is constant in them (its variance is below 1e-12
    of its mean square about the column's own mean). The diagonal is 1 where the column has `min_n` values and varies.
    Cost: one matrix product, four where values are missing. Columns are centred first, so little cancels.
    """
    present = ~np.isnan(values)
    counts = present.sum(axis=0)
    filled = np.where(present, values, 0.0)
    largest = np.abs(filled).max(axis=0, initial=0.0)
    centred = np.subtract(filled, filled.sum(axis=0) / np.maximum(counts, 1), out=filled)
    centred[~present] = 0.0
    # what a constant column leaves is rounding of its own size; call it 0, which no r can be made of
    centred[:, np.abs(centred).max(axis=0, initial=0.0) <= _CONSTANT * largest] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        r = _complete(centred) if present.all() else _pairwise(centred, present, min_n)
    if len(values) < min_n:
        r[:] = np.nan
    np.clip(r, -1.0, 1.0, out=r)
    diagonal = np.diagonal(r)
    np.fill_diagonal(r, np.where(np.isnan(diagonal), np.nan, 1.0))
    return r


def _complete(centred: Floats) -> Floats:
    r = centred.T @ centred
    deviation = np.sqrt(np.diagonal(r))
    deviation = np.where(deviation > 0, deviation, np.nan)
    r /= deviation[:, None]
    r /= deviation
    return r


def _pairwise(centred: Floats, present: Bools, min_n: int) -> Floats:
    """Sums over the rows that two columns share are products with the other's mask."""
    mask = present.astype(np.float64)
    n, sums, squares, r = mask.T @ mask, centred.T @ mask, (centred * centred).T @ mask, centred.T @ centred
    work = np.multiply(sums, sums.T)  # in place from here on: making room for another array costs as much as a product
    work /= n
    r -= work
    np.multiply(squares, _CONSTANT, out=work)
    sums *= sums
    sums /= n
    squares -= sums
    squares[squares <= work] = np.nan
    np.multiply(squares, squares.T, out=work)
    r /= np.sqrt(work, out=work)
    r[n < min_n] = np.nan
    return r


def wide_returns(returns: pl.DataFrame) -> pl.DataFrame:
    """`daily_returns` with a row a session and a column a symbol: `session`, then the symbols in order."""
    symbols = returns["symbol"].unique().sort().to_list()
    wide = returns.pivot(on="symbol", index="session", values="return_1d").sort("session")
    return wide.select("session", *symbols)


def rolling_correlation_matrices(returns: pl.DataFrame, window: int, min_n: int) -> Iterator[tuple[date, Floats]]:
    """Each session that has `window` rows up to it, and `correlation_matrix` of those rows; one at a time.

    `returns`: `session`, then a column of floats a symbol, as `wide_returns` gives; null (or NaN) for missing. Only
    the matrix yielded and what it takes to compute one are in memory.
    """
    if returns.columns[:1] != ["session"]:
        raise SchemaMismatch(f"the first column is {returns.columns[:1]}; expected 'session', then a column a symbol")
    values = returns.drop("session").cast(pl.Float64).to_numpy()
    sessions = returns["session"]
    for end in range(window, len(values) + 1):
        yield sessions[end - 1], correlation_matrix(values[end - window : end], min_n)


def display_order(r: Floats) -> list[int]:
    """An order of the rows in which those that move together stand together.

    Hierarchical clustering, average linkage on the distance 1 - r (NaN counts as r = 0), leaves flipped so that
    neighbours are as near as the tree allows. The same matrix gives the same order.
    Source: Bar-Joseph, Gifford, Jaakkola, Fast optimal leaf ordering for hierarchical clustering, 2001, as in SciPy.
    """
    if len(r) < 3:
        return list(range(len(r)))
    from scipy.cluster import hierarchy  # takes a second to import, and few processes come here

    upper = np.triu_indices(len(r), 1)
    distance = 1 - np.nan_to_num(r[upper], nan=0.0)
    tree = hierarchy.optimal_leaf_ordering(hierarchy.linkage(distance, "average"), distance)
    return [int(leaf) for leaf in hierarchy.leaves_list(tree)]


def return_matrix(bars: pl.DataFrame, since: date, most: int, min_n: int) -> pl.DataFrame:
    """The correlation matrix of daily returns from session `since` on, in `display_order`.

    `bars`: split-adjusted `1d` bars, sorted by (symbol, timestamp); those before `since` only give the first return
    its base. Symbols with fewer than `min_n` returns are left out, and beyond the `most` with the highest sum of
    close x volume (in their own currencies; ties by name) the rest.

    `position`: place in the order. `n`: returns of the symbol. `r`: with each symbol by position, rounded to
    `DECIMALS`; null as in `correlation_matrix`. Columns: `MATRIX`, sorted by position.
    """
    returns = daily_returns(bars.lazy()).with_columns(_value=bars["close"] * bars["volume"]).collect()
    inside = returns.filter(pl.col("session") >= since, pl.col("return_1d").is_finite())
    chosen = (
        inside.group_by("symbol")
        .agg(n=pl.len(), _value=pl.col("_value").sum())
        .filter(pl.col("n") >= min_n)
        .sort("_value", "symbol", descending=[True, False])
        .head(most)
        .sort("symbol")
    )
    if chosen.is_empty():
        return MATRIX.to_frame()
    wide = wide_returns(inside.join(chosen, on="symbol", how="semi"))
    r = correlation_matrix(wide.drop("session").to_numpy(), min_n)
    order = display_order(r)
    rows = np.round(r[np.ix_(order, order)], DECIMALS) + 0.0  # no -0.0
    return (
        chosen[order]
        .with_columns(
            pl.Series("r", rows, dtype=pl.Array(pl.Float64, len(order)))
            .arr.to_list()
            .list.eval(pl.element().fill_nan(None)),
            position=pl.int_range(pl.len()),
        )
        .select(MATRIX.names())
        .cast(MATRIX)
    )

"""When two derived floats are the same value; what decides whether a stored row is rewritten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """A scale with a tolerance of its own, for what later values are computed from."""

    scale: float | pl.Expr
    tolerance: float


Scale = float | pl.Expr | Within | None


def not_equal(a: pl.Expr, b: pl.Expr, scale: Scale) -> pl.Expr:
    """Whether two floats differ: |a-b| > 1e-9 * max(|a|, |b|, scale). Never null.

    `scale` is the magnitude below which a column is noise (price, 100, 1, a volume sum), a number or an
    expression; 0 or None compares exactly; `Within` has a tolerance of its own for the 1e-9. Nulls equal nulls
    only, NaN equals NaN, an infinity equals itself.
    """
    size, tolerance = (scale.scale, scale.tolerance) if isinstance(scale, Within) else (scale, TOLERANCE)
    differs = a.ne_missing(b)
    if size is None or (isinstance(size, int | float) and size == 0):
        return differs
    distance = (a - b).abs()
    near = distance <= tolerance * pl.max_horizontal(a.abs(), b.abs(), size)
    return differs & (near & distance.is_finite()).fill_null(False).not_()


def changed_rows(
    computed: pl.LazyFrame, stored: pl.LazyFrame, key: Sequence[str], scales: Mapping[str, Scale]
) -> pl.LazyFrame:
    """Rows of `computed` that `stored` lacks, or has with a value that is not equal.

    Only the columns in `scales` are compared (one given as None exactly, of any type); an expression for a
    scale reads columns of `computed`. `stored` has `key` and those columns; neither frame repeats a key.
    """
    theirs = stored.select(*key, pl.lit(True).alias("_stored"), pl.col(*scales).name.prefix("_stored_"))
    differs = [not_equal(pl.col(name), pl.col(f"_stored_{name}"), scale) for name, scale in scales.items()]
    joined = computed.join(theirs, on=list(key), how="left", maintain_order="left")
    changed = joined.filter(pl.any_horizontal(pl.col("_stored").is_null(), *differs))
    return changed.select(pl.exclude("^_stored.*$"))

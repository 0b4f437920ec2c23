"""When two derived floats are the same value; what decides whether a stored row is rewritten."""

from collections.abc import Mapping, Sequence

import polars as pl

TOLERANCE = 1e-9
Scale = float | pl.Expr | None


def not_equal(a: pl.Expr, b: pl.Expr, scale: Scale) -> pl.Expr:
    """Whether two floats differ: |a-b| > 1e-9 * max(|a|, |b|, scale). Never null.

    `scale` is the magnitude below which a column is noise (price, 100, 1, a volume sum), a number or an
    expression; 0 or None compares exactly. Nulls equal nulls only, NaN equals NaN, an infinity equals
    itself.
    """
    differs = a.ne_missing(b)
    if scale is None or (isinstance(scale, int | float) and scale == 0):
        return differs
    distance = (a - b).abs()
    near = distance <= TOLERANCE * pl.max_horizontal(a.abs(), b.abs(), scale)
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

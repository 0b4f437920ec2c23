"""Many tests at once: which of them stand when every one of them had its chance to come out by luck."""

import polars as pl


def benjamini_hochberg(p: pl.Expr) -> pl.Expr:
    """P-values adjusted so that, of those at or below a level, at most that share is expected to be false.

    Definition: with p sorted, the smallest over j >= i of p[j] * m / j, m the number of values. Nulls stay null and
    are not counted. Holds for independent tests and for those that depend positively.
    Source: Benjamini, Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995).
    """
    scaled = pl.min_horizontal(p * p.count() / p.rank("max"), 1.0)
    downwards = scaled.sort_by(p, descending=True, nulls_last=True).cum_min()
    return pl.when(p.is_not_null()).then(downwards.gather(p.rank("ordinal", descending=True).fill_null(1) - 1))


def findings(correlations: pl.LazyFrame) -> pl.LazyFrame:
    """The correlations that have a p-value, with `p_adjusted` over all of them and their number, `family_size`.

    The family is everything that was tested: lags x methods x levels x symbols. So a change of one symbol moves the
    adjusted values of all. Sorted by p_adjusted, p, symbol, x, lag and method.
    """
    tested = correlations.filter(pl.col("p").is_not_null())
    adjusted = tested.with_columns(p_adjusted=benjamini_hochberg(pl.col("p")), family_size=pl.len().cast(pl.Int32))
    return adjusted.sort("p_adjusted", "p", "symbol", "x", "lag", "method")

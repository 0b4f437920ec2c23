"""How surprising a move of the price is, and what odds make of a suspicion. Log likelihoods, natural logarithms."""

import polars as pl

from transforms.quality.series import Rules

CERTAIN = 0.99
"""No judgement about prices is surer than this."""
SMALLEST = 1e-6
"""Least share of the price: of what is smaller the logarithm would say more than anybody knows."""


def surprise(move: pl.Expr, sigma: pl.Expr) -> pl.Expr:
    """Minus the log density of a log return under Student's t with 3 degrees of freedom, up to a constant."""
    return 2 * ((move / sigma) ** 2 / 3).log1p()


def spread(move: pl.Expr, least: float) -> pl.Expr:
    """Robust standard deviation: 1.4826 times the median absolute deviation from the median; at least `least`."""
    deviation = (move - move.median()).abs().median() * 1.4826
    return pl.max_horizontal(deviation.fill_null(0.0), pl.lit(least))


def usual(share: pl.Expr, rules: Rules) -> pl.Expr:
    """Log density, up to a constant, of one dividend being that share of the price: lognormal."""
    z = (pl.max_horizontal(share, pl.lit(SMALLEST)) / rules.typical_yield).log() / rules.yield_spread
    return -(z**2) / 2


def probability(odds: pl.Expr) -> pl.Expr:
    """Of log odds, at most `CERTAIN`."""
    return pl.min_horizontal(1 / (1 + (-odds).exp()), pl.lit(CERTAIN))

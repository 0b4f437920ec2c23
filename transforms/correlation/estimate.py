"""Correlation coefficients and their influence functions, many samples at once: one row of an array is one sample.

Rows are filled from the left: the first n entries of a row are its pairs, in time order; `present` marks them.
What lies beyond is 0 in every result.
"""

from dataclasses import dataclass

import numpy as np

from transforms.correlation.pairs import Bools, Floats, Ints

CONSTANT = 1e-12
"""A side whose standard deviation is below this share of its largest absolute value is called constant: what is
left of it is rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`r` (NaN where a side is constant) and `psi`: what each pair adds to n * (r - its true value), to first order."""

    r: Floats
    psi: Floats


def packed(x: Floats, y: Floats) -> tuple[Floats, Floats, Bools]:
    """Pairs of which both sides are there, moved to the left, 0 beyond; and where they are."""
    both = ~(np.isnan(x) | np.isnan(y))
    if both.all():
        return x, y, both
    order = np.argsort(~both, axis=-1, kind="stable")
    present = np.arange(x.shape[-1]) < both.sum(axis=-1, keepdims=True)
    moved = (np.where(present, np.take_along_axis(side, order, axis=-1), 0.0) for side in (x, y))
    return *moved, present


def standardised(x: Floats, present: Bools) -> Floats:
    """Deviations from the mean over the population standard deviation; NaN where the side is constant."""
    n = np.maximum(present.sum(axis=-1, keepdims=True), 1)
    largest = np.max(np.abs(x), axis=-1, keepdims=True, initial=0.0)
    centred = np.where(present, x - x.sum(axis=-1, keepdims=True) / n, 0.0)
    deviation = np.sqrt((centred * centred).sum(axis=-1, keepdims=True) / n)
    varies = (deviation > CONSTANT * largest) & (deviation > 0)
    return np.asarray(np.divide(centred, deviation, out=np.full(centred.shape, np.nan), where=varies))


def pearson_r(x: Floats, y: Floats, present: Bools) -> Floats:
    """Pearson's r of each row; NaN where a side is constant."""
    n = np.maximum(present.sum(axis=-1), 1)
    product = standardised(x, present) * standardised(y, present)
    return np.asarray(np.clip(product.sum(axis=-1) / n, -1.0, 1.0))


def pearson(x: Floats, y: Floats, present: Bools) -> Estimate:
    """Pearson's r and its influence function zx*zy - r/2 * (zx^2 + zy^2), z the standardised sides.

    Source: Devlin, Gnanadesikan, Kettenring, Robust estimation and outlier detection with correlation coefficients,
    Biometrika 62 (1975).
    """
    n = np.maximum(present.sum(axis=-1), 1)
    zx, zy = standardised(x, present), standardised(y, present)
    r = np.clip((zx * zy).sum(axis=-1) / n, -1.0, 1.0)
    return Estimate(r, zx * zy - r[:, None] / 2 * (zx * zx + zy * zy))


@dataclass(frozen=True, slots=True)
class Ranks:
    """Mid-ranks less their mean, over n, so within +-1/2; how they were sorted, and where groups of ties lie.

    `first` and `last`: places of the group in the sorted row, by place.
    """

    u: Floats
    order: Ints
    first: Ints
    last: Ints

    @classmethod
    def of(cls, x: Floats, present: Bools) -> "Ranks":
        """Those of each row."""
        width = x.shape[-1]
        order = np.argsort(np.where(present, x, np.inf), axis=-1)
        ordered = np.take_along_axis(np.where(present, x, np.inf), order, axis=-1)
        edge = np.ones((len(x), 1), dtype=np.bool_)
        differs = ordered[:, 1:] != ordered[:, :-1]
        place = np.arange(width)
        first = np.maximum.accumulate(np.where(np.concatenate([edge, differs], axis=1), place, 0), axis=1)
        ends = np.where(np.concatenate([differs, edge], axis=1), place, width)
        last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        n = np.maximum(present.sum(axis=-1, keepdims=True), 1)
        u = np.empty(x.shape)
        np.put_along_axis(u, order, (first + last + 1) / 2 / n - 0.5, axis=-1)
        return cls(np.where(present, u, 0.0), order, first, last)

    def share_above(self, weight: Floats, n: Floats) -> Floats:
        """For each pair, the sum over n of the weights of pairs whose x is larger, half of those that tie with it."""
        ordered = np.take_along_axis(weight, self.order, axis=-1)
        below = np.concatenate([np.zeros((len(weight), 1)), np.cumsum(ordered, axis=-1)], axis=1)
        around = np.take_along_axis(below, self.last + 1, axis=-1) + np.take_along_axis(below, self.first, axis=-1)
        above = np.empty(weight.shape)
        np.put_along_axis(above, self.order, (below[:, -1:] - around / 2) / n, axis=-1)
        return above


def spearman(x: Floats, y: Floats, present: Bools) -> Estimate:
    """Spearman's rho, which is Pearson's r of mid-ranks, and its influence function.

    That ranks are themselves estimated is part of it: a pair moves the rank of every other, which matters as soon as
    the two sides are related. Without ties this is the function of Croux and Dehon, Influence functions of the
    Spearman and Kendall correlation measures, Statistical Methods & Applications 19 (2010).
    """
    n = np.maximum(present.sum(axis=-1, keepdims=True), 1).astype(np.float64)
    ranks_x, ranks_y = Ranks.of(x, present), Ranks.of(y, present)
    u, v = ranks_x.u, ranks_y.u
    covariance, of_u, of_v = ((a * b).sum(axis=-1, keepdims=True) / n for a, b in ((u, v), (u, u), (v, v)))
    varies = (of_u > CONSTANT) & (of_v > CONSTANT)
    of_u, of_v = np.where(varies, of_u, np.nan), np.where(varies, of_v, np.nan)
    r = np.clip(covariance / np.sqrt(of_u * of_v), -1.0, 1.0)
    moved = u * v + ranks_x.share_above(v, n) + ranks_y.share_above(u, n) - 3 * covariance
    moved_u = u * u + 2 * ranks_x.share_above(u, n) - 3 * of_u
    moved_v = v * v + 2 * ranks_y.share_above(v, n) - 3 * of_v
    psi = moved / np.sqrt(of_u * of_v) - r / 2 * (moved_u / of_u + moved_v / of_v)
    psi = np.where(present, psi, 0.0)
    return Estimate(r[:, 0], np.where(present, psi - psi.sum(axis=-1, keepdims=True) / n, 0.0))


def spearman_r(x: Floats, y: Floats, present: Bools) -> Floats:
    """Spearman's rho of each row, ties at their mid-rank; NaN where a side is constant."""
    return pearson_r(Ranks.of(x, present).u, Ranks.of(y, present).u, present)

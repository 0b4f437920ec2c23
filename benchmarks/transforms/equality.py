"""Whether two sides did the same work: a measure of unequal numbers would be a defect."""

from typing import Any

import numpy as np


class Unequal(AssertionError):
    """Two sides that were to give the same numbers do not."""


def same(what: str, ours: Any, theirs: Any, *, relative: float = 0.0, absolute: float = 0.0) -> None:
    """Raise `Unequal` unless |ours - theirs| <= absolute + relative * |theirs| everywhere; NaN equals NaN."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise Unequal(f"{what}: {ours.shape} values here, {theirs.shape} there")
    if ours.dtype.kind != "f":
        wrong = ours != theirs
    else:
        near = np.abs(ours - theirs) <= absolute + relative * np.abs(theirs)
        wrong = ~(near | (np.isnan(ours) & np.isnan(theirs)))
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise Unequal(
            f"{what}: {wrong.sum():,} of {wrong.size:,} values differ, first at {first}: "
            f"{ours.flat[first]} here, {theirs.flat[first]} there"
        )

"""The last steps from typed rows to a dataset's raw schema: the order of its key, and ordinals where keys need one."""

from typing import Final

import polars as pl

from flows.sources.base import LINE
from transforms.schema import RAW_SCHEMAS, Dataset
from transforms.validate import KEYS

_NUMBERED: Final[dict[Dataset, tuple[str, tuple[str, ...]]]] = {
    "ticks": ("sequence", ("symbol", "timestamp", "source")),
    "sentiment": ("ordinal", ("symbol", "timestamp", "source", "external_id")),
    "actions": ("ordinal", ("symbol", "ex_date", "action", "source")),
}
"""The part of a key that is a row's place, in file order, among the rows that share the other parts."""

_OPTIONAL: Final[dict[Dataset, tuple[str, ...]]] = {
    "ticks": ("condition",),
    "bars": ("adjusted_close",),
    "sentiment": ("external_id", "is_retweet", "is_duplicate"),
    "actions": (),
}
"""Columns that a file need not have."""


def finished(typed: pl.DataFrame, dataset: Dataset, source: str) -> pl.DataFrame:
    """Rows of the dataset's raw schema and `line`, sorted by key; typed rows come in file order.

    Rows that name no source are `source`'s. A message with an `external_id` has ordinal 0: the id is its key.
    """
    frame = _filled(typed, dataset, source)
    frame = in_order(frame, [part for part in KEYS[dataset] if part in frame.columns])
    number, runs = _NUMBERED.get(dataset, ("", ()))
    if number and number not in frame.columns:
        place = ordinal(runs)
        if dataset == "sentiment":
            place = pl.when(pl.col("external_id") == "").then(place).otherwise(0)
        frame = frame.with_columns(place.alias(number))
    return frame.select(*(pl.col(name).cast(dtype) for name, dtype in RAW_SCHEMAS[dataset].items()), LINE)


def in_order(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Sorted by `key`, rows of one key in the order they had; most files are already, which is seen quickly."""
    if frame.select(_out_of_order(key).any()).item():
        return frame.sort(key, maintain_order=True)
    return frame


def _filled(typed: pl.DataFrame, dataset: Dataset, source: str) -> pl.DataFrame:
    """Columns a file need not have."""
    own = pl.col("source").fill_null(source) if "source" in typed.columns else pl.lit(source)
    frame = typed.with_columns(source=own)
    absent = [name for name in _OPTIONAL[dataset] if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, RAW_SCHEMAS[dataset][name]).alias(name) for name in absent)
    return frame.with_columns(pl.col("external_id").fill_null("")) if dataset == "sentiment" else frame


def _out_of_order(key: list[str]) -> pl.Expr:
    """Rows that sort before the row above them."""
    out = pl.lit(value=False)
    for part in reversed(key):
        here, above = pl.col(part), pl.col(part).shift(1)
        out = (here < above) | ((here == above) & out)
    return out


def ordinal(runs: tuple[str, ...]) -> pl.Expr:
    """0, 1, 2 … within neighbouring rows that agree in `runs`."""
    place = pl.int_range(pl.len(), dtype=pl.Int32)
    begins = pl.any_horizontal(pl.col(part) != pl.col(part).shift(1) for part in runs).fill_null(value=True)
    return place - pl.when(begins).then(place).otherwise(0).cum_max()

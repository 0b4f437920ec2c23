"""Cells to values: one cell that cannot be read sets its row aside, never the file."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from flows.sources.base import LINE
from flows.sources.columns import FIELDS, Kind, Layout
from flows.sources.times import from_wall, read_dates, read_times
from transforms.errors import SchemaMismatch
from transforms.schema import Dataset
from transforms.validate import REJECTED, rejected

EXTRA: Final = "_extra"
"""Column of a CSV piece that is filled where a row has more cells than the header."""
NAIVE: Final = "_naive"
"""Bars only: the time names no zone, which does not matter to a daily bar that has a date."""
DAY: Final = "_day"
"""Bars only: the date the row is written with; null where there is an instant only."""

GRANULARITY_WORDS: Final = {
    **dict.fromkeys(("1m", "m1", "1min", "minute", "1t", "60s"), "1m"),
    **dict.fromkeys(("1h", "h1", "60m", "60min", "hour", "hourly", "3600s"), "1h"),
    **dict.fromkeys(("1d", "d1", "d", "day", "daily", "1day", "24h"), "1d"),
}
FLAG_WORDS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}
LABEL_WORDS: Final = {"start": "start", "left": "start", "end": "end", "right": "end"}
ACTION_WORDS: Final = {
    **dict.fromkeys(("split", "splits", "stock_split", "stock split"), "split"),
    **dict.fromkeys(("dividend", "dividends", "div", "cash_dividend", "cash dividend"), "dividend"),
}

Refusals = dict[str, pl.Series]
"""Rule = rows it refuses; the first rule in order is a row's reason."""


def expect_types(schema: Mapping[str, pl.DataType], layout: Layout, file: str) -> None:
    """Raise if a column of ours is of a type that cannot be read as what it has to be."""
    for ours, dtype in schema.items():
        if not _readable(dtype, FIELDS[layout.dataset][ours].kind):
            theirs = layout.columns[ours]
            raise SchemaMismatch(f"{file}: column {theirs} is {dtype}, which cannot be read as {ours}")


def parse(piece: pl.DataFrame, dataset: Dataset, time_zone: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Typed rows of a piece (our names, `line`) and its rows that cannot be read (`REJECTED`)."""
    fields = FIELDS[dataset]
    refusals = _malformed_rows(piece)
    typed = {LINE: piece[LINE].cast(pl.Int64)}
    for ours in [name for name in piece.columns if name in fields and name not in ("timestamp", "date")]:
        typed[ours] = _READERS[fields[ours].kind](piece[ours])
        if typed[ours].null_count() > piece[ours].null_count():
            refusals[f"unparseable_{ours}"] = piece[ours].is_not_null() & typed[ours].is_null()
    if dataset != "actions":
        typed |= _timed(piece, dataset, time_zone, refusals)
    when = [typed[name] for name in ("timestamp", DAY, "ex_date") if name in typed]
    timeless = pl.select(pl.all_horizontal(s.is_null() for s in when)).to_series()
    naive = typed.get(NAIVE)
    refusals["null_value"] = typed["symbol"].is_null() | (timeless if naive is None else timeless & ~naive)
    return _settled(piece, dataset, pl.DataFrame(typed), refusals)


def _settled(
    piece: pl.DataFrame, dataset: Dataset, typed: pl.DataFrame, refusals: Refusals
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Typed rows without the refused ones, and those as they are written in the file."""
    hits = {rule: mask for rule, mask in refusals.items() if mask.any()}
    if not hits:
        return typed, REJECTED.to_frame()
    reasons = pl.select(pl.coalesce(pl.when(mask).then(pl.lit(rule)) for rule, mask in hits.items())).to_series()
    refused = reasons.is_not_null()
    cells = piece.filter(refused).drop(EXTRA, strict=False)
    return typed.filter(~refused), rejected(dataset, cells, reasons.filter(refused))


def _malformed_rows(piece: pl.DataFrame) -> Refusals:
    """CSV rows that are no rows of this table."""
    if EXTRA not in piece.columns:
        return {}
    empty = piece.select(pl.all_horizontal(pl.exclude(LINE).is_null())).to_series()
    return {"too_many_cells": piece[EXTRA].is_not_null(), "empty_row": empty}


def _timed(piece: pl.DataFrame, dataset: Dataset, time_zone: str | None, refusals: Refusals) -> dict[str, pl.Series]:
    """`timestamp`, and for bars what the session of a daily one is told by."""
    dates = piece["date"] if "date" in piece.columns else None
    own = "timestamp" in piece.columns
    cells = piece["timestamp" if own else "date"]
    times = read_times(cells, dates if own else None)
    instant, wall, day = times
    timestamp = instant
    if time_zone is not None:
        clock = times.select(pl.coalesce("wall", pl.col("day").cast(pl.Datetime("us")))).to_series()
        timestamp = instant.zip_with(instant.is_not_null(), from_wall(clock, time_zone))
    unread = times.select(pl.all_horizontal(pl.all().is_null())).to_series()
    naive = ~unread & timestamp.is_null()
    refusals["unparseable_timestamp"] = unread & cells.is_not_null()
    if dataset == "bars":
        written = _written_day(dates, wall, day, time_zone, refusals)
        refusals["ambiguous_time"] = naive & (time_zone is not None) & written.is_null()
        return {"timestamp": timestamp, DAY: written, NAIVE: naive}
    refusals["ambiguous_time" if time_zone else "naive_time"] = naive
    return {"timestamp": timestamp}


def _written_day(
    dates: pl.Series | None, wall: pl.Series, day: pl.Series, time_zone: str | None, refusals: Refusals
) -> pl.Series:
    """The date a bar is written with: its date column, a bare date, or midnight on a clock without a zone."""
    if dates is not None:
        written = read_dates(dates)
        refusals["unparseable_date"] = dates.is_not_null() & written.is_null()
        return written
    if time_zone is not None or wall.null_count() == len(wall):
        return day
    clock = pl.lit(wall)
    midnight = pl.when(clock == clock.dt.truncate("1d")).then(clock.dt.date())
    return pl.select(pl.coalesce(pl.lit(day), midnight)).to_series()


def _text(cells: pl.Series) -> pl.Series:
    """Text without NUL, which a database cannot hold; the words of a list one after the other."""
    if isinstance(cells.dtype, pl.List):
        cells = cells.cast(pl.List(pl.String)).list.join(" ")
    text = cells.cast(pl.String)
    if cells.name == "symbol" or "\0" not in (text.str.join("").item() or ""):
        return text  # the rule for symbols knows what they may hold
    return text.set(text.str.contains("\0", literal=True), None)


def _number(cells: pl.Series) -> pl.Series:
    return cells.cast(pl.Float64, strict=False)


def _whole(cells: pl.Series) -> pl.Series:
    """Whole numbers of 32 bits; others are not read."""
    number = cells.cast(pl.Int32, strict=False)
    if not cells.dtype.is_float():
        return number
    return number.zip_with((number == cells).fill_null(value=True), number.clear(len(number)))


def _flag(cells: pl.Series) -> pl.Series:
    """Yes or no: a truth value, the numbers 1 and 0, or one of the usual words whatever its case."""
    if cells.dtype == pl.Boolean:
        return cells
    number = cells.dtype.is_numeric()
    words = (cells.cast(pl.Float64) if number else cells).cast(pl.String).str.to_lowercase()
    return words.replace_strict(FLAG_WORDS, default=None, return_dtype=pl.Boolean)


def _words(known: Mapping[str, str]) -> Callable[[pl.Series], pl.Series]:
    """A reader of one of a few words, whatever their case."""

    def read(cells: pl.Series) -> pl.Series:
        return cells.cast(pl.String).str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)

    return read


def _action(cells: pl.Series) -> pl.Series:
    """Actions by our words; an unknown one stays as it is, to be named when it is rejected."""
    return cells.cast(pl.String).str.to_lowercase().replace(ACTION_WORDS)


_READERS: Final[dict[Kind, Callable[[pl.Series], pl.Series]]] = {
    "text": _text,
    "number": _number,
    "whole": _whole,
    "flag": _flag,
    "date": read_dates,
    "granularity": _words(GRANULARITY_WORDS),
    "label": _words(LABEL_WORDS),
    "action": _action,
}


def _readable(dtype: pl.DataType, kind: Kind) -> bool:
    if dtype in (pl.String, pl.Null) or isinstance(dtype, pl.Categorical | pl.Enum):
        return True
    if kind in ("number", "whole"):
        return dtype.is_numeric()
    if kind == "flag":
        return dtype == pl.Boolean or dtype.is_numeric()
    if kind in ("time", "date"):
        return dtype.is_temporal() and not isinstance(dtype, pl.Duration) or dtype.is_numeric()
    return kind == "text" and (dtype.is_integer() or isinstance(dtype, pl.List))

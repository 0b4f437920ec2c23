"""Everything we compute per bar: a name gives its expressions, its columns and how far a change travels."""

from collections.abc import Iterable, Sequence
from typing import TypeVar, get_args

import polars as pl

from transforms.catalogue.engine import Engine, compute_frame, compute_lazily
from transforms.catalogue.entry import (
    Column,
    Family,
    Indicator,
    Kernel,
    RestOfSession,
    State,
    Window,
)
from transforms.catalogue.names import CATALOGUE, FAMILIES, resolve
from transforms.catalogue.reach import Travel, context_rows, resumable, resume_row, scales_of, settled, travels
from transforms.catalogue.resume import compute_from
from transforms.errors import PermanentError

__all__ = [
    "CATALOGUE",
    "FAMILIES",
    "Column",
    "Family",
    "Indicator",
    "Kernel",
    "RestOfSession",
    "State",
    "Travel",
    "Window",
    "columns_of",
    "compute",
    "compute_from",
    "context_rows",
    "resolve",
    "resumable",
    "resume_row",
    "scales_of",
    "settled",
    "travels",
]


def columns_of(names: Iterable[str]) -> tuple[Column, ...]:
    """All columns of the indicators, state included, each name once."""
    return tuple({column.name: column for name in names for column in resolve(name).columns}.values())


Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def compute(bars: Frame, names: Sequence[str], keep: Sequence[str] = (), engine: Engine = "auto") -> Frame:
    """Symbol, timestamp, session, the columns `keep` of the bars, and every column of the indicators.

    Input: split-adjusted BARS of any number of symbols, sorted by (symbol, timestamp); each is computed on its
    own. A row with a null among an indicator's inputs takes no part in it: its values are null there, and those
    of the other rows are what they would be without it. A NaN is a null, and a number of another type (integers,
    decimals, Float32) is read as Float64. Gaps in time mean nothing: windows count rows.

    `engine`: the expressions, the compiled kernels that stand beside some of them, or (`auto`) the kernels
    where the rows or the window's rows are many. Errors: `UnknownIndicator`; `SchemaMismatch` for a column that
    is needed and missing or holds no numbers; `PermanentError` for rows of one symbol that stand apart, a kept
    column called like an indicator's, or another engine.
    """
    if engine not in get_args(Engine):
        raise PermanentError(f"no engine is called {engine!r}; there are {', '.join(get_args(Engine))}")
    indicators = [resolve(name) for name in dict.fromkeys(names)]
    if isinstance(bars, pl.DataFrame):
        return compute_frame(bars, indicators, keep, engine)
    return compute_lazily(bars, indicators, keep, engine)

"""Indicators of many symbols at once: by their expressions, or by compiled kernels where the rows are many."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final, Literal

import polars as pl

from transforms import runs
from transforms.catalogue.compiled import Start, compiled
from transforms.catalogue.entry import Indicator
from transforms.errors import PermanentError, SchemaMismatch

Engine = Literal["auto", "expressions", "compiled"]
COMPILED_FROM: Final = 100_000
"""Rows from which `auto` takes the kernels: fewer do not pay for loading the compiler."""
_KEYS: Final = ("symbol", "timestamp", "session")


def compute_lazily(
    bars: pl.LazyFrame, indicators: Sequence[Indicator], keep: Sequence[str], engine: Engine
) -> pl.LazyFrame:
    """See `transforms.catalogue.compute`."""
    given = bars.collect_schema()
    kept = kept_columns(given, indicators, keep)
    read = dict.fromkeys((*kept, *(name for indicator in indicators for name in indicator.inputs)))
    made: dict[str, pl.DataType] = dict.fromkeys(_columns(indicators), pl.Float64())
    return bars.select(read.keys()).map_batches(
        lambda frame: compute_frame(frame, indicators, keep, engine),
        schema={name: given[name] for name in kept} | made,
    )


def compute_frame(
    bars: pl.DataFrame, indicators: Sequence[Indicator], keep: Sequence[str], engine: Engine
) -> pl.DataFrame:
    """The same of rows that are in memory."""
    kept = bars.select(kept_columns(bars.schema, indicators, keep))
    return kept.hstack(_values(as_numbers(bars, indicators), indicators, engine).get_columns())


def _columns(indicators: Sequence[Indicator]) -> list[str]:
    return [column.name for indicator in indicators for column in indicator.columns]


def kept_columns(given: pl.Schema, indicators: Sequence[Indicator], keep: Sequence[str]) -> list[str]:
    """The columns of the bars that come first; raises if any column that is needed is not there, or no number."""
    needed_by = {name: f"{indicator.name!r} needs" for indicator in indicators for name in indicator.inputs}
    kept = list(dict.fromkeys((*_KEYS, *keep)))
    for name, who in (dict.fromkeys(kept, "the result keeps") | needed_by).items():
        if name not in given:
            raise SchemaMismatch(f"{who} the column {name!r}; the bars have only {', '.join(given.names())}")
        if name in needed_by and name not in _KEYS and not (given[name].is_numeric() or given[name] == pl.Null):
            raise SchemaMismatch(f"{who} numbers in the column {name!r}, which holds {given[name]}")
    if twice := set(kept) & set(_columns(indicators)):
        raise PermanentError(f"an indicator makes {', '.join(sorted(twice))}: rename the columns of the bars to keep")
    return kept


def as_numbers(bars: pl.DataFrame, indicators: Sequence[Indicator]) -> pl.DataFrame:
    """The bars with all inputs as Float64, nulls for NaNs: columns that are so already are not copied."""
    inputs = dict.fromkeys(name for indicator in indicators for name in indicator.inputs if name not in _KEYS)
    bars = bars.with_columns(pl.col(name).cast(pl.Float64) for name in inputs if bars.schema[name] != pl.Float64)
    with_nans = bars.select(pl.col(*inputs).is_nan().any()).row(0, named=True) if inputs else {}
    return bars.with_columns(pl.col(name).fill_nan(None) for name, found in with_nans.items() if found)


def _values(frame: pl.DataFrame, indicators: Sequence[Indicator], engine: Engine) -> pl.DataFrame:
    """The indicators' columns, one row for each of the frame's."""
    with_nulls = {name for name, count in frame.null_count().row(0, named=True).items() if count}
    if not with_nulls & {name for indicator in indicators for name in indicator.inputs}:
        return of_complete(frame, indicators, engine)

    def lacking(indicator: Indicator) -> list[str]:
        return sorted(with_nulls & set(indicator.inputs))

    parts = []
    for names, some in groupby(sorted(indicators, key=lacking), key=lacking):
        known = frame.select(pl.all_horizontal(pl.col(names).is_not_null())).to_series() if names else None
        parts.append(_of_known(frame, known, list(some), engine))
    found = pl.concat(parts, how="horizontal")
    return found.select(_columns(indicators))


def _of_known(
    frame: pl.DataFrame, known: pl.Series | None, indicators: Sequence[Indicator], engine: Engine
) -> pl.DataFrame:
    """Values of the rows marked `known` (None: all), nulls in the others."""
    if known is None:
        return of_complete(frame, indicators, engine)
    values = of_complete(frame.filter(known), indicators, engine)
    places = pl.when(known).then(known.cum_sum().cast(pl.Int64) - 1)
    return values.select(pl.all().gather(pl.select(places).to_series()))


def of_complete(
    frame: pl.DataFrame, indicators: Sequence[Indicator], engine: Engine, start: Start | None = None
) -> pl.DataFrame:
    """The indicators' columns of rows without nulls, from the start of each symbol unless told where to start."""
    start = start or Start()
    by_kernels = [i for i in indicators if i.kernel is not None and _takes_kernel(i, frame.height, engine)]
    exprs = {
        column.name: column.expr.over(*start.over(indicator), mapping_strategy="explode")
        for indicator in indicators
        if indicator not in by_kernels
        for column in indicator.columns
    }
    if exprs and start.bounds is None:
        runs.bounds(frame)  # raises where the rows of a symbol stand apart, as the kernels' path does
    found = _by_expressions(frame, exprs) if exprs else []
    every = {column.name: column for column in (*found, *compiled(frame, by_kernels, start))}
    return pl.DataFrame([every[name] for name in dict.fromkeys(_columns(indicators))])


def _by_expressions(frame: pl.DataFrame, exprs: Mapping[str, pl.Expr]) -> list[pl.Series]:
    return frame.lazy().select(**exprs).collect(engine="in-memory").get_columns()


def _takes_kernel(indicator: Indicator, rows: int, engine: Engine) -> bool:
    """Whether many rows, or a window so long that an expression which looks at all of it is slow, ask for it."""
    if engine == "auto":
        return rows >= COMPILED_FROM or rows * indicator.lookback >= 100 * COMPILED_FROM
    return engine == "compiled"

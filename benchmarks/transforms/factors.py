"""Fourteen factors of daily bars: as pyqlib's expressions, and as our indicators and plain expressions.

All that a factor needs of the rows before it is an indicator of the catalogue, or an expression over the rows of one
symbol, or looks back a fixed number of rows: such expressions run over whole blocks of symbols at once, since the rows
of a symbol stand together, and what reads over the edge is null.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from transforms.catalogue import compute
from transforms.runs import bounds

_CLOSE, _HIGH, _LOW, _VOLUME = (pl.col(name) for name in ("close", "high", "low", "volume"))
_SAMPLE_DEVIATION: Final = (20 / 19) ** 0.5
"""Bollinger's deviation divides by the window, pyqlib's by one less."""
SYMBOLS_A_BLOCK: Final = 40
READ: Final = ["symbol", "timestamp", "session", "high", "low", "close", "volume"]


@dataclass(frozen=True, slots=True)
class Factor:
    """`qlib`: pyqlib's expression. `ours`: over a block of symbols.

    `back`: in so many rows from a symbol's first, `ours` would read the symbol before, so it is null there.
    `settled`: the row from which both agree, where a recursion has forgotten how it was seeded.
    """

    qlib: str
    ours: pl.Expr
    back: int = 0
    settled: int = 0


def _return(rows: int) -> Factor:
    return Factor(f"$close/Ref($close,{rows})-1", _CLOSE / _CLOSE.shift(rows) - 1, rows)


def _average(rows: int) -> Factor:
    return Factor(f"Mean($close,{rows})/$close", pl.col(f"sma_{rows}") / _CLOSE)


INDICATORS: Final = ("sma_5", "sma_20", "sma_60", "ema_12", "ema_26", "bollinger_20_2", "williams_r_14")
_DEVIATION = (pl.col("bollinger_20_2_upper") - pl.col("bollinger_20_2_middle")) / 2 * _SAMPLE_DEVIATION

FACTORS: Final[Mapping[str, Factor]] = {
    "return_1": _return(1),
    "return_5": _return(5),
    "return_20": _return(20),
    "average_5": _average(5),
    "average_20": _average(20),
    "average_60": _average(60),
    "deviation_20": Factor("Std($close,20)/$close", _DEVIATION / _CLOSE),
    "stochastic_14": Factor("($close-Min($low,14))/(Max($high,14)-Min($low,14))", 1 + pl.col("williams_r_14") / 100),
    "ema_ratio_12_26": Factor("EMA($close,12)/EMA($close,26)-1", pl.col("ema_12") / pl.col("ema_26") - 1, settled=350),
    "highest_20": Factor("Max($high,20)/$close", _HIGH.rolling_max(20) / _CLOSE, 19),
    "lowest_60": Factor("Min($low,60)/$close", _LOW.rolling_min(60) / _CLOSE, 59),
    "close_volume_20": Factor("Corr($close,$volume,20)", pl.rolling_corr(_CLOSE, _VOLUME, window_size=20), 19),
    "volume_20": Factor("$volume/Mean($volume,20)", _VOLUME / _VOLUME.rolling_mean(20), 19),
    "momentum_10": Factor("($close-Ref($close,10))/$close", (_CLOSE - _CLOSE.shift(10)) / _CLOSE, 10),
}


def published() -> str:
    """The list for people, in pyqlib's words."""
    return "; ".join(f"{name} {factor.qlib}" for name, factor in FACTORS.items())


def write(bars: pl.DataFrame, rows_a_symbol: int, file: Path) -> None:
    """BARS as a Parquet file whose row groups are whole symbols, so that a block is read alone."""
    bars.write_parquet(file, row_group_size=SYMBOLS_A_BLOCK * rows_a_symbol, compression="lz4")


def from_disk(file: Path) -> pl.DataFrame:
    """Symbol, timestamp and FACTORS of such a file, block by block on all cores."""
    groups = pq.read_metadata(file).num_row_groups
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return pl.concat(pool.map(lambda group: of_block(read_group(file, group)), range(groups)))


def read_group(file: Path, group: int) -> pl.DataFrame:
    """One block of such a file, the columns that factors need."""
    return pl.DataFrame(pl.from_arrow(pq.ParquetFile(file).read_row_group(group, READ, use_threads=False)))


def of_block(bars: pl.DataFrame) -> pl.DataFrame:
    """Symbol, timestamp and FACTORS of BARS sorted by (symbol, timestamp)."""
    made = compute(bars, INDICATORS, keep=("high", "low", "close", "volume"))
    starts = bounds(bars)
    row = np.arange(bars.height) - np.repeat(starts[:-1], np.diff(starts))
    rows = made.with_columns(pl.Series("_row", row))
    known = {
        name: pl.when(pl.col("_row") >= factor.back).then(factor.ours) if factor.back else factor.ours
        for name, factor in FACTORS.items()
    }
    return rows.lazy().select("symbol", "timestamp", **known).collect(engine="in-memory")

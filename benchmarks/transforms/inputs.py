"""The rows that several measures share, made once; as files where another process reads them."""

from functools import cached_property
from pathlib import Path

import polars as pl

from benchmarks.bench import Bench
from benchmarks.transforms import rows
from benchmarks.transforms.factors import write


class Inputs:
    """Frames made when first asked for."""

    def __init__(self, bench: Bench) -> None:
        """Files go below the bench's home."""
        self.sizes = bench.size.transforms
        self._folder = bench.home / "transforms"

    @cached_property
    def daily(self) -> pl.DataFrame:
        """BARS of `1d` for the indicators."""
        return rows.daily_bars(self.sizes.daily)

    @cached_property
    def minutes(self) -> pl.DataFrame:
        """BARS of `1m` for the indicators."""
        return rows.minute_bars(self.sizes.minutes)

    @cached_property
    def ticks(self) -> pl.DataFrame:
        """TICKS."""
        return rows.ticks(self.sizes.ticks)

    @cached_property
    def factors(self) -> pl.DataFrame:
        """BARS of `1d` for the factors."""
        return rows.daily_bars(self.sizes.factors)

    @cached_property
    def returns(self) -> pl.DataFrame:
        """Daily returns, a row a symbol and session."""
        return rows.returns(self.sizes.matrix)

    @cached_property
    def factor_file(self) -> Path:
        """`factors` as Parquet, whole symbols in a row group."""
        file = self.folder / "factors.parquet"
        write(self.factors, self.sizes.factors.bars, file)
        return file

    @property
    def folder(self) -> Path:
        """Made when asked for."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def arrow_file(self, name: str) -> Path:
        """One of the frames as an Arrow file without compression: reading it leaves nothing behind in memory."""
        file = self.folder / f"{name}.arrow"
        if not file.exists():
            frame: pl.DataFrame = getattr(self, name)
            frame.write_ipc(file, compression="uncompressed", record_batch_size=frame.height)
        return file

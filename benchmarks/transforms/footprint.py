"""The process whose memory is measured: `python -m benchmarks.transforms.footprint WORK FILE WINDOW`."""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from benchmarks.transforms import rows
from benchmarks.transforms.factors import from_disk, of_block, read_group
from storage.settings import DEFAULT_INDICATORS
from transforms.catalogue import compute
from transforms.catalogue.engine import COMPILED_FROM
from transforms.correlation.matrix import rolling_correlation_matrices, wide_returns
from transforms.sessions import BucketRules
from transforms.ticks import bars_from_ticks


def works(window: int) -> dict[str, Callable[[pl.DataFrame], int]]:
    """What can be done to a frame; each gives the bytes of its result."""
    sessions = rows.newest_sessions(5).lazy()

    def indicators(bars: pl.DataFrame) -> int:
        return held(compute(bars.lazy(), DEFAULT_INDICATORS).collect())

    def ticks(trades: pl.DataFrame) -> int:
        return held(bars_from_ticks(trades.lazy(), sessions, BucketRules()).collect())

    def matrix(returns: pl.DataFrame) -> int:
        largest = 0
        for _, r in rolling_correlation_matrices(wide_returns(returns), window, window):
            largest = max(largest, r.nbytes)
            del r  # or the next one is made beside it
        return largest

    return {"indicators, daily": indicators, "indicators, minutes": indicators, "ticks": ticks, "matrix": matrix}


def size(schema: pl.Schema, rows: int) -> int:
    """Bytes of a frame: 16 a string, as its views take (the letters of short ones are in them), 8 or 4 a number."""
    widths = {pl.String: 16, pl.Date: 4, pl.Int32: 4}
    return rows * sum(widths.get(dtype.base_type(), 8) for dtype in schema.dtypes())


def held(frame: pl.DataFrame) -> int:
    """Bytes of a frame."""
    return size(frame.schema, frame.height)


def resident(name: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main(work: str, file: Path, window: int) -> None:
    """Do it once and print bytes of input, result and peak as JSON; a small part is done before."""
    if work == "factors":
        of_block(read_group(file, 0))
        before, given = resident("VmRSS"), 0
        frame, counted = None, size(pl.scan_parquet(file).collect_schema(), pq.read_metadata(file).num_rows)
    else:
        do = works(window)[work]
        do(pl.read_ipc(file, n_rows=COMPILED_FROM + 1))
        before = resident("VmRSS")
        frame = pl.read_ipc(file.read_bytes())  # its columns are views of these bytes
        given = counted = held(frame)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    result = held(from_disk(file)) if frame is None else do(frame)
    print(json.dumps({"input": counted, "result": result, "peak": resident("VmHWM") - before - given}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

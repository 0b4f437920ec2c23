"""The process whose memory is measured: `python -m benchmarks.footprint HOME TICKS` ingests and refreshes a file."""

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.bench import BenchSettings, soon
from flows import steps
from flows.sources_of import sources_of
from flows.wiring import wire
from storage.settings import SourceSettings


def peak() -> int:
    """Most bytes this process ever had in memory.

    On Linux from VmHWM, since `ru_maxrss` there begins with what the parent process had at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(home: Path, ticks: Path) -> None:
    """Print what it took as JSON."""
    with wire(BenchSettings(home=home / "servers")) as deps:
        as_of = soon()
        sources = sources_of(deps, [("ticks", SourceSettings(path=str(ticks), dataset="ticks"))], as_of)
        deps.market(deps.settings.market, as_of)
        before, started = peak(), time.perf_counter()
        ingested = steps.ingest(deps, sources, as_of)
        after_ingest = peak()
        refreshed = steps.refresh(deps, as_of)
        rows = sum(report.written.inserted for report in ingested.files)
        told = {"before": before, "after_ingest": after_ingest, "peak": peak(), "rows": rows}
        if ingested.failures or not refreshed.symbols:
            raise RuntimeError(f"nothing came of it: {ingested}, {refreshed}")
        print(json.dumps({**told, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

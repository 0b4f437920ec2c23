"""Peak memory of ingest and refresh, ten times the ticks against once."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data import tiled
from benchmarks.harness import Measure, Stages

MB = 1e6


class Memory(Measure):
    """A process of its own each time; its peak is the kernel's high-water mark."""

    name = "memory"
    unit = "MB"
    target = 2.0
    direction = "at most"
    warm_ups = 0

    def __init__(self, bench: Bench) -> None:
        """Run beside the servers of `bench`."""
        self._bench = bench
        self._parts = Stages()

    @property
    def about(self) -> str:
        """With the sizes of this run."""
        weeks = self._bench.size.weeks
        return (
            f"{self._bench.data.about}: peak resident memory of a process that ingests and refreshes the ticks from a "
            f"Parquet file, into an empty store. Ours: the week laid end to end {weeks} times over as many sessions. "
            "Reference: the same with one week. Servers are other processes and not counted."
        )

    def setup(self) -> None:
        """Write the two files."""
        ticks = Path(self._bench.data.files["ticks"].path or "")
        self._files = {
            weeks: tiled(ticks, weeks, self._bench.home / f"ticks-{weeks}.parquet")
            for weeks in {1, self._bench.size.weeks}
        }

    def ours(self) -> float:
        """Peak with all weeks."""
        return self._peak(self._bench.size.weeks, "many weeks")

    def reference(self) -> float:
        """Peak with one week."""
        return self._peak(1, "one week")

    def _peak(self, weeks: int, name: str) -> float:
        self._bench.clear()
        command = [sys.executable, "-m", "benchmarks.footprint", str(self._bench.home), str(self._files[weeks])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout)
        self._parts.add(
            {
                f"MB before the first row ({name})": told["before"] / MB,
                f"MB after ingest ({name})": told["after_ingest"] / MB,
                f"s ({name})": told["seconds"],
                f"rows ({name})": told["rows"],
            }
        )
        return float(told["peak"]) / MB

    def details(self) -> Mapping[str, float]:
        """Where the peaks arise, and how long it took."""
        return self._parts.medians()

    def teardown(self) -> None:
        """Remove the files."""
        for file in self._files.values():
            file.unlink(missing_ok=True)

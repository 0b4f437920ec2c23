"""Most memory that each transform takes, against the size of its input."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import Measure, Stages, Unmeasurable
from benchmarks.transforms.inputs import Inputs

MB = 1e6


class Peak(Measure):
    """MB beyond the input's own, in a process of its own; the input's size is the reference."""

    unit = "MB"
    target = 3.0
    direction = "at most"
    warm_ups = 0

    def __init__(self, inputs: Inputs, work: str, file: str) -> None:
        """Do `work` (see `footprint`) on the frame of the inputs called `file`."""
        self.name = f"peak memory, {work}"
        self._inputs, self._work, self._name = inputs, work, file
        self._stages = Stages()
        self._input = 0.0

    @property
    def about(self) -> str:
        """What counts."""
        given = (
            "The input is the frame that the file holds; it is read while working, so nothing of it is there before"
            if self._work == "factors"
            else "The input is in memory before and does not count; result and everything in between does"
        )
        return (
            f"peak resident memory of a process that does it once, beyond what it had when everything was imported and "
            f"compiled (a small part done before). {given}. Reference: the size of the input frame."
        )

    def setup(self) -> None:
        """Write the input."""
        if not Path("/proc/self/clear_refs").exists():
            raise Unmeasurable("only Linux tells a process's peak since a moment (/proc/self/clear_refs)")
        self._file: Path = self._inputs.factor_file if self._work == "factors" else self._inputs.arrow_file(self._name)

    def ours(self) -> float:
        """In a process."""
        command = [sys.executable, "-m", "benchmarks.transforms.footprint", self._work, str(self._file)]
        command.append(str(self._inputs.sizes.window))
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        self._input = told["input"] / MB
        self._stages.add({"MB of the result": told["result"] / MB})
        return float(told["peak"]) / MB

    def reference(self) -> float:
        """As Polars counts its buffers."""
        return self._input

    def details(self) -> Mapping[str, float]:
        """Of which the result."""
        return self._stages.medians()

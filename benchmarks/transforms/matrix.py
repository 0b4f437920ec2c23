"""Rolling correlation of every two symbols, against pandas."""

from collections.abc import Mapping

import numpy as np

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.peers import pandas_rolling
from benchmarks.transforms.equality import same
from benchmarks.transforms.inputs import Inputs
from transforms.correlation.matrix import rolling_correlation_matrices, wide_returns


class Matrix(Measure):
    """Coefficients a second."""

    name = "rolling correlation matrix, pandas"
    unit = "r/s"
    target = 10.0
    direction = "at least"

    def __init__(self, inputs: Inputs) -> None:
        """Work on the `returns` of the inputs."""
        self._inputs = inputs
        self._stages = Stages()

    @property
    def about(self) -> str:
        """Sizes, and how pandas is scaled."""
        panel, window = self._inputs.sizes.matrix, self._inputs.sizes.window
        return (
            f"{panel.symbols:,} symbols x {panel.bars:,} sessions, window {window}: a matrix for each of the "
            f"{panel.bars - window + 1} sessions that have a full one. Ours: rolling_correlation_matrices, all. "
            f"Reference: pandas rolling({window}).corr() of {self._inputs.sizes.sampled_matrix} of the symbols, both "
            "counted by coefficients (all symbols take pandas minutes). "
            "Coefficients agree to 1e-9."
        )

    def setup(self) -> None:
        """Give pandas its frame; compare."""
        self._wide = wide_returns(self._inputs.returns)
        some = self._wide.select(self._wide.columns[: self._inputs.sizes.sampled_matrix + 1])
        self._frame = pandas_rolling.wide(some)
        window = self._inputs.sizes.window
        theirs = pandas_rolling.matrices(self._frame, window)
        ours = [r for _, r in rolling_correlation_matrices(some, window, window)]
        same("r", np.stack(ours), theirs, absolute=1e-9)
        self._windows = len(ours)

    def ours(self) -> float:
        """Every matrix, one after the other."""
        took = seconds(self._consume)
        self._stages.add({"s of ours": took})
        return self._windows * (self._wide.width - 1) ** 2 / took

    def _consume(self) -> None:
        window = self._inputs.sizes.window
        for _ in rolling_correlation_matrices(self._wide, window, window):
            pass

    def reference(self) -> float:
        """All at once, as it does."""
        took = seconds(lambda: pandas_rolling.matrices(self._frame, self._inputs.sizes.window))
        self._stages.add({f"s of pandas, {self._frame.shape[1]} symbols": took})
        return self._windows * float(self._frame.shape[1]) ** 2 / took

    def details(self) -> Mapping[str, float]:
        """Seconds of both."""
        return self._stages.medians()

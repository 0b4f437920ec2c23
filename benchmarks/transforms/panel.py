"""Fourteen factors from disk, against pyqlib."""

from collections.abc import Mapping
from shutil import rmtree
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.peers.pyqlib import Qlib, dump
from benchmarks.transforms.equality import same
from benchmarks.transforms.factors import FACTORS, from_disk, published
from benchmarks.transforms.inputs import Inputs

_FLOAT32 = 2e-6
"""pyqlib rounds to float32 on its way: twice near 1, and ten times that where one difference is divided by another."""


class Factors(Measure):
    """Rows a second; `cached`: pyqlib reads its dataset cache instead of computing."""

    unit = "rows/s"
    direction = "at least"

    def __init__(self, inputs: Inputs, *, cached: bool) -> None:
        """Work on the `factors` of the inputs."""
        self.name = f"14 factors, pyqlib {'with warm caches' if cached else 'without cache'}"
        self.target = 1.5 if cached else 10.0
        self._cached = cached
        self._inputs = inputs
        self._qlib: Qlib | None = None
        self._stages = Stages()

    @property
    def about(self) -> str:
        """With the list."""
        panel = self._inputs.sizes.factors
        caches = (
            "its dataset cache, filled by a run before, as its expression cache is (reading that one alone is slower)"
            if self._cached
            else "its expressions, expression and dataset cache off, what it keeps in memory dropped before each sample"
        )
        versions = self._qlib.versions if self._qlib else {}
        return (
            f"{panel.symbols:,} symbols x {panel.bars:,} days from disk to a frame in memory, {pl.thread_pool_size()} "
            f"cores. Ours: a Parquet file, float64 throughout. Reference: D.features of pyqlib "
            f"{versions.get('pyqlib', '')} on pandas {versions.get('pandas', '')} in a process of its own that reports "
            f"its own seconds (imports left out), from its binary format, float32, {caches}. Values agree to float32's "
            f"precision wherever ours are not null (where a window is not full pyqlib gives values of a shorter one; "
            f"EMA from row 350 on, as the seeds differ). The list: {published()}."
        )

    def setup(self) -> None:
        """Write both formats, start pyqlib and compare the numbers; with caches, that run fills them."""
        folder = self._inputs.folder / f"qlib-{'cached' if self._cached else 'plain'}"
        rmtree(folder, ignore_errors=True)
        folder.mkdir()
        dump(self._inputs.factors, folder)
        self._fields = {name: factor.qlib for name, factor in FACTORS.items()}
        self._qlib = Qlib(folder, pl.thread_pool_size(), cached=self._cached)
        saved = folder / "saved"
        saved.mkdir()
        self._qlib.features(self._fields, saved)
        found = from_disk(self._inputs.factor_file)
        row = np.arange(found.height) % self._inputs.sizes.factors.bars
        for name, factor in FACTORS.items():
            known = found[name].is_not_null().to_numpy() & (row >= factor.settled)
            theirs = np.fromfile(saved / name, "<f4")
            same(
                name,
                found[name].to_numpy()[known],
                theirs[known].astype(np.float64),
                relative=_FLOAT32,
                absolute=_FLOAT32,
            )

    def ours(self) -> float:
        """From the Parquet file."""
        took = seconds(lambda: from_disk(self._inputs.factor_file))
        self._stages.add({"s of ours": took})
        return self._inputs.sizes.factors.rows / took

    def reference(self) -> float:
        """As pyqlib tells it."""
        assert self._qlib is not None
        told: Mapping[str, Any] = self._qlib.features(self._fields)
        self._stages.add({"s of pyqlib": told["seconds"], "MB at pyqlib's peak, one process": told["peak"] / 1e6})
        return float(told["rows"]) / float(told["seconds"])

    def details(self) -> Mapping[str, float]:
        """Seconds."""
        return self._stages.medians()

    def teardown(self) -> None:
        """End pyqlib."""
        if self._qlib is not None:
            self._qlib.close()

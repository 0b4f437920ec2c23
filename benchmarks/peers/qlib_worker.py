"""pyqlib in a process and an environment of its own: `python qlib_worker.py`, JSON lines in and out.

It cannot share ours: its mlflow holds pyarrow back. Nothing but pyqlib, what comes with it and the standard library
is imported here. The first line it reads says how to start (see `start`), every further one asks for the dataset once
(see `answer`). Imports and start are outside the seconds it reports.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def start(wish: dict[str, Any]) -> dict[str, str]:
    """Begin on a folder of pyqlib's binary files; with `redis` (port, password) its disk caches are on.

    `kernels`: processes that compute; 1 computes in this one.
    """
    import pandas
    import qlib

    caches: dict[str, Any] = {"expression_cache": None, "dataset_cache": None}
    if wish["redis"]:
        caches = {"expression_cache": "DiskExpressionCache", "dataset_cache": "DiskDatasetCache"}
        caches |= {"redis_port": wish["redis"]["port"], "redis_password": wish["redis"]["password"], "redis_task_db": 0}
    qlib.init(provider_uri=wish["folder"], region="us", kernels=wish["kernels"], logging_level=30, **caches)
    return {"pyqlib": qlib.__version__, "pandas": pandas.__version__}


def answer(wish: dict[str, Any]) -> dict[str, float]:
    """All `fields` (name -> expression) of all instruments; `save` writes them as raw float32, a file a field.

    `disk_cache` 1 reads and fills the disk caches, 0 computes; what is kept in memory between calls is dropped first.
    """
    from qlib.data import D
    from qlib.data.cache import H

    H.clear()
    gc.collect()
    with _peak() as peak:
        started = time.perf_counter()
        frame = D.features(
            D.instruments("all"), list(wish["fields"].values()), freq="day", disk_cache=wish["disk_cache"]
        )
        seconds = time.perf_counter() - started
    if wish["save"]:
        ordered = frame.sort_index(level=["instrument", "datetime"])
        for name, expression in wish["fields"].items():
            ordered[expression].to_numpy("float32").tofile(Path(wish["save"]) / name)
    return {"seconds": seconds, "rows": len(frame), "peak": peak[0]}


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Bytes this process came to have more than it had before; 0 where the system does not tell."""
    told = [0]
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield told
        return
    before = _status("VmRSS")
    yield told
    told[0] = _status("VmHWM") - before


def _status(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Serve until the input ends; whatever the libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    told: dict[str, Any] = start(json.loads(sys.stdin.readline()))
    print(json.dumps(told), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()

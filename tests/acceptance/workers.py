"""Real processes that ingest, refresh and publish, to be killed or stopped.

They are forked from a process that has imported everything already, so that a start costs what connecting costs.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_char
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any, Final

import pytest

from flows import steps
from flows.sources import Source
from flows.sources_of import sources_of
from flows.wiring import Deps, wire
from storage.market.runs import Run, RunStore
from storage.settings import Settings, SourceSettings

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
IDLE: Final = b"."
"""What a worker says it does between its steps; within, `i`, `r` or `p`."""


class Worker:
    """A process and what it says it is doing."""

    def __init__(self, task: Callable[..., None], *args: object) -> None:
        self._doing: Any = RawValue(c_char, IDLE)
        self._stop: Any = RawValue(c_char, b"0")
        self.process: ForkServerProcess = CONTEXT.Process(target=task, args=(*args, self._doing, self._stop))
        self.process.start()

    @property
    def doing(self) -> bytes:
        return bytes(self._doing.value)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.join(30)

    def ask_to_end(self) -> None:
        """After the round it is in."""
        self._stop.value = b"1"

    def ended_well(self, seconds: float = 240) -> bool:
        """Whether it came to its end, and to a good one."""
        self.process.join(seconds)
        return self.process.exitcode == 0

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def sources(deps: Deps, data: Path) -> list[Source]:
    """Parts of the real data, small enough to be ingested many times."""
    files = {
        "ticks": SourceSettings(path=str(data / "ticks.parquet"), dataset="ticks"),
        "daily": SourceSettings(
            path=str(data / "daily.parquet"), dataset="bars", granularity="1d", price_basis="split"
        ),
        "twitter": SourceSettings(path=str(data / "sentiment.parquet"), dataset="sentiment"),
        "actions": SourceSettings(path=str(data / "actions.parquet"), dataset="actions"),
    }
    return sources_of(deps, files.items(), datetime.now(UTC))


def ingester(settings: Settings, data: Path, doing: Any, _: Any) -> None:
    """Ingest once."""
    with wire(settings) as deps, told(doing):
        steps.ingest(deps, sources(deps, data), datetime.now(UTC))


def refresher(settings: Settings, doing: Any, stop: Any) -> None:
    """Refresh and publish until asked to end."""
    with wire(settings) as deps, told(doing):
        while stop.value == b"0":
            steps.refresh(deps, datetime.now(UTC))
            steps.publish(deps, datetime.now(UTC))
            time.sleep(0.02)


@contextmanager
def told(doing: Any) -> Iterator[None]:
    """Say what run is in progress, by its first letter."""
    original = RunStore.run

    @contextmanager
    def run(store: RunStore, kind: str, as_of: datetime) -> Iterator[Run]:
        with original(store, kind, as_of) as record:
            doing.value = kind[0].encode()
            yield record
            doing.value = IDLE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunStore, "run", run)
        yield

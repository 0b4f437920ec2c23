"""Helpers for tests of the embedded servers: programs that use a pair, and looking at processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).parents[2]
USER = """
import json, sys
from pathlib import Path
from storage.embedded import embedded
from transforms.errors import PipelineError
try:
    with embedded(Path(sys.argv[1])) as servers:
        pids = [servers.supervisor_pid, servers.postgres_pid, servers.redis_pid]
        print(json.dumps({"pids": pids, "url": servers.database_url, "redis": servers.redis_url}), flush=True)
        sys.stdin.read()
except PipelineError as exc:
    print(json.dumps({"error": str(exc)}), flush=True)
"""


class User:
    """Another program that uses the pair of `home` until it is told to end, or killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._said: dict[str, Any] | None = None

    def said(self) -> dict[str, Any]:
        """Wait until it has the pair, or an error; its pids are the supervisor, PostgreSQL and Valkey."""
        if self._said is None:
            assert self.process.stdout is not None
            self._said = json.loads(self.process.stdout.readline())
        return self._said

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._end()

    def _end(self) -> None:
        self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._end()


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not waited for by its new parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def processes_in(directory: Path) -> list[str]:
    """Processes that work in the directory or name it on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
            if any(str(directory) in place for place in places) and process.pid != os.getpid():
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
        except psutil.Error:  # it ended while we looked
            continue
    return found


def kill(*pids: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, with_signal)

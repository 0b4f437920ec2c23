"""The record of what ran: one row a run, finished, failed or lost, and its summary.

A run holds a session lock on its id, which the server releases when its process is gone: a row that says `running`
without that lock is of a run that was killed. It is shown as `lost`, and written down as such by the next process
that runs anything.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any

import orjson

from storage.market.database import Database
from storage.market.locks import RUN_LOCK, living_runs, unlock_run
from transforms.errors import StoreUnavailable

LOST = "its process ended without a word"
_COLUMNS = ("id", "kind", "state", "as_of", "started_at", "finished_at", "summary", "error")


@dataclass(slots=True)
class Run:
    """A run in progress; what is put into `summary` is stored with it when it ends."""

    id: int
    as_of: datetime
    summary: dict[str, Any] = field(default_factory=dict)


class RunStore:
    """The table `runs`. Thread-safe."""

    def __init__(self, database: Database) -> None:
        """Record in `database`."""
        self._database = database
        self._looked = False
        self._lock = threading.Lock()

    @contextmanager
    def run(self, kind: str, as_of: datetime) -> Iterator[Run]:
        """Record a run; an exception inside is recorded as its error and goes on."""
        run = Run(self._started(kind, as_of), as_of)
        try:
            yield run
        except BaseException as exc:
            self._finish(run, "failed", f"{type(exc).__name__}: {exc}")
            raise
        self._finish(run, "finished", None)

    def last(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest runs, newest first; `lost` are those whose process is gone."""
        found = self._newest(limit)
        suspects = self._abandoned([run["id"] for run in found if run["state"] == "running"])
        if suspects:  # one that ended between the two looks has its end by now
            found = self._newest(limit, newest=max(run["id"] for run in found))
        return [
            run | {"state": "lost", "error": LOST} if run["state"] == "running" and run["id"] in suspects else run
            for run in found
        ]

    def _started(self, kind: str, as_of: datetime) -> int:
        with self._lock:
            looked, self._looked = self._looked, True
        with self._database.kept() as connection:
            row = connection.execute(
                "INSERT INTO runs (kind, state, code_version, as_of) VALUES (%s, 'running', %s, %s)"
                f" RETURNING id, {RUN_LOCK}",
                [kind, version("warmbars"), as_of],
            ).fetchone()
        assert row is not None
        if not looked:
            self._bury()
        return int(row[0])

    def _bury(self) -> None:
        """Write down what was lost; asked for once a process, since it reads the whole table."""
        with self._database.kept() as connection:
            running = connection.execute("SELECT id FROM runs WHERE state = 'running'").fetchall()
        suspects = self._abandoned([row[0] for row in running])
        if suspects:
            with self._database.kept() as connection:
                connection.execute(
                    "UPDATE runs SET state = 'lost', error = %s WHERE id = ANY(%s) AND state = 'running'",
                    [LOST, sorted(suspects)],
                )

    def _abandoned(self, ids: Sequence[int]) -> set[int]:
        """Runs without a process: asked after their rows were read, and their end is written before they unlock."""
        if not ids:
            return set()
        with self._database.kept() as connection:
            return {*ids} - living_runs(connection, ids)

    def _newest(self, limit: int, newest: int | None = None) -> list[dict[str, Any]]:
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE id <= coalesce(%s, id) ORDER BY id DESC LIMIT %s",
                [newest, limit],
            ).fetchall()
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def _finish(self, run: Run, state: str, error: str | None) -> None:
        try:
            self._end(run, state, error)
        except StoreUnavailable:  # the connection it began on may be gone, and the server well
            self._end(run, state, error)

    def _end(self, run: Run, state: str, error: str | None) -> None:
        with self._database.kept() as connection:
            connection.execute(
                "UPDATE runs SET state = %s, finished_at = clock_timestamp(), summary = %s, error = %s WHERE id = %s",
                [state, orjson.dumps(run.summary).decode(), error, run.id],
            )
            unlock_run(connection, run.id)

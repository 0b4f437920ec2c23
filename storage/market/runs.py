"""The record of what ran: one row a run, finished or failed, and its summary."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any

import orjson

from storage.market.database import Database


@dataclass(slots=True)
class Run:
    """A run in progress; what is put into `summary` is stored with it when it ends."""

    id: int
    as_of: datetime
    summary: dict[str, Any] = field(default_factory=dict)


class RunStore:
    """The table `runs`."""

    def __init__(self, database: Database) -> None:
        """Record in `database`."""
        self._database = database

    @contextmanager
    def run(self, kind: str, as_of: datetime) -> Iterator[Run]:
        """Record a run; an exception inside is recorded as its error and goes on."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO runs (kind, state, code_version, as_of) VALUES (%s, 'running', %s, %s) RETURNING id",
                [kind, version("warmbars"), as_of],
            ).fetchone()
        assert row is not None
        run = Run(row[0], as_of)
        try:
            yield run
        except BaseException as exc:
            self._finish(run, "failed", f"{type(exc).__name__}: {exc}")
            raise
        self._finish(run, "finished", None)

    def last(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest runs, newest first."""
        columns = ("id", "kind", "state", "as_of", "started_at", "finished_at", "summary", "error")
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(columns)} FROM runs ORDER BY id DESC LIMIT %s", [limit]
            ).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _finish(self, run: Run, state: str, error: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET state = %s, finished_at = clock_timestamp(), summary = %s, error = %s WHERE id = %s",
                [state, orjson.dumps(run.summary).decode(), error, run.id],
            )

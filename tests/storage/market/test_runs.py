"""The record of runs tells those that ended, those at work and those whose process is gone."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.wiring import Deps, wire
from storage.market.runs import LOST
from storage.settings import Settings

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
NOW = datetime(2024, 1, 3, 17, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from datetime import UTC, datetime
from storage.market.database import Database
from storage.market.runs import RunStore
from storage.settings import Settings
with Database(sys.argv[1], Settings()) as database, RunStore(database).run("refresh", datetime.now(UTC)):
    print("running", flush=True)
    sys.stdin.read()
"""


def states(deps: Deps) -> list[tuple[str, str]]:
    return [(run["kind"], run["state"]) for run in deps.runs.last(10)]


@pytest.fixture
def killed(deps: Deps) -> None:
    """A run whose process was killed; seen at work before."""
    command = [sys.executable, "-c", PROGRAM, deps.database.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        assert states(deps) == [("refresh", "running")]
        process.kill()
    while deps.runs.last(1)[0]["state"] == "running":  # the server has yet to notice
        pass


def test_a_run_whose_process_was_killed_is_lost(deps: Deps, killed: None) -> None:
    with deps.runs.run("publish", NOW):
        assert states(deps) == [("publish", "running"), ("refresh", "lost")]
    assert states(deps) == [("publish", "finished"), ("refresh", "lost")]
    assert deps.runs.last(2)[1]["error"] == LOST


def test_the_next_process_writes_down_what_was_lost(settings: Settings, deps: Deps, killed: None) -> None:
    with deps.runs.run("ingest", NOW), wire(settings) as other, other.runs.run("publish", NOW):
        with deps.database.transaction() as connection:
            rows = connection.execute("SELECT state, error, finished_at FROM runs ORDER BY id").fetchall()
        assert rows == [("lost", LOST, None), ("running", None, None), ("running", None, None)]


def test_a_run_that_lost_its_connection_still_ends(deps: Deps) -> None:
    with deps.runs.run("refresh", NOW), deps.database.transaction() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = current_user AND pid <> pg_backend_pid()"
        )
    assert states(deps) == [("refresh", "finished")]


def test_a_finished_run_holds_no_lock(deps: Deps) -> None:
    for _ in range(3):
        with deps.runs.run("refresh", NOW):
            pass
    with deps.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)

"""Connections that break, and how many there are."""

import threading

import pytest

from flows.wiring import Deps
from storage.market.database import Database, statement
from transforms.errors import StoreUnavailable

pytestmark = pytest.mark.postgres
READ = statement("SELECT pg_backend_pid() AS pid")


def backends(deps: Deps) -> int:
    query = "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'wb_app'"
    return int(deps.database.frame(statement(query)).item())


def test_frames_are_read_again_after_the_connection_broke(deps: Deps) -> None:
    pid = deps.database.frame(READ).item()
    with deps.database.transaction() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(StoreUnavailable):
        deps.database.frame(READ)
    assert deps.database.frame(READ).item() != pid


def test_threads_that_end_leave_no_connection_behind(deps: Deps) -> None:
    before = backends(deps)
    for _ in range(5):
        thread = threading.Thread(target=deps.database.frame, args=[READ])
        thread.start()
        thread.join()
    assert backends(deps) == before


def test_a_failed_read_leaves_the_next_one_unharmed(deps: Deps) -> None:
    with pytest.raises(Exception, match="no_such_column"):
        deps.database.frame(statement("SELECT no_such_column"))
    assert deps.database.frame(READ).height == 1


def test_a_snapshot_shows_one_moment(deps: Deps) -> None:
    count = statement("SELECT count(*) AS n FROM runs")
    with deps.database.snapshot() as snapshot:
        before = snapshot.frame(count).item()
        with deps.database.transaction() as connection:
            connection.execute("INSERT INTO runs (kind, state, code_version, as_of) VALUES ('x', 'x', 'x', now())")
        assert snapshot.frame(count).item() == before
    assert deps.database.frame(count).item() == before + 1


def test_a_closed_database_opens_again_when_it_is_needed(deps: Deps) -> None:
    assert isinstance(deps.database, Database)
    deps.database.close()
    assert deps.database.frame(READ).height == 1

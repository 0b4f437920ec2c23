"""A real process that is stopped in the middle of its work blocks nobody, and puts nothing old back when it goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import psutil
import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.cache.publisher import CachePublisher
from storage.market.derived import Claim
from storage.market.outbox import Outbox
from storage.settings import Settings
from tests.acceptance.projection import differing, projection
from tests.acceptance.workers import Worker
from tests.flows.test_refresh import EVENING, replace, rows
from tests.flows.watch import Watch
from tests.storage.market.rows import ticks
from tests.storage.servers import until

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

REFRESH, PUBLISH = "refresh", "publish"
PATIENCE = 240.0


def once(settings: Settings, step: str, where: str, doing: Any, _: Any) -> None:
    """Refresh or publish once, and stop in it: in a claim (`idle`: so long that it is ended), or around sending."""
    owner, method = {
        "idle": (Claim, "write"),
        "committing": (Claim, "publish"),
        "sending": (CachePublisher, "send"),
        "marking": (Outbox, "sent"),
    }[where]
    with wire(settings) as deps, pytest.MonkeyPatch.context() as patch:
        original: Callable[..., object] = getattr(owner, method)

        def stopping(*args: Any, **named: Any) -> object:
            patch.undo()
            if where == "idle":
                args[0].connection.execute("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
            doing.value = b"s"
            os.kill(os.getpid(), signal.SIGSTOP)
            doing.value = b"w"
            return original(*args, **named)

        patch.setattr(owner, method, stopping)
        getattr(steps, step)(deps, EVENING)


@pytest.fixture
def stop() -> Iterator[Callable[..., Worker]]:
    """Start a process that stops where it is told; it is not left behind."""
    started: list[Worker] = []

    def start(settings: Settings, step: str, where: str) -> Worker:
        worker = Worker(once, settings, step, where)
        started.append(worker)
        until(lambda: worker.doing == b"s" and psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, PATIENCE)
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def both(deps: Deps) -> Deps:
    """Two symbols, refreshed and published, and then a change of the first."""
    replace(deps, pl.concat([ticks(70), ticks(70, symbol="BBB")]))
    renew(deps)
    replace(deps, ticks(80, price=20.0))
    return deps


def renew(deps: Deps) -> steps.Refreshed:
    refreshed = steps.refresh(deps, EVENING)
    steps.publish(deps, EVENING)
    return refreshed


def test_a_stopped_refresher_blocks_neither_other_symbols_nor_any_ingest(
    both: Deps, settings: Settings, stop: Callable[..., Worker]
) -> None:
    watch = Watch(both)
    stuck = stop(settings, REFRESH, "committing")
    replace(both, ticks(90, price=30.0))
    replace(both, ticks(90, symbol="BBB", price=40.0))
    refreshed = renew(both)
    watch.look()
    assert refreshed.busy == {"AAA"}
    assert rows(both, "SELECT symbol, high FROM bars_1d ORDER BY 1") == [("AAA", 10.69), ("BBB", 40.89)]
    stuck.signal(signal.SIGCONT)
    assert stuck.ended_well()
    watch.look()
    assert renew(both).busy == set()
    watch.look()
    assert rows(both, "SELECT symbol, high FROM bars_1d ORDER BY 1") == [("AAA", 30.89), ("BBB", 40.89)]


@pytest.mark.parametrize("end", ["idle", "cut off"])
def test_a_refresher_that_wakes_up_after_the_server_gave_it_up_changes_nothing(
    both: Deps, settings: Settings, stop: Callable[..., Worker], end: str
) -> None:
    """Its transaction sat idle too long, or its connection was lost; somebody else did its work meanwhile."""
    named = settings.model_copy(update={"application_name": "stuck"})
    stuck = stop(named, REFRESH, "idle" if end == "idle" else "committing")
    replace(both, ticks(90, price=30.0))
    if end == "cut off":
        rows(both, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stuck'")
    until(lambda: "AAA" not in renew(both).busy, PATIENCE)
    content, watch = projection(both), Watch(both)
    watch.look()
    stuck.signal(signal.SIGCONT)
    stuck.process.join(PATIENCE)
    assert stuck.process.exitcode == 1  # it says that its connection is gone
    watch.look()
    assert differing(projection(both), content) == []
    assert rows(both, "SELECT high FROM bars_1d WHERE symbol = 'AAA'") == [(30.89,)]
    failed = [run["error"] for run in both.runs.last(100) if run["state"] == "failed"]
    assert len(failed) == 1
    assert failed[0].startswith("StoreUnavailable")


@pytest.mark.parametrize("where", ["sending", "marking"])
def test_a_publisher_that_wakes_up_late_puts_no_old_version_back(
    both: Deps, settings: Settings, stop: Callable[..., Worker], where: str
) -> None:
    steps.refresh(both, EVENING)
    late, watch = stop(settings, PUBLISH, where), Watch(both)
    watch.look()
    replace(both, ticks(90, price=30.0))
    renew(both)
    watch.look()
    content, versions = projection(both), both.outbox.versions()
    late.signal(signal.SIGCONT)
    assert late.ended_well()
    watch.look()
    assert differing(projection(both), content) == []
    assert both.outbox.pending() == []
    sent = rows(both, "SELECT symbol, published_epoch, published_version FROM publications")
    assert {str(symbol): tuple(version) for symbol, *version in sent} == versions
    assert both.reader().bars("AAA", "1d").value["high"].to_list() == [30.89]
    assert (_refused(both) > 0) == (where == "sending")


def _refused(deps: Deps) -> int:
    heads = [deps.reader().head(symbol) for symbol in deps.outbox.versions()]
    return sum(head.refused for head in heads if head is not None)


def test_a_claim_held_open_is_waited_for_by_nobody(both: Deps, settings: Settings) -> None:
    """Not even by a start or a publisher, though its version is drawn: one that waited would be ended after 5 s."""
    with both.derived.claim(["AAA"], EVENING, 1_000, 1) as claim:
        claim.publish(["AAA"], EVENING)
        with wire(settings.model_copy(update={"query_timeout_seconds": 5})) as other:
            assert renew(other).busy == {"AAA"}

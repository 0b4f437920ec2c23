"""Refresh: what becomes of dirty windows, and that nothing is lost whoever interferes."""

import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows import steps
from flows.wiring import Deps
from storage.market.database import statement
from storage.market.raw import Written
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
ZONE = "America/New_York"
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
EVENING = datetime(2024, 1, 3, 23, tzinfo=UTC)


def rows(deps: Deps, query: str) -> list[tuple[object, ...]]:
    return deps.database.frame(statement(query)).rows()


def versions(deps: Deps) -> dict[str, int]:
    return {symbol: version for symbol, (_, version) in deps.outbox.versions().items()}


def replace(deps: Deps, frame: pl.DataFrame) -> None:
    sum(deps.raw.replace(tick_rows(frame), ZONE), Written())


def test_every_interval_follows_from_the_minutes(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=OPEN)))
    steps.refresh(deps, EVENING)
    for interval in ("1h", "1d"):
        found = rows(deps, f"SELECT timestamp, open, high, low, close, volume FROM bars_{interval}")
        assert found == [(OPEN, 10.0, 11.09, 9.0, 10.09, 1000.0)]
    fives = rows(deps, "SELECT timestamp, open, close, volume FROM bars_5m ORDER BY 1")
    assert fives == [(OPEN, 10.0, 10.04, 500.0), (OPEN + timedelta(minutes=5), 10.05, 10.09, 500.0)]


def test_nothing_due_means_nothing_done(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=OPEN)))
    steps.refresh(deps, EVENING)
    before = versions(deps)
    again = steps.refresh(deps, EVENING)
    assert (again.windows, again.rows, versions(deps)) == (0, {}, before)


def test_a_bar_closes_because_time_passes(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(7, start=OPEN)))
    at = OPEN + timedelta(minutes=7)
    steps.refresh(deps, at)
    assert rows(deps, "SELECT count(*) FROM bars_1m") == [(7,)]
    assert rows(deps, "SELECT timestamp FROM bars_5m") == [(OPEN,)]
    assert rows(deps, "SELECT due_at FROM dirty_windows") == [(OPEN + timedelta(minutes=10),)]
    steps.refresh(deps, OPEN + timedelta(minutes=10))
    assert rows(deps, "SELECT count(*) FROM bars_5m") == [(2,)]
    assert rows(deps, "SELECT count(*) FROM bars_1d") == [(0,)]
    steps.refresh(deps, EVENING)
    assert rows(deps, "SELECT count(*) FROM bars_1d") == [(1,)]
    assert rows(deps, "SELECT count(*) FROM dirty_windows") == [(0,)]


def test_the_quote_shows_the_running_session(deps: Deps) -> None:
    yesterday = minutes(5, start=OPEN - timedelta(days=1), price=8.0)
    deps.raw.upsert(bar_rows(pl.concat([yesterday, minutes(3, start=OPEN)])))
    steps.refresh(deps, OPEN + timedelta(minutes=3))
    found = rows(deps, "SELECT last, open, high, low, volume, previous_close, change FROM quotes")
    assert found == [pytest.approx((10.02, 10.0, 11.02, 9.0, 300.0, 8.04, 10.02 - 8.04))]


def test_one_late_tick_changes_only_its_symbol_and_the_market(deps: Deps) -> None:
    replace(deps, pl.concat([ticks(60, symbol="AAA"), ticks(60, symbol="BBB")]))
    steps.refresh(deps, datetime.now(UTC))
    before = versions(deps)
    late = ticks(1, symbol="AAA", start=NOON + timedelta(seconds=70), price=99.0)
    replace(deps, pl.concat([ticks(60, symbol="AAA"), late]))
    steps.refresh(deps, datetime.now(UTC))
    changed = {symbol for symbol, version in versions(deps).items() if version != before.get(symbol)}
    assert changed == {"AAA", "@market"}
    assert rows(deps, "SELECT high FROM bars_1d WHERE symbol = 'AAA'") == [(99.0,)]


def test_a_deleted_last_trade_takes_its_bars_along(deps: Deps) -> None:
    replace(deps, ticks(90))
    steps.refresh(deps, datetime.now(UTC))
    assert rows(deps, "SELECT count(*) FROM bars_1m") == [(2,)]
    replace(deps, ticks(30))
    steps.refresh(deps, datetime.now(UTC))
    assert rows(deps, "SELECT timestamp, volume FROM bars_1m") == [(NOON, 3000.0)]


def test_a_failure_before_the_end_leaves_everything_as_it_was(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(deps, ticks(90))

    def fail(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("storage.market.derived.Claim.publish", fail)
        with pytest.raises(RuntimeError, match="killed"):
            steps.refresh(deps, datetime.now(UTC))
    assert rows(deps, "SELECT count(*) FROM bars_1m") == [(0,)]
    assert rows(deps, "SELECT count(*) FROM dirty_windows") == [(1,)]
    assert rows(deps, "SELECT state, error FROM runs WHERE kind = 'refresh'") == [("failed", "RuntimeError: killed")]
    steps.refresh(deps, datetime.now(UTC))
    assert rows(deps, "SELECT count(*) FROM bars_1m") == [(2,)]


def test_a_change_that_lands_during_a_refresh_is_not_lost(deps: Deps) -> None:
    replace(deps, ticks(30))
    with deps.runs.run("test", NOON) as run:
        now = datetime.now(UTC)
        with deps.derived.claim(["AAA"], now, 1_000, run.id) as claim:
            replace(deps, ticks(90))  # lands after the claim selected its windows
            market = deps.market("XNYS", now)
            steps.recompute(deps.derived, claim, market, now, deps.retention.frozen([]))
    assert rows(deps, "SELECT count(*) FROM dirty_windows WHERE symbol = 'AAA'") == [(1,)]
    steps.refresh(deps, datetime.now(UTC))
    assert rows(deps, "SELECT count(*), sum(volume) FROM bars_1m") == [(2, 9000.0)]


def test_a_symbol_somebody_else_refreshes_is_left_to_them(deps: Deps) -> None:
    replace(deps, pl.concat([ticks(30, symbol="AAA"), ticks(30, symbol="BBB")]))
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with deps.derived.claim(["AAA"], datetime.now(UTC), 1_000, 0):
            holding.set()
            done.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    holding.wait(30)
    refreshed = steps.refresh(deps, datetime.now(UTC))
    done.set()
    other.join()
    assert refreshed.busy == {"AAA"}
    assert rows(deps, "SELECT DISTINCT symbol FROM bars_1m") == [("BBB",)]


def test_what_is_published_reads_back_as_stored(deps: Deps) -> None:
    replace(deps, ticks(3000))
    now = datetime.now(UTC)
    steps.refresh(deps, now)
    published = steps.publish(deps, now)
    assert published.symbols == 2
    cached = deps.reader().bars("AAA", "5m")
    stored = rows(deps, "SELECT timestamp, open, high, low, close, volume FROM bars_5m ORDER BY 1")
    assert cached.origin == "cache"
    assert not cached.stale
    assert cached.value.rows() == stored
    assert steps.publish(deps, now).symbols == 0


def test_a_flushed_cache_is_refilled_by_the_sweep(deps: Deps) -> None:
    replace(deps, ticks(100))
    now = datetime.now(UTC)
    steps.refresh(deps, now)
    steps.publish(deps, now)
    before = deps.reader().bars("AAA", "1m")
    for key in deps.client.scan_iter(match=f"wb:1:{deps.settings.namespace}:*"):
        deps.client.delete(key)
    assert steps.sweep(deps).symbols == 2
    after = deps.reader().bars("AAA", "1m")
    assert (after.origin, after.etag, after.version) == ("cache", before.etag, before.version)

"""Edges of refresh and publish at which rows were once lost, or numbers wrong."""

import time
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flows import derive, steps
from flows.wiring import Deps, wire
from storage.market.calendars import CalendarStore
from storage.market.database import statement
from storage.market.raw import Rows, Written
from storage.settings import Settings
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks
from transforms.calendars import calendar_sessions, market_timezone
from transforms.errors import PermanentError
from transforms.schema import ACTIONS

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
ZONE = "America/New_York"
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
EVENING = datetime(2024, 1, 3, 23, tzinfo=UTC)
DAY = timedelta(days=1)


def rows(deps: Deps, query: str) -> list[tuple[object, ...]]:
    return deps.database.frame(statement("SELECT " + query)).rows()


def replace(deps: Deps, frame: pl.DataFrame) -> None:
    sum(deps.raw.replace(tick_rows(frame), ZONE), Written())


def vendor(granularity: str, *starts: datetime, source: str = "test", price: float = 10.0) -> pl.DataFrame:
    """A vendor's bars that close at `price`."""
    bars = [minutes(1, start=start, price=price) for start in starts]
    return pl.concat(bars).with_columns(granularity=pl.lit(granularity), source=pl.lit(source))


def announce(deps: Deps, ex_date: date, value: float, market: str = "XNYS") -> None:
    split = pl.DataFrame([("AAA", ex_date, "split", "news", 0, value)], schema=ACTIONS, orient="row")
    deps.raw.upsert(Rows("actions", split, "raw", market, 1))


def before_the_open(start: datetime) -> pl.DataFrame:
    """One trade that counts in no regular session."""
    return ticks(1, start=start - timedelta(hours=6))


def test_the_quote_of_a_day_taken_back_is_that_of_the_day_before(deps: Deps) -> None:
    replace(deps, pl.concat([ticks(90), ticks(90, start=NOON + DAY, price=50.0)]))
    steps.refresh(deps, EVENING + DAY)
    replace(deps, before_the_open(NOON + DAY))
    steps.refresh(deps, EVENING + DAY)
    assert rows(deps, "timestamp, session, last FROM quotes") == [
        (NOON + timedelta(minutes=1), date(2024, 1, 3), 10.89)
    ]


def test_a_symbol_with_no_bars_left_keeps_no_keys(deps: Deps) -> None:
    replace(deps, ticks(90))
    steps.refresh(deps, EVENING)
    steps.publish(deps, EVENING)
    replace(deps, before_the_open(NOON))
    steps.refresh(deps, EVENING)
    assert steps.publish(deps, EVENING).deleted > 5
    assert rows(deps, "count(*) FROM quotes") == [(0,)]
    prefix = f"wb:1:{deps.settings.namespace}:{{AAA}}:"
    assert [key.decode() for key in deps.client.scan_iter(match=f"{prefix}*")] == [f"{prefix}head"]
    assert steps.sweep(deps).symbols == 0


@pytest.mark.parametrize("kept", [("1m",), ("1m", "1h")])
def test_there_is_a_quote_without_daily_bars(settings: Settings, kept: tuple[str, ...]) -> None:
    with wire(settings.model_copy(update={"intervals": kept})) as deps:
        deps.raw.upsert(bar_rows(pl.concat([minutes(5, price=8.0), minutes(3, start=OPEN + DAY)])))
        steps.refresh(deps, OPEN + DAY + timedelta(minutes=3))
        assert rows(deps, "last, volume, previous_close FROM quotes") == [(10.02, 300.0, 8.04)]


def test_an_hour_stamped_before_the_open_makes_its_day_when_that_closes(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(vendor("1h", OPEN - timedelta(minutes=30))))
    steps.refresh(deps, OPEN + timedelta(hours=1))
    steps.refresh(deps, EVENING)
    assert rows(deps, "session, close FROM bars_1d") == [(date(2024, 1, 3), 10.0)]
    assert deps.derived.pending() == (0, None)


def test_minutes_give_way_to_trades_when_only_their_coverage_is_new(deps: Deps) -> None:
    deps.raw.upsert(tick_rows(ticks(30)))
    deps.raw.upsert(bar_rows(minutes(5, start=OPEN)))
    steps.refresh(deps, EVENING)
    assert rows(deps, "count(*) FROM bars_1m") == [(6,)]
    replace(deps, ticks(30))  # the same trades, now known to be all of that day
    steps.refresh(deps, EVENING)
    assert rows(deps, "timestamp FROM bars_1m") == [(NOON,)]


def test_replaced_minutes_leave_the_days_of_their_source_alone(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(vendor("1d", OPEN)))
    for count, removed in ((3, 0), (2, 1)):
        assert sum(deps.raw.replace(bar_rows(minutes(count)), ZONE), Written()).removed == removed
    assert rows(deps, "granularity, count(*) FROM stock_data GROUP BY 1 ORDER BY 1") == [("1d", 1), ("1m", 2)]


def test_a_replaced_day_is_there_once_it_is_told(deps: Deps) -> None:
    told = deps.raw.replace(tick_rows(ticks(3)), ZONE)
    next(told)
    assert rows(deps, "count(*) FROM stock_ticks") == [(3,)]


def test_a_split_holds_from_the_open_where_that_is_the_evening_before(deps: Deps) -> None:
    """Sydney opens at 23:00 UTC of the day before in summer."""
    deps.raw.upsert(Rows("bars", vendor("1d", datetime(2024, 1, 1, 23, tzinfo=UTC)), "raw", "XASX", 1))
    announce(deps, date(2024, 1, 4), 2.0, "XASX")
    opens = datetime(2024, 1, 3, 23, tzinfo=UTC)
    for moment, factors in ((opens - timedelta(seconds=1), 0), (opens, 2)):
        steps.refresh(deps, moment)
        assert rows(deps, "count(*) FROM adjustment_factors") == [(factors,)]
    assert deps.derived.pending() == (0, None)


def test_an_archive_is_not_adjusted_for_splits_after_its_end(deps: Deps) -> None:
    """Two vendors' adjusted days; the split came after the last of one and before the last of the other."""
    announce(deps, date(2024, 1, 4), 2.0)
    for frame in (vendor("1d", OPEN, source="archive"), vendor("1d", OPEN - DAY, OPEN + DAY, source="live")):
        deps.raw.upsert(Rows("bars", frame, "split", "XNYS", 1))
    steps.refresh(deps, EVENING + DAY)
    assert rows(deps, "close FROM bars_1d ORDER BY timestamp") == [(20.0,), (10.0,), (10.0,)]


def test_adjusted_days_are_read_anew_once_their_series_passes_a_split(deps: Deps) -> None:
    announce(deps, date(2024, 1, 4), 2.0)
    for start in (OPEN, OPEN + DAY, OPEN + 2 * DAY):
        steps.refresh(deps, start)
        deps.raw.upsert(Rows("bars", vendor("1d", start), "split", "XNYS", 1))
        steps.refresh(deps, start + timedelta(hours=8))
    assert rows(deps, "close FROM bars_1d ORDER BY timestamp") == [(20.0,), (10.0,), (10.0,)]


def test_two_feeds_of_one_tape_are_told_apart_by_session(deps: Deps) -> None:
    """Sydney's session of the 4th lies in two days of UTC, and the better feed lacks the first."""
    start = datetime(2024, 1, 3, 23, tzinfo=UTC)
    other = pl.concat([ticks(1, start=start), ticks(1, start=start + timedelta(hours=2))])
    best = ticks(1, start=start + timedelta(hours=3)).with_columns(source=pl.lit("a better one"))
    for frame in (other, best):
        deps.raw.upsert(Rows("ticks", frame, "raw", "XASX", 1))
    steps.refresh(deps, start + DAY)
    assert rows(deps, "timestamp FROM bars_1m") == [(start + timedelta(hours=3),)]


def test_a_symbol_the_cache_cannot_take_keeps_no_other_from_it(settings: Settings) -> None:
    with wire(settings.model_copy(update={"publish_batch_symbols": 1})) as deps:
        replace(deps, pl.concat([ticks(30), ticks(30, symbol="BBB")]))
        steps.refresh(deps, EVENING)
        deps.client.set(deps.keys.head("AAA"), "no hash")
        with pytest.raises(PermanentError, match="AAA"):
            steps.publish(deps, EVENING)
        assert deps.outbox.pending() == ["AAA"]
        assert deps.reader().bars("BBB", "5m").origin == "cache"


def test_a_refresh_at_work_is_not_taken_for_idle(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly, computed = derive.factors, derive.bars

    def slow(*args: object, **named: object) -> object:
        time.sleep(1.2)
        return computed(*args, **named)  # type: ignore[arg-type]

    def slow_factors(*args: object) -> object:
        time.sleep(1.2)
        return slowly(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(derive, "bars", slow)
    monkeypatch.setattr(derive, "factors", slow_factors)
    with wire(settings.model_copy(update={"idle_timeout_seconds": 2})) as deps:
        announce(deps, date(2024, 1, 2), 2.0)
        replace(deps, ticks(30))
        steps.refresh(deps, EVENING)
        assert rows(deps, "count(*) FROM bars_1m") == [(1,)]


def test_an_epoch_never_falls(deps: Deps) -> None:
    """A refresh may have read the epoch just before a start raised it."""
    replace(deps, ticks(30))
    steps.refresh(deps, EVENING)
    with deps.database.transaction() as connection:
        connection.execute("UPDATE publications SET epoch = epoch + 5")
    replace(deps, ticks(90))
    steps.refresh(deps, EVENING)
    assert rows(deps, "min(epoch) FROM publications") == [(deps.epoch + 5,)]


def test_a_process_of_many_months_hears_of_new_sessions(deps: Deps) -> None:
    last = date(2030, 1, 31)

    def calendar(market: str) -> tuple[str, pl.DataFrame]:
        return market_timezone(market), calendar_sessions(market, date(2024, 1, 1), date(2024, 6, 28)).with_columns(
            pl.when(pl.int_range(pl.len()) == pl.len() - 1).then(pl.lit(last)).otherwise("session").alias("session")
        )

    with deps.database.transaction() as connection:
        connection.execute("DELETE FROM markets WHERE market = 'XLON'")
    store = CalendarStore(deps.database, calendar)
    assert store.hours("XLON", date(2024, 1, 3)).sessions["session"].max() == last
    last = date(2031, 1, 31)
    assert store.hours("XLON", date(2024, 1, 4)).sessions["session"].max() == date(2030, 1, 31)
    assert store.hours("XLON", date(2029, 12, 20)).sessions["session"].max() == last

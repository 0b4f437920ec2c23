"""What was known when: raw rows, coverage and actions by arrival."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import polars as pl
import pytest

from flows.wiring import Deps
from storage.market.database import statement
from storage.market.history import HistoryStore, Known
from storage.market.instruments import InstrumentStore
from storage.market.raw import Rows, Written
from storage.market.removal import Removal, RemovalStore
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks
from transforms.schema import ACTIONS

pytestmark = pytest.mark.postgres
ZONE = "America/New_York"
DAY = timedelta(days=1)


def clock(deps: Deps) -> datetime:
    moment: datetime = deps.database.frame(statement("SELECT clock_timestamp() AS now")).item()
    return moment


@contextmanager
def known(deps: Deps, at: datetime | None) -> Iterator[Known]:
    with HistoryStore(deps.database).known(at) as found:
        yield found


def closes(deps: Deps, at: datetime | None, symbol: str = "AAA") -> list[float]:
    with known(deps, at) as found:
        rows = found.rows("bars", symbol, NOON, NOON + DAY)
    assert set(rows["symbol"]) <= {symbol}
    return rows.sort("timestamp")["close"].to_list()


def prices(deps: Deps, at: datetime | None) -> list[float]:
    with known(deps, at) as found:
        return found.rows("ticks", "AAA", NOON, NOON + DAY).sort("timestamp")["price"].to_list()


def test_a_correction_is_known_from_its_arrival_on(deps: Deps) -> None:
    start = clock(deps)
    deps.raw.upsert(bar_rows(minutes(2)))
    first = clock(deps)
    for price in (9.5, 9.6):
        deps.raw.upsert(bar_rows(minutes(2).with_columns(close=pl.lit(price))))
    assert closes(deps, start) == []
    assert closes(deps, first) == [10.0, 10.01]
    assert closes(deps, None) == closes(deps, clock(deps)) == [9.6, 9.6]


def test_at_every_moment_a_key_has_one_row(deps: Deps) -> None:
    for price in (9.5, 9.6, 9.7):
        deps.raw.upsert(bar_rows(minutes(3).with_columns(close=pl.lit(price))))
    stamps = deps.database.frame(
        statement("SELECT arrived_at AS at FROM stock_data UNION SELECT superseded_at FROM stock_data_history")
    )["at"]
    arrived = deps.database.frame(statement("SELECT DISTINCT arrived_at FROM stock_data_history"))["arrived_at"]
    moments = {*stamps, *arrived}
    assert len(moments) == 3
    assert sorted(closes(deps, moment) for moment in moments) == [[9.5] * 3, [9.6] * 3, [9.7] * 3]


def test_a_deleted_row_was_known_until_then_and_a_renamed_one_goes_along(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(3)))
    there = clock(deps)
    RemovalStore(deps.database).delete(Removal("bars", "AAA", NOON, NOON + timedelta(minutes=2)), 1)
    gone = clock(deps)
    assert (len(closes(deps, there)), len(closes(deps, gone)), len(closes(deps, None))) == (3, 1, 1)
    InstrumentStore(deps.database).rename("AAA", "NEW", NOON, 1)
    assert closes(deps, there) == []
    assert (len(closes(deps, there, "NEW")), len(closes(deps, None, "NEW"))) == (3, 1)


def test_a_replaced_day_and_its_coverage(deps: Deps) -> None:
    start = clock(deps)
    sum(deps.raw.replace(tick_rows(ticks(5)), ZONE), Written())
    first = clock(deps)
    sum(deps.raw.replace(tick_rows(ticks(2, price=12.0)), ZONE), Written())
    assert (prices(deps, start), len(prices(deps, first))) == ([], 5)
    assert prices(deps, None) == [12.0, 12.01]
    RemovalStore(deps.database).delete(Removal("ticks", "AAA"), 1)
    with known(deps, start) as before, known(deps, first) as then, known(deps, None) as now:
        covered = [len(found.coverage(["AAA"], "ticks")) for found in (before, then, now)]
    assert covered == [0, 1, 0]


def test_actions_by_when_they_were_announced(deps: Deps) -> None:
    row = {"symbol": "AAA", "ex_date": date(2024, 1, 3), "action": "split", "source": "news", "ordinal": 0}
    moments = []
    for value in (2.0, 4.0):
        moments.append(clock(deps))
        frame = pl.DataFrame([{**row, "value": value}], schema=ACTIONS)
        deps.raw.upsert(Rows("actions", frame, "raw", "XNYS", 1))
    values = []
    for moment in (*moments, None):
        with known(deps, moment) as found:
            values.append(found.actions(["AAA"])["value"].to_list())
    assert values == [[], [2.0], [4.0]]


def test_where_a_vendors_prices_were_adjusted(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(3)))
    raw = clock(deps)
    deps.raw.upsert(Rows("bars", minutes(2), "split", "XNYS", 1))
    with known(deps, raw) as before, known(deps, None) as now:
        assert before.vendor_adjusted(["AAA"]).is_empty()
        (found,) = now.vendor_adjusted(["AAA"]).to_dicts()
    assert (found["starts_at"], found["ends_at"]) == (NOON, NOON + timedelta(minutes=1, microseconds=1))


def test_bounds_reach_over_everything_there_was(deps: Deps) -> None:
    with known(deps, None) as found:
        assert found.bounds("AAA") is None
    deps.raw.upsert(bar_rows(minutes(3)))
    sum(deps.raw.replace(tick_rows(ticks(1, start=NOON + DAY)), ZONE), Written())
    RemovalStore(deps.database).delete(Removal("ticks", "AAA"), 1)
    with known(deps, clock(deps)) as found:
        assert found.bounds("AAA") == (NOON, NOON + DAY)
    with known(deps, None) as found:
        assert found.bounds("AAA") == (NOON, NOON + timedelta(minutes=2))

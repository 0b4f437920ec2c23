"""Raw rows in: what is new, what differs, what is gone, and that nothing else is touched."""

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.wiring import Deps
from storage.market.database import statement
from storage.market.raw import Written
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks

pytestmark = pytest.mark.postgres
ZONE = "America/New_York"


def replace(deps: Deps, frame: pl.DataFrame) -> Written:
    return sum(deps.raw.replace(tick_rows(frame), ZONE), Written())


def windows(deps: Deps) -> list[tuple[object, ...]]:
    query = "SELECT symbol, dataset, starts_at, ends_at, rows FROM dirty_windows ORDER BY symbol, starts_at"
    return deps.database.frame(statement(query)).rows()


def count(deps: Deps, table: str) -> int:
    return int(deps.database.frame(statement("SELECT count(*) FROM " + table)).item())


def test_new_rows_go_in_with_one_dirty_window(deps: Deps) -> None:
    assert deps.raw.upsert(bar_rows(minutes(10))) == Written(inserted=10, windows=1)
    end = NOON + timedelta(minutes=9, microseconds=1)
    assert windows(deps) == [("AAA", "bars", NOON, end, 10)]


def test_the_same_rows_again_change_nothing(deps: Deps) -> None:
    replace(deps, ticks(50))
    deps.raw.upsert(bar_rows(minutes(10)))
    before = windows(deps)
    assert replace(deps, ticks(50)) == Written(unchanged=50)
    assert deps.raw.upsert(bar_rows(minutes(10))) == Written(unchanged=10)
    assert windows(deps) == before
    assert count(deps, "stock_ticks_history") == count(deps, "stock_data_history") == 0


def test_a_corrected_row_supersedes_the_old_one(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10)))
    corrected = minutes(10).with_columns(close=pl.when(pl.int_range(pl.len()) == 3).then(9.5).otherwise("close"))
    assert deps.raw.upsert(bar_rows(corrected, run_id=2)) == Written(changed=1, unchanged=9, windows=1)
    old = deps.database.frame(statement("SELECT close, run_id, superseded_at > arrived_at FROM stock_data_history"))
    assert old.rows() == [(10.03, 1, True)]
    now = deps.database.frame(statement("SELECT close, run_id FROM stock_data WHERE close = 9.5"))
    assert now.rows() == [(9.5, 2)]


def test_a_replaced_day_is_the_whole_truth_about_that_day(deps: Deps) -> None:
    tomorrow = ticks(20, start=NOON + timedelta(days=1))
    replace(deps, pl.concat([ticks(50), tomorrow]))
    fewer = pl.concat([ticks(50).slice(5, 40), ticks(1, start=NOON + timedelta(hours=1))])
    assert replace(deps, fewer) == Written(inserted=1, removed=10, unchanged=40, windows=1)
    stored = deps.database.frame(
        statement("SELECT symbol, timestamp, source, sequence, price, size, condition FROM stock_ticks ORDER BY 2")
    )
    assert_frame_equal(stored, pl.concat([fewer, tomorrow]))
    assert count(deps, "stock_ticks_history") == 10


def test_a_replaced_day_covers_that_local_day(deps: Deps) -> None:
    replace(deps, ticks(1))
    covered = deps.database.frame(statement("SELECT dataset, starts_at, ends_at FROM coverage"))
    midnight = NOON - timedelta(hours=12)
    assert covered.rows() == [("ticks", midnight, midnight + timedelta(days=1))]


def test_far_apart_changes_make_separate_windows(deps: Deps) -> None:
    sparse = pl.concat([minutes(2), minutes(2, start=NOON + timedelta(days=30)), minutes(1, symbol="BBB")])
    assert deps.raw.upsert(bar_rows(sparse)).windows == 3


def test_rejected_rows_are_kept_once_and_capped(deps: Deps) -> None:
    refused = pl.DataFrame(
        {
            "digest": ["d"] * 5,
            "line": [1, 2, 3, 4, 5],
            "rule": ["high_below_low"] * 5,
            "dataset": ["bars"] * 5,
            "origin": ["file.csv"] * 5,
            "symbol": ["AAA"] * 5,
            "row": ["{}"] * 5,
        }
    )
    assert deps.raw.reject(refused, run_id=1, limit=3) == 3
    assert deps.raw.reject(refused, run_id=2, limit=10) == 2
    assert deps.raw.reject(refused, run_id=3, limit=10) == 0
    assert count(deps, "rejected_rows") == 5

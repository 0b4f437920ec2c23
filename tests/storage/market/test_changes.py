"""Every kind of change of raw rows, and the dirty windows it makes: those, and no others."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.wiring import Deps
from storage.market.database import statement, table_name
from storage.market.raw import Rows, Written
from storage.market.removal import Removal, RemovalStore
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks
from transforms.schema import ACTIONS, SENTIMENT

pytestmark = pytest.mark.postgres
ZONE = "America/New_York"
MIDNIGHT = NOON - timedelta(hours=12)
DAY, SECOND, TICK = timedelta(days=1), timedelta(seconds=1), timedelta(microseconds=1)

Window = tuple[str, str, datetime, datetime, datetime]


def replace(deps: Deps, frame: pl.DataFrame, zone: str = ZONE) -> Written:
    return sum(deps.raw.replace(tick_rows(frame), zone), Written())


def fresh(deps: Deps) -> list[Window]:
    """The windows there are since this was last asked: symbol, dataset, start, end, due."""
    query = "DELETE FROM dirty_windows RETURNING symbol, dataset, starts_at, ends_at, due_at"
    with deps.database.transaction() as connection:
        return sorted((s, d, *(t.astimezone(UTC) for t in times)) for s, d, *times in connection.execute(query))


def rows(deps: Deps, table: str, *columns: str) -> list[tuple[Any, ...]]:
    chosen = pl.DataFrame(deps.database.frame(statement("SELECT * FROM {t} ORDER BY 1, 2, 3, 4", t=table_name(table))))
    return chosen.select(columns).rows() if columns else chosen.rows()


def split(value: float, ex_date: date = date(2024, 1, 3), action: str = "split") -> Rows:
    key = {"symbol": "AAA", "ex_date": ex_date, "action": action, "source": "news", "ordinal": 0}
    return Rows("actions", pl.DataFrame([{**key, "value": value}], schema=ACTIONS), "raw", "XNYS", 1)


def mentions(score: float) -> Rows:
    key = {"symbol": "AAA", "timestamp": NOON, "source": "words", "external_id": "a", "ordinal": 0}
    flags = {"is_retweet": None, "is_duplicate": None}
    row = {**key, "sentiment_score": score, "confidence": 1.0, **flags}
    return Rows("sentiment", pl.DataFrame([row], schema=SENTIMENT), "raw", "XNYS", 1)


def test_appended_and_late_rows_are_dirty_and_nothing_else_is(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10)))
    fresh(deps)
    deps.raw.upsert(bar_rows(minutes(12)))
    first = NOON + timedelta(minutes=10)
    assert fresh(deps) == [("AAA", "bars", first, first + timedelta(minutes=1) + TICK, first)]
    late = NOON - timedelta(days=30)
    deps.raw.upsert(bar_rows(pl.concat([minutes(1, start=late), minutes(12)])))
    assert fresh(deps) == [("AAA", "bars", late, late + TICK, late)]


def test_only_a_weekend_joins_two_days(deps: Deps) -> None:
    friday, monday, wednesday = (NOON + n * DAY for n in (2, 5, 7))
    deps.raw.upsert(bar_rows(pl.concat([minutes(1, start=day) for day in (NOON, friday, monday, wednesday)])))
    assert [(start, end) for _, _, start, end, _ in fresh(deps)] == [
        (NOON, NOON + TICK),
        (friday, monday + TICK),
        (wednesday, wednesday + TICK),
    ]


def test_a_correction_is_dirty_where_it_is_and_keeps_the_old_row(deps: Deps) -> None:
    deps.raw.upsert(mentions(0.5))
    assert len(fresh(deps)) == 1
    deps.raw.upsert(mentions(0.25))
    assert fresh(deps) == [("AAA", "sentiment", NOON, NOON + TICK, NOON)]
    deps.raw.upsert(mentions(0.25))
    assert fresh(deps) == []
    assert rows(deps, "sentiment_data_history", "sentiment_score") == [(0.5,)]


def test_the_same_prices_on_another_basis_are_a_correction(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(2)))
    fresh(deps)
    again = bar_rows(minutes(2))
    assert deps.raw.upsert(Rows("bars", again.frame, "split", "XNYS", 2)) == Written(changed=2, windows=1)
    assert len(fresh(deps)) == 1
    assert rows(deps, "stock_data_history", "price_basis") == [("raw",), ("raw",)]


def test_a_change_of_one_source_leaves_the_others_rows_alone(deps: Deps) -> None:
    other = minutes(3).with_columns(source=pl.lit("other"))
    deps.raw.upsert(bar_rows(pl.concat([minutes(3), other])))
    fresh(deps)
    lower = other.with_columns(low=pl.col("low") - 1).head(1)
    assert deps.raw.upsert(bar_rows(lower)) == Written(changed=1, windows=1)
    assert fresh(deps) == [("AAA", "bars", NOON, NOON + TICK, NOON)]
    assert rows(deps, "stock_data_history", "source") == [("other",)]


@pytest.mark.parametrize(
    ("after", "expected", "first", "last"),
    [
        ("identical", Written(unchanged=10), None, None),
        ("fewer", Written(removed=3, unchanged=7, windows=1), 7, 9),
        ("more", Written(inserted=2, unchanged=10, windows=1), 10, 11),
        ("reordered", Written(inserted=2, removed=1, unchanged=8, changed=1, windows=1), 4, 4),
    ],
)
def test_a_replaced_day_is_dirty_where_it_differs(
    deps: Deps, after: str, expected: Written, first: int | None, last: int | None
) -> None:
    before = ticks(10)
    if after == "reordered":  # two trades of one second change places, and one of them gets a later number
        before = pl.concat([ticks(4), _two(0, 1, 10.0, 11.0), ticks(4, start=NOON + 5 * SECOND)])
    replace(deps, before)
    fresh(deps)
    arrived = rows(deps, "stock_ticks", "timestamp", "sequence", "arrived_at")
    told = rows(deps, "coverage", "arrived_at")
    swapped = {
        "identical": ticks(10),
        "fewer": ticks(7),
        "more": ticks(12),
        "reordered": pl.concat([ticks(4), _three(), ticks(4, start=NOON + 5 * SECOND)]),
    }[after]
    assert replace(deps, swapped) == expected
    windows = fresh(deps)
    assert rows(deps, "coverage", "arrived_at") == told
    if first is None or last is None:
        assert windows == []
        assert rows(deps, "stock_ticks", "timestamp", "sequence", "arrived_at") == arrived
    else:
        start, end = NOON + first * SECOND, NOON + last * SECOND + TICK
        assert windows == [("AAA", "ticks", start, end, start)]


def _two(one: int, other: int, first: float, second: float) -> pl.DataFrame:
    at = ticks(1, start=NOON + 4 * SECOND)
    rows = [at.with_columns(sequence=pl.lit(n, pl.Int32), price=pl.lit(p)) for n, p in ((one, first), (other, second))]
    return pl.concat(rows)


def _three() -> pl.DataFrame:
    return pl.concat([_two(0, 2, 11.0, 10.0), _two(3, 3, 9.0, 9.0).head(1)])


def test_a_source_that_tells_a_whole_day_of_the_rows_it_had_makes_the_day_dirty_once(deps: Deps) -> None:
    """From then on vendors' minutes of that day do not count, though no trade changed."""
    deps.raw.upsert(tick_rows(ticks(3)))
    fresh(deps)
    assert replace(deps, ticks(3)) == Written(unchanged=3, windows=1)
    assert fresh(deps) == [("AAA", "ticks", MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT)]
    assert replace(deps, ticks(3)) == Written(unchanged=3)
    assert fresh(deps) == []


def test_coverage_that_is_told_anew_keeps_what_it_was(deps: Deps) -> None:
    replace(deps, ticks(3, start=datetime(2024, 3, 10, 12, tzinfo=UTC)), "Etc/GMT+5")
    (told,) = rows(deps, "coverage", "starts_at", "ends_at", "arrived_at")
    (arrived,) = {row[0] for row in rows(deps, "stock_ticks", "arrived_at")}
    assert told[2] == arrived, "one reading of the clock"
    fresh(deps)
    replace(deps, ticks(3, start=datetime(2024, 3, 10, 12, tzinfo=UTC)))  # the clocks change: an hour less
    (now,) = rows(deps, "coverage", "starts_at", "ends_at", "arrived_at")
    assert (now[0], now[1]) == (told[0], told[1] - timedelta(hours=1))
    assert now[2] > told[2]
    assert rows(deps, "coverage_history", "starts_at", "ends_at", "arrived_at", "superseded_at") == [(*told, now[2])]
    assert fresh(deps) == [("AAA", "ticks", told[0], told[1], told[0])], "up to the later end"


def test_what_is_superseded_ends_when_its_successor_arrives(deps: Deps) -> None:
    """At any moment a key has one row, or none: `compute --as-of` relies on it."""
    deps.raw.upsert(bar_rows(minutes(3)))
    deps.raw.upsert(bar_rows(minutes(2).with_columns(close=9.5), run_id=2))
    ended = rows(deps, "stock_data_history", "timestamp", "superseded_at")
    arrived = deps.database.frame(statement("SELECT timestamp, arrived_at FROM stock_data WHERE run_id = 2 ORDER BY 1"))
    assert ended == arrived.rows()


def test_an_action_is_dirty_at_once(deps: Deps) -> None:
    """Also one that is to come: its source may be the best there is, and then speaks for the past as well."""
    midnight = datetime(2024, 1, 3, tzinfo=UTC)
    window = ("AAA", "actions", midnight, midnight + TICK, datetime(1970, 1, 1, tzinfo=UTC))
    deps.raw.upsert(split(2.0))
    assert fresh(deps) == [window], "announced"
    deps.raw.upsert(split(2.0))
    assert fresh(deps) == []
    deps.raw.upsert(split(4.0))
    assert fresh(deps) == [window], "changed"
    withdrawal = Removal("actions", "AAA", date(2024, 1, 3), date(2024, 1, 4))
    assert RemovalStore(deps.database).delete(withdrawal, 2).rows == 1
    assert fresh(deps) == [window], "withdrawn"
    assert [r[0] for r in rows(deps, "corporate_actions_history", "value")] == [2.0, 4.0]
    for table in ("stock_data", "stock_ticks", "sentiment_data"):
        assert rows(deps, table) == []


def test_deleted_rows_move_to_the_history_and_are_dirty(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(pl.concat([minutes(10), minutes(5, symbol="BBB")])))
    before = deps.database.frame(statement("SELECT * FROM stock_data WHERE symbol = 'AAA' ORDER BY timestamp"))
    fresh(deps)
    since, until = NOON + timedelta(minutes=3), NOON + timedelta(minutes=6)
    removal = Removal("bars", "AAA", since, until)
    store = RemovalStore(deps.database)
    (found,) = store.match(removal)
    assert (found.source, found.rows, found.first, found.last) == ("test", 3, since, until - timedelta(minutes=1))
    done = store.delete(removal, 2)
    assert (done.rows, done.withdrawn, done.windows) == (3, 0, 1)
    assert fresh(deps) == [("AAA", "bars", since, until - timedelta(minutes=1) + TICK, since)]
    history = deps.database.frame(statement("SELECT * FROM stock_data_history ORDER BY timestamp"))
    assert history["superseded_at"].n_unique() == 1
    assert_frame_equal(history.drop("superseded_at"), before.slice(3, 3), check_column_order=False)
    assert len(rows(deps, "stock_data")) == 12
    assert store.delete(removal, 3).windows == 0
    assert fresh(deps) == []


@pytest.mark.parametrize(
    ("removal", "left"),
    [
        (Removal("bars", "AAA", granularity="1d"), (2, 2, 0)),
        (Removal("bars", "AAA", source="other"), (2, 0, 1)),
        (Removal("bars", "AAA", granularity="1d", source="other"), (2, 2, 1)),
        (Removal("bars", "AAA", since=NOON + timedelta(minutes=1)), (1, 1, 1)),
        (Removal("bars", "AAA", until=NOON + timedelta(minutes=1)), (1, 1, 0)),
        (Removal("bars", "BBB"), (2, 2, 1)),
        (Removal("ticks", "AAA"), (2, 2, 1)),
    ],
)
def test_only_the_rows_that_are_meant_are_deleted(deps: Deps, removal: Removal, left: tuple[int, int, int]) -> None:
    other = minutes(2).with_columns(source=pl.lit("other"))
    daily = minutes(1).with_columns(granularity=pl.lit("1d"))
    deps.raw.upsert(bar_rows(pl.concat([minutes(2), other, daily])))
    fresh(deps)
    RemovalStore(deps.database).delete(removal, 2)
    held = [(row[1], row[3]) for row in rows(deps, "stock_data")]
    assert tuple(held.count(kind) for kind in (("1m", "test"), ("1m", "other"), ("1d", "test"))) == left
    assert len(fresh(deps)) == (left != (2, 2, 1))


def test_coverage_of_a_deleted_day_is_withdrawn_and_makes_the_day_dirty(deps: Deps) -> None:
    replace(deps, pl.concat([ticks(3), ticks(3, start=NOON + DAY)]))
    told = rows(deps, "coverage", "starts_at", "ends_at", "arrived_at")
    fresh(deps)
    store = RemovalStore(deps.database)
    part = store.delete(Removal("ticks", "AAA", NOON, NOON + SECOND), 2)
    assert (part.rows, part.withdrawn) == (1, 0), "a part of a day is still told whole"
    assert fresh(deps) == [("AAA", "ticks", NOON, NOON + TICK, NOON)]
    whole = store.delete(Removal("ticks", "AAA", MIDNIGHT, MIDNIGHT + DAY), 2)
    assert (whole.rows, whole.withdrawn) == (2, 1)
    assert fresh(deps) == [("AAA", "ticks", MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT)]
    assert rows(deps, "coverage", "starts_at", "ends_at", "arrived_at") == told[1:]
    (withdrawn,) = rows(deps, "coverage_history", "starts_at", "ends_at", "arrived_at", "superseded_at")
    ended = {row[0] for row in rows(deps, "stock_ticks_history", "superseded_at")}
    assert withdrawn[:3] == told[0]
    assert withdrawn[3] in ended
    assert store.delete(Removal("ticks", "AAA", MIDNIGHT, MIDNIGHT + DAY), 2).windows == 0


def test_coverage_of_another_source_stays(deps: Deps) -> None:
    replace(deps, pl.concat([ticks(2), ticks(2).with_columns(source=pl.lit("tape"))]))
    fresh(deps)
    done = RemovalStore(deps.database).delete(Removal("ticks", "AAA", source="tape"), 2)
    assert (done.rows, done.withdrawn, done.windows) == (2, 1, 1)
    assert rows(deps, "coverage", "source") == [("test",)]

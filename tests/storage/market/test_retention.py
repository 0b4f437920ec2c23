"""Horizons: what is let in, what is deleted, what is frozen, and that none of it can happen between the other two."""

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.wiring import Deps
from storage.market import retention
from storage.market.database import statement, table_name
from storage.market.locks import lock_raw, lock_retention
from storage.market.raw import Rows, Written
from storage.market.refusals import Origin
from storage.market.removal import Removal, RemovalStore
from storage.market.retention import Hold, thawed
from tests.storage.market.rows import NOON, bar_rows, minutes, tick_rows, ticks
from transforms.errors import PermanentError, StoreUnavailable
from transforms.schema import SENTIMENT, UTC_US

pytestmark = pytest.mark.postgres
ZONE = "America/New_York"
DAY = timedelta(days=1)
MIDNIGHT = NOON - timedelta(hours=12)
"""Of the 3rd in New York."""
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _calendars(deps: Deps) -> None:
    for market in ("XNYS", "XKRX"):
        deps.calendars.hours(market, date(2024, 6, 1))


def days_of_ticks(count: int, symbol: str = "AAA") -> pl.DataFrame:
    """Three trades at noon of the 2nd and the days after."""
    return pl.concat([ticks(3, symbol=symbol, start=NOON + (n - 1) * DAY) for n in range(count)])


def replace(deps: Deps, frame: pl.DataFrame) -> Written:
    return sum(deps.raw.replace(tick_rows(frame), ZONE), Written())


def expire(deps: Deps, dataset: str, horizon: datetime) -> int:
    deps.retention.advance(dataset, horizon)
    return sum(rows for _, rows in deps.retention.expire(dataset))


def days(deps: Deps, table: str = "stock_ticks", symbol: str = "AAA") -> list[int]:
    query = statement(
        "SELECT DISTINCT timestamp::date AS day FROM {t} WHERE symbol = {s} ORDER BY 1", t=table_name(table), s=symbol
    )
    return [day.day for day in deps.database.frame(query)["day"]]


def windows(deps: Deps) -> int:
    return int(deps.database.frame(statement("SELECT count(*) FROM dirty_windows")).item())


def prices(deps: Deps, *symbols: str) -> list[tuple[Any, ...]]:
    return deps.retention.frozen(symbols).prices.rows()


def hold(deps: Deps, first: datetime, last: datetime, dataset: str = "ticks", until: datetime = FAR) -> Hold:
    return deps.retention.hold(Hold(dataset, first, last, "a backfill", until))


def test_nothing_is_frozen_until_retention_is_applied(deps: Deps) -> None:
    replace(deps, days_of_ticks(2))
    assert not deps.retention.frozen(["AAA"])
    assert deps.retention.horizons() == {}


def test_rows_below_the_horizon_are_set_aside_and_the_others_go_through(deps: Deps) -> None:
    deps.retention.advance("bars", NOON)
    frame = pl.concat([minutes(2, start=NOON - DAY), minutes(2)]).with_columns(line=pl.int_range(11, 15))
    rows = Rows("bars", frame, "raw", "XNYS", 1, Origin("digest", "file.csv"))
    written = deps.raw.upsert(rows)
    assert (written.inserted, written.refused, written.windows) == (2, 2, 1)
    assert "bars before 2024-01-03 05:00 UTC have expired" in written.notes[0]
    kept = deps.database.frame(
        statement("SELECT digest, line, rule, dataset, origin, symbol FROM rejected_rows ORDER BY 2")
    )
    assert kept.rows() == [("digest", n, "below_retention", "bars", "file.csv", "AAA") for n in (11, 12)]
    assert deps.raw.upsert(rows).refused == 2
    assert len(deps.database.frame(statement("SELECT line FROM rejected_rows"))) == 2, "once each"


def test_a_horizon_is_the_beginning_of_the_day_in_each_market(deps: Deps) -> None:
    """No session is half gone: noon in New York is the 4th in Seoul, which began nine hours before it was in UTC."""
    deps.retention.advance("bars", NOON)
    seoul = datetime(2024, 1, 3, 15, tzinfo=UTC)
    for market, symbol, start in (("XNYS", "AAA", MIDNIGHT), ("XKRX", "005930", seoul)):
        frame = pl.concat([minutes(2, symbol=symbol, start=start - timedelta(minutes=1))])
        written = deps.raw.upsert(Rows("bars", frame, "raw", market, 1))
        assert (written.inserted, written.refused) == (1, 1), market


def test_a_replaced_day_below_the_horizon_is_left_as_it_is(deps: Deps) -> None:
    replace(deps, days_of_ticks(2))
    deps.retention.advance("ticks", NOON)
    before = windows(deps)
    assert replace(deps, ticks(1, start=NOON - DAY)) == Written(
        refused=1, notes=replace(deps, ticks(1, start=NOON - DAY)).notes
    )
    assert days(deps) == [2, 3]
    assert (windows(deps), days(deps, "stock_ticks_history")) == (before, [])


def test_what_lies_below_is_deleted_with_its_history_and_nothing_gets_dirty(deps: Deps) -> None:
    replace(deps, days_of_ticks(4))
    replace(deps, days_of_ticks(4).filter(pl.col("timestamp").dt.second() > 0))
    before = windows(deps)
    assert deps.retention.expired("ticks", NOON + DAY) == 4
    assert expire(deps, "ticks", NOON + DAY) == 4 + 2, "and the history"
    assert (days(deps), days(deps, "stock_ticks_history")) == ([4, 5], [4, 5])
    assert windows(deps) == before
    assert len(deps.database.frame(statement("SELECT * FROM coverage WHERE dataset = 'ticks'"))) == 4, "still told"
    assert expire(deps, "ticks", NOON + DAY) == 0


def test_a_horizon_never_moves_back(deps: Deps) -> None:
    assert deps.retention.advance("ticks", NOON)
    assert not deps.retention.advance("ticks", NOON - DAY)
    assert deps.retention.horizons() == {"ticks": NOON}
    assert deps.retention.advance("ticks", NOON + DAY)


def test_only_symbols_of_which_rows_expired_are_frozen(deps: Deps) -> None:
    """Years of daily bars come in though trades are kept for days; but not where trades were."""
    replace(deps, days_of_ticks(3))
    expire(deps, "ticks", NOON + DAY)
    assert prices(deps, "AAA", "BBB") == [("AAA", MIDNIGHT - DAY, MIDNIGHT + DAY)]
    old = pl.concat([minutes(1, symbol=s, start=NOON + n * DAY) for s in ("AAA", "BBB") for n in (-20, 0)])
    written = deps.raw.upsert(bar_rows(old.sort("symbol", "timestamp")))
    assert (written.inserted, written.refused) == (3, 1)
    assert days(deps, "stock_data") == [14]
    assert prices(deps, "BBB") == []


def test_what_expires_later_widens_what_is_frozen(deps: Deps) -> None:
    replace(deps, days_of_ticks(4))
    expire(deps, "ticks", NOON)
    assert prices(deps, "AAA") == [("AAA", MIDNIGHT - DAY, MIDNIGHT)]
    expire(deps, "ticks", NOON + 2 * DAY)
    assert prices(deps, "AAA") == [("AAA", MIDNIGHT - DAY, MIDNIGHT + 2 * DAY)]
    assert len(deps.database.frame(statement("SELECT * FROM coverage WHERE dataset = 'expired_ticks'"))) == 1
    deps.raw.upsert(bar_rows(minutes(1, start=NOON + 2 * DAY)))
    expire(deps, "bars", NOON + 3 * DAY)
    saturday = NOON + 3 * DAY  # in no session, so it stays what it is
    assert prices(deps, "AAA") == [("AAA", MIDNIGHT - DAY, saturday)], "of either"


def test_the_horizon_is_told_before_the_first_row_goes(deps: Deps) -> None:
    """Killed in between, rows are still there and nothing is computed of them again."""
    replace(deps, days_of_ticks(3))
    deps.retention.advance("ticks", NOON)
    frozen = deps.retention.frozen(["AAA"])
    assert frozen.prices.rows() == [("AAA", MIDNIGHT - DAY, MIDNIGHT)]
    assert days(deps) == [2, 3, 4]
    list(deps.retention.expire("ticks"))
    assert deps.retention.frozen(["AAA"]) == frozen
    assert days(deps) == [3, 4]


def test_rows_go_in_batches(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    same = ticks(5).with_columns(timestamp=pl.lit(NOON - DAY, UTC_US), sequence=pl.int_range(5, dtype=pl.Int32))
    replace(deps, pl.concat([same, days_of_ticks(4).tail(9)]))
    deps.retention.advance("ticks", NOON + DAY)
    going = deps.retention.expire("ticks")
    assert next(going) == ("AAA", 5), "trades of one moment go together"
    going.close()
    assert days(deps) == [3, 4, 5]
    assert [rows for _, rows in deps.retention.expire("ticks")] == [2, 1]
    assert days(deps) == [4, 5]


def test_a_hold_keeps_rows_and_lets_rows_in_until_it_ends(deps: Deps) -> None:
    replace(deps, days_of_ticks(5))  # Tuesday the 2nd to Saturday the 6th
    held = hold(deps, MIDNIGHT, MIDNIGHT + DAY)
    assert expire(deps, "ticks", NOON + 2 * DAY) == 6
    assert days(deps) == [3, 5, 6]
    frozen = [("AAA", MIDNIGHT - DAY, MIDNIGHT), ("AAA", MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)]
    assert prices(deps, "AAA") == frozen
    assert replace(deps, ticks(4)) == Written(inserted=1, unchanged=3, windows=1)
    assert replace(deps, ticks(1, start=NOON + DAY)).refused == 1
    assert [h.id for h in deps.retention.holds()] == [held.id]
    deps.retention.release(held.id)
    assert deps.retention.holds() == []
    assert replace(deps, ticks(5)).refused == 5
    assert prices(deps, "AAA") == [("AAA", MIDNIGHT - DAY, MIDNIGHT + 2 * DAY)]
    assert expire(deps, "ticks", NOON + 2 * DAY) == 4
    with pytest.raises(PermanentError, match="there is no hold 7; there are: none"):
        deps.retention.release(7)


def test_a_hold_over_part_of_a_day_holds_no_day(deps: Deps) -> None:
    replace(deps, days_of_ticks(3))
    hold(deps, NOON - timedelta(hours=1), NOON + DAY)  # from eleven o'clock to the noon after: whole is no day
    expire(deps, "ticks", NOON + DAY)
    assert days(deps) == [4]
    assert replace(deps, ticks(1)).refused == 1


def test_a_hold_that_is_over_holds_nothing(deps: Deps) -> None:
    replace(deps, days_of_ticks(3))
    hold(deps, MIDNIGHT, MIDNIGHT + DAY, until=datetime(2024, 1, 1, tzinfo=UTC))
    expire(deps, "ticks", NOON + DAY)
    assert days(deps) == [4]


def test_rows_that_only_a_hold_let_in_freeze_their_day_when_they_go(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(1, start=NOON + 5 * DAY)))
    expire(deps, "ticks", NOON + DAY)
    held = hold(deps, MIDNIGHT, MIDNIGHT + DAY)
    assert replace(deps, ticks(2)).inserted == 2
    deps.retention.release(held.id)
    assert [rows for _, rows in deps.retention.expire("ticks")] == [], "not marked yet, so not deleted"
    assert prices(deps, "AAA") == []
    assert expire(deps, "ticks", NOON + DAY) == 2
    assert prices(deps, "AAA") == [("AAA", MIDNIGHT, MIDNIGHT + DAY)]


def test_messages_are_kept_as_long_as_a_session_above_the_horizon_reads_them(deps: Deps) -> None:
    at = [NOON + n * DAY for n in range(-8, 3)]
    frame = pl.DataFrame(
        [
            {"symbol": "AAA", "timestamp": t, "source": "words", "external_id": "", "ordinal": 0}
            | {"sentiment_score": 0.1, "confidence": 1.0, "is_retweet": None, "is_duplicate": None}
            for t in at
        ],
        schema=SENTIMENT,
    )
    deps.raw.upsert(Rows("sentiment", frame, "raw", "XNYS", 1))
    kept_from = datetime(2023, 12, 29, 21, tzinfo=UTC) - timedelta(hours=25)  # the second close before the 3rd
    assert deps.retention.expired("sentiment", NOON) == sum(t < kept_from for t in at) == 3
    assert expire(deps, "sentiment", NOON) == 3
    frozen = deps.retention.frozen(["AAA"])
    assert frozen.sentiment.rows() == [("AAA", BEGINNING, kept_from)]
    assert frozen.prices.is_empty()
    late = frame.with_columns(ordinal=pl.lit(1, pl.Int32)).filter(pl.col("timestamp") >= kept_from)
    written = deps.raw.upsert(Rows("sentiment", late, "raw", "XNYS", 1))
    assert (written.inserted, written.refused) == (3, 5), "but none is let in below it"


def test_nothing_that_has_expired_can_be_deleted(deps: Deps) -> None:
    replace(deps, days_of_ticks(4))
    deps.raw.upsert(bar_rows(minutes(1, start=NOON - DAY)))
    expire(deps, "ticks", NOON + DAY)
    before = windows(deps)
    store = RemovalStore(deps.database)
    for dataset in ("ticks", "bars"):  # a vendor's bar of a day whose trades are gone changes nothing any more
        gone = Removal(dataset, "AAA", MIDNIGHT - DAY, MIDNIGHT)  # type: ignore[arg-type]
        with pytest.raises(PermanentError, match="before 2024-01-04 05:00 UTC have expired"):
            store.delete(gone, 2)
    done = store.delete(Removal("ticks", "AAA", MIDNIGHT, MIDNIGHT + 2 * DAY), 2)
    assert (done.rows, done.withdrawn, done.windows) == (3, 1, 1)
    assert store.delete(Removal("bars", "AAA"), 2).rows == 0
    assert windows(deps) == before + 1
    assert days(deps, "stock_data") == [2]


def test_a_session_that_reads_frozen_rows_is_left_alone() -> None:
    spans = pl.DataFrame(
        [("AAA", MIDNIGHT - DAY, MIDNIGHT)], schema={"symbol": pl.String, "lo": UTC_US, "hi": UTC_US}, orient="row"
    )
    reads = pl.DataFrame(
        [(s, n, MIDNIGHT + n * DAY, MIDNIGHT + (n + 1) * DAY) for s in ("AAA", "BBB") for n in (1, -2, -1, 0)],
        schema={"symbol": pl.String, "n": pl.Int64, "from": UTC_US, "until": UTC_US},
        orient="row",
    )
    kept = thawed(reads, spans, "from", "until")
    assert kept.select("symbol", "n").rows() == [
        ("AAA", 1),
        ("AAA", -2),
        ("AAA", 0),
        *(("BBB", n) for n in (1, -2, -1, 0)),
    ]
    assert_frame_equal(thawed(reads, spans.clear(), "from", "until"), reads)


def test_the_horizon_waits_for_whoever_is_writing_rows(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PATIENCE", "100ms")
    with deps.database.transaction() as writing:
        lock_raw(writing, "bars", ["AAA"])
        with pytest.raises(StoreUnavailable, match="rows of ticks were being written for more than 100ms"):
            deps.retention.advance("ticks", NOON)  # either kind closes the other
        assert deps.retention.advance("sentiment", NOON)
    assert deps.retention.horizons() == {"sentiment": NOON}
    assert deps.retention.advance("ticks", NOON)


def test_a_row_cannot_slip_in_while_the_horizon_moves(deps: Deps) -> None:
    written: list[Written] = []
    ingest = threading.Thread(target=lambda: written.append(replace(deps, ticks(2, start=NOON - DAY))))
    with deps.database.transaction() as moving:
        lock_retention(moving, "ticks")
        ingest.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not deps.database.frame(statement(waiting)).item():
            assert ingest.is_alive()
        moving.execute("INSERT INTO retention_horizon VALUES ('ticks', %s)", [NOON])
    ingest.join(30)
    assert [(w.inserted, w.refused) for w in written] == [(0, 2)]
    assert days(deps) == []

"""`warmbars gaps`: from stored rows to the report, on small cases and on real minutes."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import Result

from flows import steps
from flows.gaps import Asked, _bounds, find_gaps
from flows.gaps_page import share
from flows.wiring import Deps
from storage.market.calendars import MarketHours
from storage.market.raw import Rows
from tests.flows.conftest import Cli
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.calendars import calendar_sessions
from transforms.errors import PermanentError, UnknownSymbol
from transforms.schema import RAW_BARS, TICKS, Interval

NEW_YORK = "America/New_York"
DAY = date(2024, 1, 3)
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
AS_OF = datetime(2024, 1, 5, tzinfo=UTC)


@pytest.fixture
def cli(program: Cli) -> Cli:
    """The program on the session's servers, with an empty store."""
    return partial(program, "gaps")


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def counts(deps: Deps, interval: Interval = "5m", first: date = DAY, last: date = DAY) -> dict[str, int]:
    total = find_gaps(deps, Asked("AAA", interval, first, last), AS_OF).total
    return {name: n for name, n in total.items() if n and name not in ("buckets", "completeness")}


def day_of(volume: float) -> pl.DataFrame:
    """A vendor's daily row, stamped with the close."""
    row = minutes(1, start=OPEN + timedelta(hours=6, minutes=30))
    return row.with_columns(granularity=pl.lit("1d"), volume=pl.lit(volume), source=pl.lit("days"))


@pytest.mark.postgres
@pytest.mark.redis
def test_what_nobody_vouches_for_is_missing(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(pl.concat([minutes(60, start=OPEN), minutes(270, start=OPEN + timedelta(hours=2))])))
    steps.refresh(deps, AS_OF)
    report = find_gaps(deps, Asked("AAA", "5m", None, None), AS_OF)
    assert (report.first, report.last) == (DAY, date(2024, 1, 4))
    assert report.sessions["completeness"].to_list() == [66 / 78, 0]
    assert report.runs.select("status", "buckets").rows() == [("missing_upstream", 12), ("missing_upstream", 78)]
    assert report.runs["timestamp"][0] == OPEN + timedelta(hours=1)
    assert report.runs["end"][0] == OPEN + timedelta(hours=2)
    assert (report.closed, report.waiting) == ([], False)
    assert counts(deps, "1h") == {"present": 6, "missing_upstream": 1}
    assert counts(deps, "1d", date(2024, 1, 1), date(2024, 1, 5)) == {
        "present": 1,
        "missing_upstream": 2,
        "not_yet_due": 1,
    }


@pytest.mark.postgres
@pytest.mark.redis
def test_a_day_of_trades_is_all_there_was(deps: Deps) -> None:
    morning = ticks(600, start=OPEN)  # ten minutes, then silence
    list(deps.raw.replace(tick_rows(morning), NEW_YORK))
    deps.raw.upsert(bar_rows(minutes(5, start=OPEN + timedelta(days=1))))
    steps.refresh(deps, AS_OF)
    assert counts(deps) == {"present": 2, "no_trade": 76}
    assert counts(deps, last=date(2024, 1, 4)) == {"present": 3, "no_trade": 76, "missing_upstream": 77}


@pytest.mark.postgres
@pytest.mark.redis
def test_a_source_of_minutes_can_be_the_whole_truth_and_one_of_days_cannot(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=OPEN)))
    list(deps.raw.replace(bar_rows(day_of(7_000.0)), NEW_YORK))
    steps.refresh(deps, AS_OF)
    assert counts(deps) == {"present": 2, "missing_upstream": 76}
    whole = minutes(5, start=OPEN).with_columns(source=pl.lit("minutes"))
    list(deps.raw.replace(bar_rows(whole), NEW_YORK))
    steps.refresh(deps, AS_OF)
    assert counts(deps) == {"present": 2, "no_trade": 76}


@pytest.mark.postgres
@pytest.mark.redis
def test_a_vendors_day_with_the_same_volume_is_believed(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=OPEN)))
    deps.raw.upsert(bar_rows(day_of(1_001.0)))
    steps.refresh(deps, AS_OF)
    assert counts(deps) == {"present": 2, "missing_upstream": 76}
    deps.raw.upsert(bar_rows(day_of(1_000.0)))
    report = find_gaps(deps, Asked("AAA", "5m", DAY, DAY), AS_OF)
    assert (report.total["no_trade"], report.total["completeness"], report.waiting) == (76, 1.0, True)


@pytest.mark.postgres
@pytest.mark.redis
def test_what_cannot_be_answered_says_what_can(deps: Deps, cli: Cli) -> None:
    nobody = cli("AAA")
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert "warmbars run" in nobody.stderr
    deps.raw.upsert(bar_rows(minutes(5, start=OPEN)))
    with pytest.raises(UnknownSymbol, match="did you mean AAA"):  # ingested is enough to be known
        find_gaps(deps, Asked("aab", "5m", None, None), AS_OF)
    with pytest.raises(PermanentError, match="no 5m bar of AAA is stored; name the first day .*--from"):
        find_gaps(deps, Asked("AAA", "5m", None, None), AS_OF)
    steps.refresh(deps, AS_OF)
    with pytest.raises(UnknownSymbol, match="there are AAA"):
        find_gaps(deps, Asked("ZZTOP", "5m", None, None), AS_OF)
    with pytest.raises(UnknownSymbol):
        find_gaps(deps, Asked("@market", "5m", None, None), AS_OF)
    with pytest.raises(PermanentError, match="no days from 2024-01-04 to 2024-01-03"):
        find_gaps(deps, Asked("AAA", "5m", date(2024, 1, 4), DAY), AS_OF)
    with pytest.raises(PermanentError, match="stored calendar reaches from 1990"):
        find_gaps(deps, Asked("AAA", "5m", DAY, date(2190, 1, 1)), AS_OF)
    assert cli("AAA", "--interval", "7m").exit_code == 2
    assert cli("AAA", "--from", "yesterday").exit_code == 2


def test_days_of_a_market_that_opens_the_evening_before_are_whole() -> None:
    sessions = calendar_sessions("CMES", date(2023, 12, 1), date(2024, 2, 1))
    hours = MarketHours("America/Chicago", sessions)
    tuesday = datetime(2024, 1, 8, 23, tzinfo=UTC)  # 17:00 on Monday
    assert _bounds(date(2024, 1, 9), date(2024, 1, 10), hours) == (tuesday, tuesday + timedelta(days=2))
    weekend = _bounds(date(2024, 1, 6), date(2024, 1, 7), hours)
    assert weekend == (datetime(2024, 1, 6, 6, tzinfo=UTC), datetime(2024, 1, 7, 23, tzinfo=UTC))


@pytest.mark.parametrize(("value", "shown"), [(1.0, "100.0 %"), (0.99999, "99.9 %"), (0.0, "0.0 %"), (None, "-")])
def test_what_is_not_complete_is_never_shown_as_if_it_were(value: float | None, shown: str) -> None:
    assert share(value) == shown


@pytest.mark.data
@pytest.mark.postgres
@pytest.mark.redis
def test_real_minutes_of_a_week(shared: Path, deps: Deps, cli: Cli) -> None:
    """IBM in October 2013: a vendor's minutes, and of the Friday every trade; there is none at 12:46."""
    rows = pl.read_parquet(shared / "data/minute_bars.parquet").filter(symbol="IBM", source="lean")
    bars = rows.with_columns(
        pl.col("volume").cast(pl.Float64), granularity=pl.lit("1m"), adjusted_close=pl.lit(None, pl.Float64)
    )
    deps.raw.upsert(bar_rows(bars.select(RAW_BARS.names())))
    trades = pl.read_parquet(shared / "data/ticks.parquet").filter(
        pl.col("symbol") == "IBM", pl.col("timestamp").dt.date() == date(2013, 10, 11)
    )
    friday = trades.select(
        "symbol",
        "timestamp",
        pl.lit("lean").alias("source"),
        pl.int_range(pl.len(), dtype=pl.Int32).over("timestamp").alias("sequence"),
        "price",
        pl.col("size").cast(pl.Float64),
        pl.col("condition_hex").alias("condition"),
    )
    list(deps.raw.replace(Rows("ticks", friday.cast(dict(TICKS)), "raw", "XNYS", 1), NEW_YORK))
    steps.refresh(deps, datetime.now(UTC))

    told = answer(cli("IBM", "--interval", "1m", "--from", "2013-10-05", "--to", "2013-10-11", "--json"))
    opens = [datetime(2013, 10, day, 13, 30, tzinfo=UTC) for day in range(7, 12)]
    stamps = set(rows["timestamp"])
    delivered = [sum(start + n * timedelta(minutes=1) in stamps for n in range(390)) for start in opens]
    assert delivered == [390, 390, 390, 390, 389]
    assert [day["session"] for day in told["sessions"]] == [f"2013-10-{day:02}" for day in range(7, 12)]
    assert [day["present"] for day in told["sessions"]] == delivered
    assert told["closed"] == ["2013-10-05", "2013-10-06"]
    quiet = {"status": "no_trade", "session": "2013-10-11", "last_session": "2013-10-11", "buckets": 1}
    assert told["runs"] == [
        quiet | {"timestamp": "2013-10-11T16:46:00+00:00", "end": "2013-10-11T16:47:00+00:00"},
    ]
    assert told["total"]["completeness"] == 1
    week_before = answer(cli("IBM", "--interval", "1m", "--from", "2013-10-04", "--to", "2013-10-04", "--json"))
    assert week_before["total"] == {
        "buckets": 390,
        "present": 389,
        "no_trade": 0,
        "missing_upstream": 1,
        "not_yet_due": 0,
        "completeness": 389 / 390,
    }

    page = cli("IBM", "--interval", "1m", "--from", "2013-10-05", "--to", "2013-10-11", "--time-zone", NEW_YORK)
    assert page.exit_code == 0, page.stderr
    for words in ("IBM 1m", "% complete", "2 days closed", "2013-10-09", "1 no trade", "2013-10-11 12:46", NEW_YORK):
        assert words in page.stdout
    assert max(map(len, page.stdout.splitlines())) <= 100
    long = cli("IBM", "--interval", "1d", "--rows", "5")
    assert "more sessions, of" in long.stdout
    assert f"{datetime.now(UTC).year}" in long.stdout

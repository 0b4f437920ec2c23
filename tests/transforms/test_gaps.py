"""Why a bar is not there: every status against the rules in plain Python, and against real trades."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import SYMBOLS, cases, minute_bars, rules, sessions_of
from tests.transforms.by_hand import DAYS, ZONES, Bucket, buckets_of
from transforms.calendars import calendar_sessions
from transforms.errors import PermanentError
from transforms.quality.gaps import GAPS, STATUS, Evidence, Question, completeness, gap_runs, gap_truth
from transforms.resample import bars_from_minutes, resample
from transforms.schema import BARS, RAW_BARS, UTC_US
from transforms.sessions import BucketRules

REGULAR = BucketRules()
MINUTE = timedelta(minutes=1)
Row = tuple[str, date, datetime, datetime, str]
COVERED = pl.Schema({"symbol": pl.String(), "start": UTC_US, "end": UTC_US})
INSTRUMENTS = pl.Schema({"symbol": pl.String(), "active_from": pl.Date(), "active_to": pl.Date()})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Known(NamedTuple):
    """What the transform is given as frames, as plain rows."""

    bars: pl.DataFrame
    covered: list[tuple[str, datetime, datetime]]
    daily: dict[tuple[str, date], float]
    active: dict[str, tuple[date | None, date | None]]

    def frames(self) -> Evidence:
        days = [(s, None, day, *[1.0] * 4, volume) for (s, day), volume in self.daily.items()]
        active = [(symbol, *bounds) for symbol, bounds in self.active.items()]
        return Evidence(
            self.bars.lazy(),
            pl.LazyFrame(self.covered, COVERED, orient="row"),
            pl.LazyFrame(days, BARS, orient="row"),
            pl.LazyFrame(active, INSTRUMENTS, orient="row"),
        )

    def covered_minutes(self, symbol: str, minutes: Sequence[Bucket]) -> set[datetime]:
        windows = [(start, end) for name, start, end in self.covered if name == symbol]
        return {m.start for m in minutes if any(start <= m.start and m.end <= end for start, end in windows)}

    def accounted(self, symbol: str, session: date) -> bool:
        told = self.daily.get((symbol, session))
        mine = self.bars.filter(pl.col("symbol") == symbol)
        volumes = [*mine["volume"], *(v for (name, _), v in self.daily.items() if name == symbol)]
        return any(v > 0 for v in volumes) and told == sum(mine.filter(pl.col("session") == session)["volume"])


def by_hand(case: str, how: BucketRules, asked: Question, known: Known) -> list[Row]:
    """The same report, bucket by bucket."""
    minutes, days = buckets_of(case, "1m", how), {day.session: day for day in buckets_of(case, "1d", how)}
    found: list[Row] = []
    labels = set(known.bars.select("symbol", "timestamp").rows())
    for symbol in asked.symbols:
        first, last = known.active.get(symbol, (None, None))
        silent = known.covered_minutes(symbol, minutes)
        for bucket in buckets_of(case, asked.interval, how):
            within = [day for day in days if bucket.start <= days[day].start < bucket.end] or [bucket.session]
            if (first and within[-1] < first) or (last and within[0] > last):
                continue
            if bucket.end > asked.as_of:
                status = "not_yet_due"
            elif (symbol, bucket.start) in labels:
                status = "present"
            elif all(minute in silent for minute in _inside(bucket, minutes)) or (
                asked.interval not in DAYS
                and days[bucket.session].end <= asked.as_of
                and known.accounted(symbol, bucket.session)
            ):
                status = "no_trade"
            else:
                status = "missing_upstream"
            found.append((symbol, bucket.session, bucket.start, bucket.end, status))
        if asked.interval not in ("1w", "1mo"):
            closed = [day for day in _between(days) if not (first and day < first) and not (last and day > last)]
            found += [(symbol, day, *_midnights(day, case), "market_closed") for day in closed]
    return sorted(row for row in found if asked.start <= row[2] < asked.end)


def _inside(bucket: Bucket, minutes: Sequence[Bucket]) -> list[datetime]:
    """The minutes of a bucket that can be traded."""
    lo, hi = (bisect_left(minutes, moment, key=lambda minute: minute.start) for moment in (bucket.start, bucket.end))
    return [minute.start for minute in minutes[lo:hi]]


def _between(days: dict[date, Bucket]) -> list[date]:
    span = (max(days) - min(days)).days
    return [day for day in (min(days) + timedelta(days=n) for n in range(span)) if day not in days]


def _midnights(day: date, case: str) -> tuple[datetime, datetime]:
    zone = ZoneInfo(ZONES[case.split()[0]])
    start, end = (datetime.combine(day + timedelta(days=n), time(), zone).astimezone(UTC) for n in (0, 1))
    return start, end


@st.composite
def known(draw: st.DrawFn, case: str, interval: str, how: BucketRules) -> Known:
    """Bars of some symbols, windows between bounds of sessions, the days' own volumes, some of them right."""
    bars = draw(minute_bars(case)).lazy().pipe(resample, interval, sessions_of(case).lazy(), how).collect()
    sessions = sessions_of(case).rows(named=True)
    marks = [row[name] for row in sessions for name in ("day_start", "open", "close", "day_end")]
    marks += [row["open"] + 30 * MINUTE for row in sessions]
    marks += [row[name] for row in sessions for name in ("break_start", "break_end") if row[name]]
    windows = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(marks), st.sampled_from(marks))
    covered = [(s, min(a, b), max(a, b)) for s, a, b in draw(st.lists(windows, max_size=5)) if a != b]
    sums = Counter({key: 0.0 for key in ((s, row["session"]) for s in SYMBOLS for row in sessions)})
    for symbol, session, volume in bars.select("symbol", "session", "volume").iter_rows():
        sums[symbol, session] += volume
    told = draw(st.lists(st.tuples(st.sampled_from(sorted(sums)), st.sampled_from([0.0, 0.0, 1.0])), max_size=6))
    dates = st.sampled_from([None, *(row["session"] for row in sessions)])
    active = draw(st.dictionaries(st.sampled_from(SYMBOLS), st.tuples(dates, dates), max_size=2))
    return Known(bars, covered, {key: sums[key] + off for key, off in told}, active)


@settings(max_examples=15)
@given(st.data(), cases(), rules(), st.sampled_from(["15m", "90m", "1h", "1d", "1w"]))
def test_every_expected_bucket_has_the_status_found_by_hand(
    data: st.DataObject, case: str, how: BucketRules, interval: str
) -> None:
    given_ = data.draw(known(case, interval, how))
    days = sessions_of(case)
    moments = sorted({*days["day_start"], *days["open"], *days["close"], days["day_end"][-1]})
    start, as_of, end = sorted(data.draw(st.lists(st.sampled_from(moments), min_size=3, max_size=3, unique=True)))
    asked = Question(SYMBOLS, interval, start, end, as_of)
    zone = ZONES[case.split()[0]]
    truth = gap_truth(asked, given_.frames(), days.lazy(), how, zone)
    found = truth.collect()
    assert found.schema == GAPS
    assert found.rows() == by_hand(case, how, asked, given_)
    assert_frame_equal(truth.collect(engine="streaming"), found)

    alone = [Question([symbol], interval, start, end, as_of) for symbol in SYMBOLS]
    parts = [gap_truth(one, given_.frames(), days.lazy(), how, zone) for one in alone]
    assert_frame_equal(pl.concat(parts).collect(), found)

    counts = Counter((row[0], row[1], row[4]) for row in found.rows())
    for row in completeness(found.lazy(), "symbol", "session").collect().rows(named=True):
        of = {status: counts[row["symbol"], row["session"], status] for status in STATUS.categories}
        assert {status: row[status] for status in of if status != "market_closed"} == {
            status: n for status, n in of.items() if status != "market_closed"
        }
        due = of["present"] + of["no_trade"] + of["missing_upstream"]
        assert row["completeness"] == ((of["present"] + of["no_trade"]) / due if due else None)
        assert row["buckets"] == due + of["not_yet_due"] > 0

    runs = gap_runs(found.lazy()).collect()
    gone = found.filter(pl.col("status") != "present")
    assert runs["buckets"].sum() == len(gone)
    for run in runs.rows(named=True):
        inside = found.filter(
            pl.col("symbol") == run["symbol"],
            pl.col("timestamp").is_between(run["timestamp"], run["end"], closed="left"),
            (pl.col("status") == "market_closed") == (run["status"] == "market_closed"),
        )
        assert inside["status"].unique().to_list() == [run["status"]]
        assert (len(inside), inside["session"][0], inside["session"][-1]) == (
            run["buckets"],
            run["session"],
            run["last_session"],
        )


def bars_at(symbol: str, volume: float, *starts: str) -> pl.LazyFrame:
    made = [(symbol, at(start), at(start).date(), *[1.0] * 4, volume) for start in starts]
    return pl.LazyFrame(made, schema=BARS, orient="row")


NYSE = sessions_of("XNYS").lazy()
FRIDAY = Question(["A"], "1h", at("2024-11-29T05:00"), at("2024-11-30T05:00"), at("2024-12-02T00:00"))
"""The half day after Thanksgiving: 09:30 to 13:00, hours at 14:30, 15:30, 16:30 and a half one at 17:30 UTC."""
HOURS = ("2024-11-29T14:30", "2024-11-29T15:30", "2024-11-29T17:30")


def statuses(asked: Question, known: Evidence) -> list[str]:
    truth = gap_truth(asked, known, NYSE, REGULAR, "America/New_York").collect()
    return truth["status"].cast(pl.String).to_list()


def covering(*windows: tuple[str, str]) -> pl.LazyFrame:
    return pl.LazyFrame([("A", at(a), at(b)) for a, b in windows], schema=COVERED, orient="row")


def test_without_evidence_a_hole_is_missing_upstream() -> None:
    found = statuses(FRIDAY, Evidence(bars_at("A", 5, *HOURS)))
    assert found == ["present", "present", "missing_upstream", "present"]


def test_a_hole_in_a_covered_day_is_no_trade() -> None:
    day = covering(("2024-11-29T05:00", "2024-11-30T05:00"))
    assert statuses(FRIDAY, Evidence(bars_at("A", 5, *HOURS), day)).count("no_trade") == 1
    partly = covering(("2024-11-29T05:00", "2024-11-29T17:29"))
    assert statuses(FRIDAY, Evidence(bars_at("A", 5, *HOURS), partly)).count("missing_upstream") == 1
    in_two = covering(("2024-11-29T05:00", "2024-11-29T17:00"), ("2024-11-29T17:00", "2024-11-29T17:30"))
    assert statuses(FRIDAY, Evidence(bars_at("A", 5, *HOURS), in_two)).count("no_trade") == 1


def test_covered_sessions_make_a_covered_week_whatever_lies_between() -> None:
    """Nobody covers Thanksgiving or the weekend; a source cannot but be silent then."""
    week = Question(["A"], "1w", at("2024-11-25T00:00"), at("2024-12-01T00:00"), at("2024-12-02T00:00"))
    days = [("2024-11-26T05:00", "2024-11-27T05:00"), ("2024-11-27T05:00", "2024-11-28T05:00")]
    friday = ("2024-11-29T05:00", "2024-11-30T05:00")
    nothing = pl.LazyFrame(schema=BARS)
    assert statuses(week, Evidence(nothing, covering(*days, friday))) == ["no_trade"]
    assert statuses(week, Evidence(nothing, covering(*days))) == ["missing_upstream"]


@pytest.mark.parametrize("interval", ["5m", "1h", "1d"])
def test_a_covered_morning_and_afternoon_are_a_covered_day(interval: str) -> None:
    """Tokyo trades from 00:00 to 02:30 and from 03:30 to 06:00 UTC until 4 November 2024."""
    asked = Question(["A"], interval, at("2024-11-01T00:00"), at("2024-11-01T06:00"), at("2024-11-02T00:00"))
    halves = [("2024-11-01T00:00", "2024-11-01T02:30"), ("2024-11-01T03:30", "2024-11-01T06:00")]
    tokyo = sessions_of("XTKS").lazy()

    def found(hours: BucketRules, *windows: tuple[str, str]) -> set[str]:
        known = Evidence(pl.LazyFrame(schema=BARS), covering(*windows))
        return set(gap_truth(asked, known, tokyo, hours, "Asia/Tokyo").collect()["status"].cast(pl.String))

    assert found(REGULAR, *halves) == {"no_trade"}
    assert "missing_upstream" in found(REGULAR, halves[0], ("2024-11-01T03:35", "2024-11-01T06:00"))
    assert "missing_upstream" in found(REGULAR, halves[0])


def daily(volume: float, symbol: str = "A") -> pl.LazyFrame:
    return bars_at(symbol, volume, "2024-11-29T14:30")


@pytest.mark.parametrize(("volume", "found"), [(15, "no_trade"), (16, "missing_upstream"), (14, "missing_upstream")])
def test_a_day_that_tells_no_more_volume_than_the_bars_has_no_hole(volume: float, found: str) -> None:
    assert statuses(FRIDAY, Evidence(bars_at("A", 5, *HOURS), daily=daily(volume)))[2] == found


def test_a_day_without_volume_had_no_trade_unless_the_symbol_never_has_any() -> None:
    nothing = pl.LazyFrame(schema=BARS)
    assert statuses(FRIDAY, Evidence(nothing, daily=daily(0))) == ["missing_upstream"] * 4
    other = bars_at("A", 5, "2024-11-27T14:30")
    assert statuses(FRIDAY, Evidence(other, daily=daily(0))) == ["no_trade"] * 4
    index = bars_at("A", 0, *HOURS)
    assert statuses(FRIDAY, Evidence(index, daily=daily(0)))[2] == "missing_upstream"


def test_a_day_that_is_not_over_proves_nothing_yet() -> None:
    at_four = Question(["A"], "1h", FRIDAY.start, FRIDAY.end, at("2024-11-29T17:45"))
    found = statuses(at_four, Evidence(bars_at("A", 5, *HOURS[:2]), daily=daily(10)))
    assert found == ["present", "present", "missing_upstream", "not_yet_due"]


def test_holidays_and_weekends_are_a_row_each_and_count_nowhere() -> None:
    asked = Question(["A", "B"], "1d", at("2024-11-27T00:00"), at("2024-12-03T00:00"), at("2024-12-09T00:00"))
    truth = gap_truth(asked, Evidence(bars_at("A", 1, "2024-11-27T14:30")), NYSE, REGULAR, "America/New_York")
    days = truth.filter(pl.col("symbol") == "A", pl.col("status") == "market_closed").collect()
    assert days["session"].to_list() == [date(2024, 11, 28), date(2024, 11, 30), date(2024, 12, 1)]
    assert days["timestamp"][0] == at("2024-11-28T05:00")
    each = completeness(truth, "symbol").collect()
    assert each.select("symbol", "buckets", "completeness").rows() == [("A", 3, 1 / 3), ("B", 3, 0)]
    assert completeness(truth).collect().row(0, named=True)["completeness"] == 1 / 6
    runs = gap_runs(truth.filter(pl.col("symbol") == "B")).collect()
    assert runs.select("status", "buckets").rows() == [
        ("missing_upstream", 3),
        ("market_closed", 1),
        ("market_closed", 2),
    ]


def test_nothing_is_expected_of_a_symbol_before_it_is_listed() -> None:
    listed = pl.LazyFrame([("A", date(2024, 11, 29), None)], schema=INSTRUMENTS, orient="row")
    asked = Question(["A"], "1d", at("2024-11-26T00:00"), at("2024-12-01T00:00"), at("2024-12-09T00:00"))
    nothing = pl.LazyFrame(schema=BARS)
    assert statuses(asked, Evidence(nothing, instruments=listed)) == ["missing_upstream", "market_closed"]
    week = Question(["A"], "1w", asked.start, asked.end, asked.as_of)
    assert statuses(week, Evidence(nothing, instruments=listed)) == ["missing_upstream"]


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(PermanentError, match="as_of of a gap report needs a time zone"):
        Question(["A"], "1d", at("2024-11-26T00:00"), at("2024-12-01T00:00"), datetime(2024, 12, 1))  # noqa: DTZ001
    with pytest.raises(PermanentError, match="window of a gap report is empty"):
        Question(["A"], "1d", FRIDAY.end, FRIDAY.start, FRIDAY.as_of)
    with pytest.raises(PermanentError, match="no interval"):
        Question(["A"], "1M", FRIDAY.start, FRIDAY.end, FRIDAY.as_of)


def test_no_symbols_no_sessions_and_no_bars_are_no_rows() -> None:
    nothing = Evidence(pl.LazyFrame(schema=BARS))
    nobody = Question([], "1m", FRIDAY.start, FRIDAY.end, FRIDAY.as_of)
    for asked, sessions in ((nobody, NYSE), (FRIDAY, NYSE.clear())):
        truth = gap_truth(asked, nothing, sessions, REGULAR, "America/New_York")
        assert truth.collect().schema == GAPS
        assert truth.collect().is_empty()
        assert completeness(truth, "symbol").collect().is_empty()
        assert completeness(truth).collect().row(0) == (0, 0, 0, 0, 0, None)
        assert gap_runs(truth).collect().is_empty()


# --- real data


@pytest.fixture(scope="module")
def minutes(shared: Path) -> pl.DataFrame:
    """Regular minutes of a share, a quiet fund and an index."""
    told = {"IBM": "lean", "SHY": "lean", "^GSPC": "mplfinance_sp500"}
    raw = pl.read_parquet(shared / "data/minute_bars.parquet").filter(
        pl.any_horizontal((pl.col("symbol") == s) & (pl.col("source") == source) for s, source in told.items())
    )
    rows = raw.with_columns(
        pl.col("volume").cast(pl.Float64), granularity=pl.lit("1m"), adjusted_close=pl.lit(None, pl.Float64)
    )
    every = calendar_sessions("XNYS", date(2008, 1, 1), date(2019, 12, 31)).lazy()
    ordered = rows.select(RAW_BARS.names()).sort("symbol", "timestamp").lazy()
    return bars_from_minutes(ordered, every, REGULAR).collect()


def told_of(minutes: pl.DataFrame, symbol: str, first: date, last: date, **known: pl.LazyFrame) -> pl.DataFrame:
    sessions = calendar_sessions("XNYS", first, last)
    asked = Question([symbol], "1m", sessions["day_start"][0], sessions["day_end"][-1], at("2024-01-01T00:00"))
    evidence = Evidence(minutes.filter(pl.col("symbol") == symbol).lazy(), **known)
    return gap_truth(asked, evidence, sessions.lazy(), REGULAR, "America/New_York").collect()


@pytest.mark.data
def test_the_holes_of_real_minutes_are_the_minutes_without_a_trade(shared: Path, minutes: pl.DataFrame) -> None:
    """Counted from the trades of that week themselves: at 12:46 on Friday nobody traded IBM."""
    first, last = date(2013, 10, 7), date(2013, 10, 11)
    ticks = pl.read_parquet(shared / "data/ticks.parquet").filter(pl.col("symbol") == "IBM")
    traded = {moment.replace(second=0, microsecond=0) for moment in ticks["timestamp"]}
    opens = [datetime(2013, 10, day, 13, 30, tzinfo=UTC) for day in range(7, 12)]
    expected = {start + n * MINUTE for start in opens for n in range(390)}
    window = pl.LazyFrame([("IBM", opens[0], opens[-1] + timedelta(hours=7))], schema=COVERED, orient="row")
    found = told_of(minutes, "IBM", first, last, covered=window)
    assert set(found["timestamp"]) == expected
    assert set(found.filter(pl.col("status") == "present")["timestamp"]) == expected & traded
    silent = found.filter(pl.col("status") == "no_trade")["timestamp"].to_list()
    assert silent == sorted(expected - traded) == [at("2013-10-11T16:46")]
    alone = told_of(minutes, "IBM", first, last).filter(pl.col("status") == "missing_upstream")
    assert alone["timestamp"].to_list() == silent


@pytest.mark.data
def test_a_quiet_fund_is_incomplete_until_its_own_day_says_that_nobody_traded(minutes: pl.DataFrame) -> None:
    """SHY around the clock change of March 2008: a minute in six has no row."""
    first, last = date(2008, 3, 7), date(2008, 3, 10)
    alone = told_of(minutes, "SHY", first, last)
    held = minutes.filter(pl.col("symbol") == "SHY")
    assert completeness(alone.lazy()).collect().row(0, named=True) == {
        "buckets": 780,
        "present": len(held),
        "no_trade": 0,
        "missing_upstream": 780 - len(held),
        "not_yet_due": 0,
        "completeness": len(held) / 780,
    }
    assert Counter(alone["status"])["market_closed"] == 2
    sums = held.group_by("symbol", "session").agg(pl.col("volume").sum())
    days = sums.filter(pl.col("session") == last).select(
        "symbol",
        pl.lit(None, UTC_US).alias("timestamp"),
        "session",
        *(pl.lit(1.0).alias(c) for c in BARS.names()[3:7]),
        "volume",
    )
    told = told_of(minutes, "SHY", first, last, daily=days.lazy())
    shares = completeness(told.lazy(), "session").collect()
    assert shares["session"].to_list() == [first, last]
    assert shares["completeness"][0] < 0.9
    assert shares["completeness"][1] == 1


@pytest.mark.data
def test_an_index_without_volume_proves_nothing_by_it(minutes: pl.DataFrame) -> None:
    """^GSPC has 1,560 minutes on four days of November 2019, and never any volume: take some away."""
    first, last = date(2019, 11, 5), date(2019, 11, 8)
    whole = told_of(minutes, "^GSPC", first, last)
    assert completeness(whole.lazy()).collect()["completeness"].item() == 1
    cut = minutes.filter(pl.col("timestamp").dt.hour() != 16)
    days = minutes.filter(pl.col("symbol") == "^GSPC").group_by("symbol", "session").agg(pl.col("volume").sum())
    found = told_of(cut, "^GSPC", first, last, daily=days.lazy())
    runs = gap_runs(found.lazy()).collect()
    assert runs.select("status", "buckets").rows() == [("missing_upstream", 60)] * 4
    assert [moment.hour for moment in runs["timestamp"]] == [16] * 4

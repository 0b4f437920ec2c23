"""Which bucket of which session a moment belongs to."""

import warnings
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import ALL_RULES, DAYS, cases, instants, rules, sessions_of
from tests.transforms import by_hand
from tests.transforms.by_hand import WIDER, bucket_of
from transforms.calendars import calendar_sessions, market_timezone, midnight
from transforms.errors import PermanentError, UnknownMarket
from transforms.schema import INTERVALS, SESSIONS, parse_interval
from transforms.sessions import BucketRules, bucket_end, bucket_label, bucket_session, buckets_of, place

EVERY = (*INTERVALS, *WIDER)
MARKETS = ("XNYS", "XTKS", "XHKG", "XBOM", "XTAE", "CMES", "24/7")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def placed(moments: list[datetime], sessions: pl.DataFrame, interval: str, how: BucketRules) -> pl.DataFrame:
    frame = pl.LazyFrame({"timestamp": moments}, schema={"timestamp": SESSIONS["open"]})
    shown = frame.pipe(place, sessions.lazy(), how).select(
        "timestamp", bucket_session(interval), start=bucket_label(interval), end=bucket_end(interval)
    )
    return shown.collect()


@given(st.data(), cases(), rules(), st.sampled_from(EVERY))
def test_every_moment_is_in_the_bucket_found_by_walking(
    data: st.DataObject, case: str, how: BucketRules, interval: str
) -> None:
    moments = data.draw(st.lists(instants(case), max_size=20))
    buckets, minutes = (by_hand.buckets_of(case, i, how) for i in (interval, "1m"))
    traded = [moment for moment in moments if bucket_of(moment, minutes)]
    found = [(moment, bucket_of(moment, buckets)) for moment in traded]
    expected = [(moment, *bucket) for moment, bucket in found if bucket]
    assert placed(moments, sessions_of(case), interval, how).rows() == expected


@pytest.mark.parametrize("how", ALL_RULES, ids=lambda how: f"{how.trading_hours} {how.align}")
@pytest.mark.parametrize("case", sorted(DAYS))
def test_all_buckets_are_those_found_by_walking(case: str, how: BucketRules) -> None:
    for interval in ("15m", "1d", *WIDER):
        found = buckets_of(sessions_of(case).lazy(), interval, how).collect()
        assert found.select("session", "timestamp", "end").rows() == by_hand.buckets_of(case, interval, how), interval
        if interval not in ("1w", "1mo"):
            assert found["last_session"].to_list() == found["session"].to_list()


@cache
def years_of(market: str) -> tuple[pl.DataFrame, Any]:
    """Our sessions of a little over three years, and the calendar of exchange_calendars."""
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar(market)
    return calendar_sessions(market, date(2022, 1, 1), date(2025, 3, 31)), calendar


@pytest.mark.parametrize("market", MARKETS)
def test_buckets_are_those_that_exchange_calendars_counts(market: str) -> None:
    """Its `trading_index` of two quarters: breaks, half days, clock changes, the last bucket cut off."""
    years, calendar = years_of(market)
    sessions = years.filter(pl.col("session") >= date(2024, 10, 1))
    first, last = str(sessions["session"][0]), str(sessions["session"][-1])
    for interval, period in (("7m", "7min"), ("30m", "30min"), ("2h", "2h")):
        index = calendar.trading_index(first, last, period, intervals=True, force_close=True, force_break_close=True)
        found = buckets_of(sessions.lazy(), interval, BucketRules()).collect()
        bounds = (("timestamp", index.left), ("end", index.right))
        for name, theirs in bounds:
            naive = pl.Series(theirs.tz_localize(None).to_numpy("datetime64[us]"))
            assert found[name].to_list() == naive.dt.replace_time_zone("UTC").to_list(), (interval, name)


@pytest.mark.parametrize("market", MARKETS)
def test_weeks_and_months_reach_from_their_first_open_to_their_last_close(market: str) -> None:
    """The schedule of exchange_calendars by the periods of pandas."""
    sessions, calendar = years_of(market)
    schedule = calendar.schedule.loc["2022-01-01":"2025-03-31"]
    for interval, frequency in (("1w", "W-SUN"), ("1mo", "M")):
        parts = [part for _, part in schedule.groupby(schedule.index.to_period(frequency))]
        found = buckets_of(sessions.lazy(), interval, BucketRules()).collect()
        dates = [(part.index[0].date(), part.index[-1].date()) for part in parts]
        assert found.select("session", "last_session").rows() == dates
        bounds = [(part["open"].iloc[0], part["close"].iloc[-1]) for part in parts]
        assert found.select("timestamp", "end").rows() == bounds


def test_intervals_are_minutes_hours_a_session_a_week_or_a_month() -> None:
    assert parse_interval("60m") == parse_interval("1h")
    assert parse_interval("24h") == parse_interval("1440m")
    assert parse_interval("90m").name == "90m"
    assert [parse_interval(name).name for name in INTERVALS] == list(INTERVALS)
    assert [parse_interval(name).period for name in ("1d", "1w", "1mo", "5m")] == ["session", "week", "month", None]
    assert len({parse_interval(f"{n}m") for n in range(1, 1441)}) == 1440


@pytest.mark.parametrize("text", ["", "m", "0m", "-5m", "1.5h", "1441m", "25h", "2d", "1M", "1H", "5 m", "1y", "05m"])
def test_what_is_no_interval_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(PermanentError, match=r"no interval; write minutes .*1w for a week or 1mo"):
        bucket_label(text)


def test_a_week_belongs_to_its_first_session_whatever_its_holidays() -> None:
    """Christmas 2023 was a Monday; the year's last week ends in the new one."""
    sessions = years_of("XNYS")[0].lazy()
    newest = sessions.filter(pl.col("session").is_between(date(2023, 12, 18), date(2024, 1, 5)))
    weeks = buckets_of(newest, "1w", BucketRules()).collect()
    assert weeks["session"].to_list() == [date(2023, 12, 18), date(2023, 12, 26), date(2024, 1, 2)]
    across = sessions.filter(pl.col("session").is_between(date(2024, 12, 30), date(2025, 1, 3)))
    assert buckets_of(across, "1w", BucketRules()).select("session", "last_session").collect().rows() == [
        (date(2024, 12, 30), date(2025, 1, 3))
    ]


def test_a_month_begins_with_the_first_session_and_its_evening_before() -> None:
    """July 2024 began on a Monday: Chicago opened on Sunday, the last day of June."""
    sessions = years_of("CMES")[0].lazy().filter(pl.col("session").is_between(date(2024, 6, 1), date(2024, 7, 31)))
    months = buckets_of(sessions, "1mo", BucketRules()).collect()
    assert months["session"].to_list() == [date(2024, 6, 3), date(2024, 7, 1)]
    assert months["timestamp"].to_list() == [at("2024-06-02T22:00"), at("2024-06-30T22:00")]
    assert months["end"].to_list() == [at("2024-06-28T22:00"), at("2024-07-31T22:00")]


def starts(case: str, day: date, interval: str, how: BucketRules) -> list[str]:
    """Local bucket starts of every minute of a day, each once."""
    zone = market_timezone(case.split()[0])
    row = sessions_of(case).row(by_predicate=pl.col("session") == day, named=True)
    minutes = int((row["day_end"] - row["day_start"]) / timedelta(minutes=1))
    moments = [row["day_start"] + timedelta(minutes=n) for n in range(minutes)]
    found = placed(moments, sessions_of(case), interval, how)
    local = found["start"].unique(maintain_order=True).dt.convert_time_zone(zone)
    return local.dt.strftime("%H:%M").to_list()


def test_hours_of_a_half_day_start_at_the_open_and_end_at_the_early_close() -> None:
    assert starts("XNYS", date(2024, 11, 29), "1h", BucketRules()) == ["09:30", "10:30", "11:30", "12:30"]


def test_hours_restart_after_the_lunch_break() -> None:
    before = starts("XTKS", date(2024, 11, 1), "1h", BucketRules())
    assert before == ["09:00", "10:00", "11:00", "12:30", "13:30", "14:30"]
    assert starts("XTKS", date(2024, 11, 6), "1h", BucketRules())[-1] == "14:30"


def test_hours_of_mumbai_start_at_a_quarter_past() -> None:
    hours = starts("XBOM", date(2024, 1, 19), "1h", BucketRules())
    assert hours == ["09:15", "10:15", "11:15", "12:15", "13:15", "14:15", "15:15"]


def test_clock_hours_are_local_ones_cut_off_at_the_open() -> None:
    hours = starts("XBOM", date(2024, 1, 19), "1h", BucketRules(align="clock"))
    assert hours == ["09:15", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]


def test_clock_hours_are_those_of_the_clock_on_the_wall_after_it_was_changed() -> None:
    hours = starts("XTAE", date(2024, 10, 27), "2h", BucketRules(align="clock"))
    assert hours == ["09:59", "10:00", "12:00", "14:00"]
    every = starts("XTAE", date(2024, 10, 27), "2h", BucketRules(trading_hours="all", align="clock"))
    assert every[2:6] == ["02:00", "04:00", "06:00", "08:00"]


def test_ninety_minutes_leave_a_short_last_bucket() -> None:
    assert starts("XNYS", date(2024, 11, 27), "90m", BucketRules()) == ["09:30", "11:00", "12:30", "14:00", "15:30"]
    assert starts("XHKG", date(2024, 12, 30), "2h", BucketRules()) == ["09:30", "11:30", "13:00", "15:00"]
    assert starts("XHKG", date(2024, 12, 31), "2h", BucketRules()) == ["09:30", "11:30"]


def test_all_hours_extend_backwards_from_the_open_and_restart_at_the_close() -> None:
    hours = starts("XNYS", date(2024, 11, 29), "1h", BucketRules(trading_hours="all"))
    assert hours[:3] == ["00:00", "00:30", "01:30"]
    assert hours[8:15] == ["07:30", "08:30", "09:30", "10:30", "11:30", "12:30", "13:00"]
    assert hours[-1] == "23:00"


def test_the_clock_change_moves_the_open_in_utc_and_nothing_else() -> None:
    opens = [
        placed([row["open"]], sessions_of("XNYS in March"), "1h", BucketRules())["start"].item()
        for row in sessions_of("XNYS in March").rows(named=True)
    ]
    assert [moment.hour for moment in opens] == [14, 14, 13, 13]


def test_a_market_that_never_closes_has_a_bar_a_day_and_none_across_midnight() -> None:
    moments = [at("2024-02-29T00:00"), at("2024-02-29T23:59:59"), at("2024-03-01T00:00")]
    found = placed(moments, sessions_of("24/7"), "1d", BucketRules())
    assert found["session"].to_list() == [date(2024, 2, 29), date(2024, 2, 29), date(2024, 3, 1)]
    assert found["start"].to_list() == [at("2024-02-29T00:00")] * 2 + [at("2024-03-01T00:00")]


@pytest.mark.parametrize("hours", ["regular", "all"])
def test_a_session_that_opens_the_evening_before_keeps_its_whole_evening(hours: str) -> None:
    sessions = calendar_sessions("CMES", date(2024, 1, 2), date(2024, 1, 5))  # 17:00 to 17:00 in Chicago
    how = BucketRules(trading_hours=hours)  # type: ignore[arg-type]
    found = placed([at("2024-01-02T22:59"), at("2024-01-02T23:00"), at("2024-01-03T06:00")], sessions, "1d", how)
    assert found["session"].to_list() == [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 3)]
    assert found["start"].to_list()[1:] == [at("2024-01-02T23:00")] * 2
    assert found["end"].to_list()[0] == at("2024-01-02T23:00")


def test_weekends_and_holidays_are_in_no_session() -> None:
    moments = [at("2024-11-28T15:00"), at("2024-11-30T15:00")]
    assert placed(moments, sessions_of("XNYS"), "1d", BucketRules(trading_hours="all")).is_empty()


def test_a_late_row_counts_in_the_last_minute_only_if_it_may() -> None:
    close = at("2024-11-29T18:00")
    frame = pl.LazyFrame({"timestamp": [close, close + timedelta(hours=1)], "auction": [False, True]})
    late = place(frame, sessions_of("XNYS").lazy(), BucketRules(), late=pl.col("auction"))
    shown = late.select("auction", minute=bucket_label("1m"), hour=bucket_label("1h"), end=bucket_end("5m"))
    assert shown.collect().rows() == [(True, close - timedelta(minutes=1), at("2024-11-29T17:30"), close)]
    wider = late.select(*(bucket_label(i).alias(i) for i in ("7m", "2h", "1d", "1w", "1mo"))).collect().row(0)
    week, first = at("2024-11-26T14:30"), at("2024-11-29T14:30")
    assert wider == (at("2024-11-29T18:00") - timedelta(minutes=7), at("2024-11-29T16:30"), first, week, week)


def test_rows_keep_their_order_and_their_columns() -> None:
    moments = [at("2024-11-27T16:00"), at("2024-11-26T16:00"), at("2024-11-27T15:00")]
    frame = pl.LazyFrame({"timestamp": moments, "session": [None] * 3, "row": [0, 1, 2]})
    found = place(frame, sessions_of("XNYS").lazy(), BucketRules()).collect()
    assert found["row"].to_list() == [0, 1, 2]
    assert found["session"].to_list() == [date(2024, 11, 27), date(2024, 11, 26), date(2024, 11, 27)]


def test_sessions_have_their_schema_and_lie_in_order_inside_their_days() -> None:
    for case in DAYS:
        sessions = sessions_of(case)
        assert sessions.schema == SESSIONS
        inside = (pl.col("day_start") <= pl.col("open")) & (pl.col("close") <= pl.col("day_end"))
        assert sessions.select((inside & (pl.col("open") < pl.col("close"))).all()).item()
        assert (sessions["open"].shift(-1) >= sessions["close"]).all()


def test_a_day_lasts_from_one_local_midnight_to_the_next() -> None:
    friday = calendar_sessions("XNYS", date(2024, 11, 29), date(2024, 11, 29))
    assert friday.select("day_start", "day_end").row(0) == (at("2024-11-29T05:00"), at("2024-11-30T05:00"))


def test_where_clocks_jump_over_midnight_the_day_begins_when_they_have() -> None:
    days = pl.select(pl.lit(date(2018, 11, 4)).cast(pl.Datetime("us")).alias("day"))
    assert days.select(midnight(pl.col("day"), "America/Sao_Paulo")).item() == at("2018-11-04T03:00")


def test_a_calendar_that_begins_later_starts_where_it_begins() -> None:
    assert calendar_sessions("XTKS", date(1990, 1, 1), date(1997, 1, 10))["session"][0] == date(1997, 1, 6)
    assert calendar_sessions("XBOM", date(2026, 12, 1), date(2028, 1, 1))["session"][-1] <= date(2026, 12, 31)


@pytest.mark.parametrize(
    ("market", "start", "end", "reach"),
    [
        ("XNYS", date(2020, 3, 1), date(2020, 1, 1), "from any day to any day"),
        ("XNYS", date(2020, 1, 2), date(2020, 1, 1), "from any day to any day"),
        ("XNYS", date(2200, 1, 1), None, r"from any day to 2\d\d\d-"),
        ("XKRX", date(2051, 1, 1), date(2052, 1, 1), "from 1956-01-01 to 2050-12-31"),
        ("XTKS", date(1950, 1, 1), date(1960, 1, 1), "from 1997-01-01 to any day"),
    ],
)
def test_days_that_a_calendar_does_not_have_are_refused_with_those_it_has(
    market: str, start: date, end: date | None, reach: str
) -> None:
    with pytest.raises(PermanentError, match=f"calendar {market}, which goes {reach}.*has no days from {start}"):
        calendar_sessions(market, start, end)


def test_an_unknown_market_names_its_neighbours() -> None:
    with pytest.raises(UnknownMarket, match="'XNYX'.*XNYS"):
        calendar_sessions("XNYX", date(2024, 1, 1))
    with pytest.raises(UnknownMarket, match="ISO 10383"):
        market_timezone("nowhere")
    assert market_timezone("XBOM") == "Asia/Kolkata"

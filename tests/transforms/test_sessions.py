"""Which bucket of which session a moment belongs to."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import cases, instants, rules, sessions_of
from tests.transforms.by_hand import bucket_of, buckets_of
from transforms.errors import UnknownMarket
from transforms.schema import INTERVALS, SESSIONS, Interval
from transforms.sessions import (
    BucketRules,
    _midnight,
    bucket_end,
    bucket_label,
    calendar_sessions,
    market_timezone,
    place,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def placed(moments: list[datetime], sessions: pl.DataFrame, interval: Interval, how: BucketRules) -> pl.DataFrame:
    frame = pl.LazyFrame({"timestamp": moments}, schema={"timestamp": SESSIONS["open"]})
    shown = frame.pipe(place, sessions.lazy(), how).select(
        "timestamp", "session", start=bucket_label(interval), end=bucket_end(interval)
    )
    return shown.collect()


@given(st.data(), cases(), rules(), st.sampled_from(INTERVALS))
def test_every_moment_is_in_the_bucket_found_by_walking(
    data: st.DataObject, case: str, how: BucketRules, interval: Interval
) -> None:
    moments = data.draw(st.lists(instants(case), max_size=20))
    buckets = buckets_of(case, interval, how)
    found = [(moment, bucket_of(moment, buckets)) for moment in moments]
    expected = [(moment, *bucket) for moment, bucket in found if bucket]
    assert placed(moments, sessions_of(case), interval, how).rows() == expected


def starts(case: str, day: date, interval: Interval, how: BucketRules) -> list[str]:
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


def test_rows_keep_their_order_and_their_columns() -> None:
    moments = [at("2024-11-27T16:00"), at("2024-11-26T16:00"), at("2024-11-27T15:00")]
    frame = pl.LazyFrame({"timestamp": moments, "session": [None] * 3, "row": [0, 1, 2]})
    found = place(frame, sessions_of("XNYS").lazy(), BucketRules()).collect()
    assert found["row"].to_list() == [0, 1, 2]
    assert found["session"].to_list() == [date(2024, 11, 27), date(2024, 11, 26), date(2024, 11, 27)]


def test_sessions_have_their_schema_and_lie_in_order_inside_their_days() -> None:
    for case in ("XNYS", "XTKS", "XBOM", "24/7", "XNYS in March"):
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
    assert days.select(_midnight(pl.col("day"), "America/Sao_Paulo")).item() == at("2018-11-04T03:00")


def test_a_calendar_that_begins_later_starts_where_it_begins() -> None:
    assert calendar_sessions("XTKS", date(1990, 1, 1), date(1997, 1, 10))["session"][0] == date(1997, 1, 6)
    assert calendar_sessions("XBOM", date(2026, 12, 1), date(2028, 1, 1))["session"][-1] <= date(2026, 12, 31)


def test_an_unknown_market_names_its_neighbours() -> None:
    with pytest.raises(UnknownMarket, match="'XNYX'.*XNYS"):
        calendar_sessions("XNYX", date(2024, 1, 1))
    with pytest.raises(UnknownMarket, match="ISO 10383"):
        market_timezone("nowhere")
    assert market_timezone("XBOM") == "Asia/Kolkata"

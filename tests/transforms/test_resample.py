"""Bars from trades, from vendors' bars and from finer bars."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import CONDITIONS, SYMBOLS, cases, minute_bars, rules, sessions_of, ticks
from tests.transforms.by_hand import MINUTE, WIDER, bucket_of, buckets_of
from transforms.calendars import calendar_sessions
from transforms.resample import bars_from_minutes, closed, fill_bars, merge_minutes, resample
from transforms.schema import BARS, INTERVALS, RAW_BARS, TICKS, Interval
from transforms.sessions import BucketRules
from transforms.ticks import bars_from_ticks

REGULAR = BucketRules()
EVERY = (*INTERVALS, *WIDER)
NESTED = [
    *((fine, coarse) for n, coarse in enumerate(INTERVALS) for fine in INTERVALS[:n]),
    *(("1m", "7m"), ("7m", "1d"), ("5m", "30m"), ("30m", "2h"), ("15m", "90m"), ("1h", "24h"), ("24h", "1w")),
    *(("1d", "1w"), ("1d", "1mo"), ("90m", "1mo")),
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def nyse() -> pl.LazyFrame:
    return sessions_of("XNYS").lazy()


def fold(trades: list[tuple[float, float]]) -> tuple[float, ...]:
    prices = [price for price, _ in trades]
    return (prices[0], max(prices), min(prices), prices[-1], sum(size for _, size in trades))


def bucket_of_trade(row: dict[str, object], case: str, how: BucketRules) -> tuple[object, datetime] | None:
    """Session and minute of a trade by the rules of DESIGN.md; messages 0x1000000 and 0x4000000, auction 0x80."""
    condition, moment = row["condition"], row["timestamp"]
    assert isinstance(moment, datetime)
    if condition in ("1000000", "4000080"):
        return None
    minutes = buckets_of(case, "1m", how)
    bucket = bucket_of(moment, minutes)
    if bucket is not None or how.trading_hours == "all":
        return bucket and (bucket.session, bucket.start)
    for session in sessions_of(case).rows(named=True):
        after = session["close"] <= moment < session["day_end"]
        known_late = condition is None and moment < session["close"] + how.close_grace
        if after and (condition == "20200080" or known_late):
            return session["session"], session["close"] - MINUTE
    return None


@given(st.data(), cases(), rules())
def test_minutes_are_the_fold_of_their_trades_in_order(data: st.DataObject, case: str, how: BucketRules) -> None:
    trades = data.draw(ticks(case))
    expected: dict[tuple[str, datetime], tuple[object, list[tuple[float, float]]]] = {}
    for row in trades.rows(named=True):
        bucket = bucket_of_trade(row, case, how)
        if bucket:
            session, start = bucket
            expected.setdefault((row["symbol"], start), (session, []))[1].append((row["price"], row["size"]))
    found = bars_from_ticks(trades.lazy(), sessions_of(case).lazy(), how).collect()
    assert found.schema == BARS
    assert found.rows() == [(*key, session, *fold(some)) for key, (session, some) in sorted(expected.items())]


@given(st.data(), cases(), rules(), st.sampled_from(NESTED))
def test_resampling_in_steps_equals_resampling_at_once(
    data: st.DataObject, case: str, how: BucketRules, steps: tuple[str, str]
) -> None:
    bars, sessions = data.draw(minute_bars(case)).lazy(), sessions_of(case).lazy()
    fine, coarse = steps
    at_once = bars.pipe(resample, coarse, sessions, how)
    in_steps = bars.pipe(resample, fine, sessions, how).pipe(resample, coarse, sessions, how)
    assert_frame_equal(in_steps.collect(), at_once.collect())


@given(st.data(), cases(), rules(), st.sampled_from(EVERY))
def test_bars_are_the_fold_of_their_minutes(data: st.DataObject, case: str, how: BucketRules, interval: str) -> None:
    minutes = data.draw(minute_bars(case))
    buckets = buckets_of(case, interval, how)
    sessions = {bucket.start: bucket.session for bucket in buckets}
    expected: dict[tuple[str, datetime], list[dict[str, float]]] = {}
    for row in minutes.rows(named=True):
        bucket = bucket_of(row["timestamp"], buckets)
        assert bucket is not None
        expected.setdefault((row["symbol"], bucket.start), []).append(row)
    bars = [
        (
            *key,
            sessions[key[1]],
            some[0]["open"],
            max(row["high"] for row in some),
            min(row["low"] for row in some),
            some[-1]["close"],
            sum(row["volume"] for row in some),
        )
        for key, some in expected.items()
    ]
    assert resample(minutes.lazy(), interval, sessions_of(case).lazy(), how).collect().rows() == bars


@given(st.data(), cases(), rules(), st.sampled_from(EVERY))
def test_many_symbols_at_once_equal_one_by_one(data: st.DataObject, case: str, how: BucketRules, interval: str) -> None:
    trades, sessions = data.draw(ticks(case)).lazy(), sessions_of(case).lazy()

    def bars(some: pl.LazyFrame) -> pl.DataFrame:
        return some.pipe(bars_from_ticks, sessions, how).pipe(resample, interval, sessions, how).collect()

    alone = [bars(trades.filter(pl.col("symbol") == symbol)) for symbol in SYMBOLS]
    assert_frame_equal(bars(trades), pl.concat(alone))


@given(st.data(), cases(), rules())
def test_both_engines_agree(data: st.DataObject, case: str, how: BucketRules) -> None:
    trades, sessions = data.draw(ticks(case)).lazy(), sessions_of(case).lazy()
    bars = trades.pipe(bars_from_ticks, sessions, how).pipe(resample, "15m", sessions, how)
    assert_frame_equal(bars.collect(engine="in-memory"), bars.collect(engine="streaming"))


@given(st.data(), cases(), rules(), st.sampled_from(EVERY))
def test_what_comes_later_changes_no_closed_bar(
    data: st.DataObject, case: str, how: BucketRules, interval: str
) -> None:
    minutes, sessions = data.draw(minute_bars(case)).lazy(), sessions_of(case).lazy()
    row = data.draw(st.sampled_from(sessions_of(case).rows(named=True)))
    as_of = row["open"] + timedelta(minutes=data.draw(st.integers(0, 900)))

    def known(rows: pl.LazyFrame) -> pl.DataFrame:
        bars = rows.pipe(resample, interval, sessions, how)
        return bars.pipe(closed, interval, sessions, how, as_of).collect()

    assert_frame_equal(known(minutes.filter(pl.col("timestamp") < as_of)), known(minutes))


@given(st.data(), cases(), rules(), st.sampled_from(EVERY))
def test_a_bar_is_closed_once_as_of_has_reached_its_end(
    data: st.DataObject, case: str, how: BucketRules, interval: str
) -> None:
    sessions = sessions_of(case).lazy()
    bars = data.draw(minute_bars(case)).lazy().pipe(resample, interval, sessions, how).collect()
    ends = {bucket.start: bucket.end for bucket in buckets_of(case, interval, how)}
    assume(len(bars))
    end = ends[data.draw(st.sampled_from(bars["timestamp"].to_list()))]
    for as_of in (end, end - timedelta(microseconds=1)):
        expected = [row for row in bars.rows() if ends[row[1]] <= as_of]
        assert bars.lazy().pipe(closed, interval, sessions, how, as_of).collect().rows() == expected


def test_a_week_is_open_until_its_last_session_ends_and_a_month_too() -> None:
    """Thanksgiving 2024: the week and the month end with the early close of Friday the 29th."""
    bars = bars_of(("2024-11-26T14:30", 1), ("2024-11-27T15:00", 2), ("2024-12-02T14:30", 3))
    end = at("2024-11-29T18:00")
    for interval in ("1w", "1mo"):
        folded = bars.pipe(resample, interval, nyse(), REGULAR)
        for as_of, expected in ((end - MINUTE, 0), (end, 1), (at("2024-12-04T00:00"), 2)):
            assert len(folded.pipe(closed, interval, nyse(), REGULAR, as_of).collect()) == expected
        first = folded.first().collect().row(0, named=True)
        assert (first["session"], first["close"], first["volume"]) == (date(2024, 11, 26), 2, 2)


def test_a_week_carries_its_first_session_even_if_nobody_traded_in_it() -> None:
    wednesday = bars_of(("2024-11-27T15:00", 2)).pipe(resample, "1w", nyse(), REGULAR).collect()
    assert wednesday.select("timestamp", "session").row(0) == (at("2024-11-26T14:30"), date(2024, 11, 26))


@pytest.mark.data
@pytest.mark.parametrize(("interval", "rule"), [("1w", "W-SUN"), ("1mo", "MS")])
def test_weeks_and_months_of_real_days_are_those_of_pandas(shared: Path, interval: str, rule: str) -> None:
    """Five years of 13 symbols; the vendor stamps a day with its close, which is no minute of the session."""
    some = (pl.col("symbol") == "GMRE") | (pl.col("symbol") < "C")  # it and AGFS start later
    daily = pl.read_parquet(shared / "data/daily.parquet").filter(some).drop_nulls("close").sort("symbol", "date")
    rows = daily.lazy().with_columns(
        pl.col("volume").cast(pl.Float64), granularity=pl.lit("1d"), source=pl.lit("yahoo")
    )
    sessions = calendar_sessions("XNYS", date(2012, 9, 1), date(2017, 9, 30)).lazy()
    days = fill_bars(rows.select(RAW_BARS.names()), "1d", sessions, REGULAR, NOTHING).collect()
    assert len(days) == len(daily) > 14_000
    found = days.lazy().pipe(resample, interval, sessions, REGULAR).collect()

    folds = {"date": "first", "open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    theirs = pd.DataFrame(daily.to_dict(as_series=False))
    theirs["at"] = pd.to_datetime(theirs["date"])
    grouped = theirs.groupby("symbol").resample(rule, on="at").agg(folds).dropna().reset_index()
    for column in ("symbol", "open", "high", "low", "close"):
        assert found[column].to_list() == grouped[column].to_list()
    assert found["volume"].to_list() == pytest.approx(grouped["volume"].to_list(), rel=1e-15)
    late = [ours != first for ours, first in zip(found["session"], grouped["date"], strict=True)]
    assert 0 < sum(late) < 4  # where a symbol's first day is not the first session of its week or month


def one_day(*trades: tuple[str, float, float, str | None]) -> pl.LazyFrame:
    """Trades of one symbol on the half day 2024-11-29 (close 13:00 in New York, 18:00 UTC)."""
    rows = [
        ("A", at(f"2024-11-29T{time}"), "feed", number, price, size, condition)
        for number, (time, price, size, condition) in enumerate(trades)
    ]
    return pl.LazyFrame(rows, schema=TICKS, orient="row")


def closes(how: BucketRules, *trades: tuple[str, float, float, str | None]) -> list[tuple[str, float, float]]:
    bars = one_day(*trades).pipe(bars_from_ticks, nyse(), how).collect()
    return [(f"{row['timestamp']:%H:%M}", row["close"], row["volume"]) for row in bars.rows(named=True)]


def test_the_closing_auction_belongs_to_the_last_minute_however_late_it_prints() -> None:
    found = closes(REGULAR, ("17:59:59", 1, 10, "1"), ("18:00:04", 2, 500, "20200080"), ("18:30", 3, 7, "80"))
    assert found == [("17:59", 3, 517)]


def test_the_closing_auction_makes_the_last_minute_where_nobody_traded() -> None:
    assert closes(REGULAR, ("17:10", 1, 10, "1"), ("18:00:04", 2, 5, "80")) == [("17:10", 1, 10), ("17:59", 2, 5)]


def test_an_ordinary_trade_after_the_close_does_not_count() -> None:
    assert closes(REGULAR, ("17:10", 1, 10, "1"), ("18:00:00", 2, 5, "1")) == [("17:10", 1, 10)]


def test_without_conditions_trades_count_until_the_grace_is_over() -> None:
    trades = [("18:00:00", 1, 1, None), ("18:01:59.999999", 2, 1, None), ("18:02:00", 3, 1, None)]
    assert closes(REGULAR, *trades) == [("17:59", 2, 2)]
    assert closes(BucketRules(close_grace=timedelta(seconds=30)), *trades) == [("17:59", 1, 1)]


def test_in_all_hours_the_auction_counts_where_it_printed() -> None:
    trades = [("17:59:59", 1, 10, "1"), ("18:00:04", 2, 500, "20200080"), ("18:00:05", 3, 1, "1")]
    assert closes(BucketRules(trading_hours="all"), *trades) == [("17:59", 1, 10), ("18:00", 3, 501)]


def test_messages_make_no_bar_not_even_with_an_auction_flag() -> None:
    assert closes(REGULAR, ("17:10", 1, 10, "1000000"), ("18:00:04", 2, 5, "1000080")) == []


@pytest.mark.parametrize(
    ("condition", "counts"),
    [("M", False), ("M T", False), ("T,M", False), ("T;M|X", False), ("MT", True), ("m", True), (None, True)],
)
def test_a_condition_that_is_no_number_is_a_whole_word(condition: str | None, counts: bool) -> None:
    found = closes(BucketRules(message_conditions=("M", "0x4000000")), ("17:10", 1, 10, condition))
    assert bool(found) == counts


def test_a_word_may_name_the_auction_and_have_letters_that_mean_something_in_patterns() -> None:
    how = BucketRules(auction_conditions=("6+",), message_conditions=())
    assert closes(how, ("18:00:04", 2, 5, "6+ X"), ("18:00:05", 3, 5, "66")) == [("17:59", 2, 5)]


def test_no_trades_make_no_bars() -> None:
    empty = pl.LazyFrame(schema=TICKS).pipe(bars_from_ticks, nyse(), REGULAR).collect()
    assert empty.is_empty()
    assert empty.schema == BARS
    assert CONDITIONS[0] is None  # the strategies do draw unknown conditions


def vendor(*rows: tuple[str, str, tuple[float, ...]], symbol: str = "A") -> pl.LazyFrame:
    """RAW_BARS of (granularity, start, open high low close volume)."""
    made = [(symbol, length, at(start), "vendor", *values, None) for length, start, values in rows]
    return pl.LazyFrame(made, schema=RAW_BARS, orient="row")


def bars_of(*rows: tuple[str, float]) -> pl.LazyFrame:
    """BARS of (start, price) with volume 1."""
    made = [("A", at(start), at(start).date(), *[price] * 4, 1.0) for start, price in rows]
    return pl.LazyFrame(made, schema=BARS, orient="row")


def test_a_vendors_closing_minute_joins_the_last_bucket_and_later_ones_do_not() -> None:
    rows = vendor(
        ("1m", "2024-11-29T17:59", (5, 6, 4, 5, 10)),
        ("1m", "2024-11-29T18:00", (7, 7, 7, 7, 90)),
        ("1m", "2024-11-29T18:01", (9, 9, 9, 9, 1)),
    )
    found = bars_from_minutes(rows, nyse(), REGULAR).collect()
    assert found.rows() == [("A", at("2024-11-29T17:59"), at("2024-11-29T17:59").date(), 5, 7, 4, 7, 100)]
    every = bars_from_minutes(rows, nyse(), BucketRules(trading_hours="all")).collect()
    assert every["volume"].to_list() == [10, 90, 1]


def covered(*windows: tuple[str, str]) -> pl.LazyFrame:
    rows = [("A", at(start), at(end)) for start, end in windows]
    schema = {"symbol": pl.String(), "start": BARS["timestamp"], "end": BARS["timestamp"]}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def merged(*windows: tuple[str, str]) -> dict[str, float]:
    traded = bars_of(("2024-11-27T15:00", 1), ("2024-11-27T15:02", 1))
    vendors = bars_of(("2024-11-27T15:00", 2), ("2024-11-27T15:01", 2))
    found = merge_minutes(traded, vendors, covered(*windows)).collect()
    return {f"{row['timestamp']:%H:%M}": row["close"] for row in found.rows(named=True)}


def test_without_coverage_the_vendor_wins_and_trades_fill_holes() -> None:
    assert merged() == {"15:00": 2, "15:01": 2, "15:02": 1}


def test_where_trades_are_covered_only_they_count() -> None:
    assert merged(("2024-11-27T15:00", "2024-11-27T16:00")) == {"15:00": 1, "15:02": 1}


def test_coverage_ends_before_its_end_and_windows_may_overlap() -> None:
    assert merged(("2024-11-27T14:00", "2024-11-27T15:01")) == {"15:00": 1, "15:01": 2, "15:02": 1}
    inside = ("2024-11-27T14:10", "2024-11-27T14:20")
    assert merged(("2024-11-27T14:00", "2024-11-27T15:01"), inside) == {"15:00": 1, "15:01": 2, "15:02": 1}


def test_coverage_of_one_symbol_says_nothing_about_another() -> None:
    vendors = bars_of(("2024-11-27T15:00", 2)).with_columns(symbol=pl.lit("B"))
    every = ("2024-11-27T00:00", "2024-11-28T00:00")
    assert merge_minutes(bars_of(), vendors, covered(every)).collect()["symbol"].to_list() == ["B"]


HOURS = (
    ("1h", "2024-11-29T14:00", (1.0, 3.0, 1.0, 2.0, 10.0)),  # 09:00 New York, covers 09:30 to 10:00
    ("1h", "2024-11-29T15:00", (2.0, 9.0, 2.0, 8.0, 20.0)),
    ("1h", "2024-11-29T17:00", (8.0, 8.0, 0.5, 4.0, 30.0)),
    ("1h", "2024-11-29T18:00", (4.0, 99.0, 4.0, 99.0, 99.0)),  # after the early close
)
DAY = ("1d", "2024-11-29T14:30", (1.5, 10.0, 0.25, 4.5, 70.0))
NOTHING = pl.LazyFrame(schema=BARS)
Filled = list[tuple[str, float, float, float, float, float]]


def filled(
    interval: Interval, how: BucketRules, *rows: tuple[str, str, tuple[float, ...]], reached: pl.LazyFrame = NOTHING
) -> Filled:
    found = fill_bars(vendor(*rows), interval, nyse(), how, reached).collect()
    assert found.schema == BARS
    return [(f"{row[1]:%dT%H:%M}", *row[3:]) for row in found.rows()]


def test_clock_hours_are_clipped_to_the_session() -> None:
    found = filled("1h", BucketRules(align="clock"), *HOURS)
    assert [row[0] for row in found] == ["29T14:30", "29T15:00", "29T17:00"]
    assert found[0][1:] == HOURS[0][2]


def test_hours_that_are_no_bucket_are_left_out() -> None:
    assert filled("1h", REGULAR, *HOURS) == []
    assert filled("5m", REGULAR, *HOURS, DAY) == []


def test_hours_fold_into_a_day_and_the_vendors_own_day_beats_them() -> None:
    assert filled("1d", REGULAR, *HOURS) == [("29T14:30", 1.0, 9.0, 0.5, 4.0, 60.0)]
    assert filled("1d", REGULAR, *HOURS, DAY) == [("29T14:30", *DAY[2])]


def test_what_finer_data_reached_is_not_filled() -> None:
    reached = bars_of(("2024-11-29T14:30", 1))
    assert filled("1d", REGULAR, DAY, reached=reached) == []
    assert filled("1d", REGULAR, DAY, reached=bars_of(("2024-11-27T14:30", 1))) == [("29T14:30", *DAY[2])]


@pytest.mark.parametrize("stamp", ["2024-11-29T14:30", "2024-11-29T18:00", "2024-11-29T05:00"])
def test_a_days_row_may_be_stamped_anywhere_in_its_day(stamp: str) -> None:
    assert filled("1d", REGULAR, ("1d", stamp, DAY[2])) == [("29T14:30", *DAY[2])]
    every = BucketRules(trading_hours="all")
    assert filled("1d", every, ("1d", stamp, DAY[2])) == [("29T05:00", *DAY[2])]


def test_rows_outside_every_session_are_left_out() -> None:
    holiday = ("1d", "2024-11-28T14:30", DAY[2])
    weekend = ("1h", "2024-11-30T15:00", DAY[2])
    assert filled("1d", REGULAR, holiday, weekend) == []


def test_an_hour_of_two_sessions_is_left_out() -> None:
    values = (1.0, 1.0, 1.0, 1.0, 5.0)
    rows = vendor(("1h", "2024-02-29T22:30", values), ("1h", "2024-02-29T23:30", values))
    found = fill_bars(rows, "1d", sessions_of("24/7").lazy(), REGULAR, NOTHING).collect()
    assert found["session"].to_list() == [date(2024, 2, 29)]
    assert found["volume"].to_list() == [5.0]


def test_an_hour_is_cut_at_the_lunch_break() -> None:
    values = (1.0, 1.0, 1.0, 1.0, 5.0)
    rows = vendor(*[("1h", f"2024-11-01T0{hour}:00", values) for hour in range(6)])  # 09:00 to 15:00 in Tokyo
    how = BucketRules(align="clock")
    found = fill_bars(rows, "1h", sessions_of("XTKS").lazy(), how, NOTHING).collect()
    local = found["timestamp"].dt.convert_time_zone("Asia/Tokyo").dt.strftime("%H:%M").to_list()
    assert local == ["09:00", "10:00", "11:00", "12:30", "13:00", "14:00"]


def test_functions_take_lazy_frames_without_collecting_them() -> None:
    def explode(_: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("collected")

    def trap(schema: pl.Schema) -> pl.LazyFrame:
        return pl.LazyFrame(schema=schema).map_batches(explode, schema=schema)

    sessions = sessions_of("XNYS").lazy()
    bars_from_ticks(trap(TICKS), sessions, REGULAR)
    bars_from_minutes(trap(RAW_BARS), sessions, REGULAR)
    resample(trap(BARS), "1h", sessions, REGULAR)
    fill_bars(trap(RAW_BARS), "1d", sessions, REGULAR, trap(BARS))
    merge_minutes(trap(BARS), trap(BARS), covered())

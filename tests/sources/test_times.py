"""Times as vendors write them."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from flows.sources.times import day_starts, from_wall, local_dates, read_dates, read_times

INSTANT = datetime(2013, 10, 7, 13, 30, 5, tzinfo=UTC)
WALL = INSTANT.replace(tzinfo=None)
HALF = timedelta(milliseconds=500)


def slots(cell: object, dtype: pl.DataType | None = None) -> dict[str, object]:
    """What one cell is read as, nulls left out."""
    row = read_times(pl.Series([cell], dtype=dtype)).row(0, named=True)
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2013-10-07T13:30:05Z", INSTANT),
        ("2013-10-07 13:30:05Z", INSTANT),
        ("2013-10-07T13:30:05.5+00:00", INSTANT + HALF),
        ("2013-10-07T09:30:05-0400", INSTANT),
        ("2013-10-07T22:30:05+09", INSTANT),
        ("2013/10/07 13:30:05 UTC", INSTANT),
        ("2013/10/07 09:30:05-04:00", INSTANT),
        ("2013.10.07 19:00:05.0 +0530", INSTANT),
        ("20131007 133005Z", INSTANT),
        ("2013-10-07T13:30:05.123456789Z", INSTANT + timedelta(microseconds=123456)),
        ("1381152605", INSTANT),
        ("1381152605.5", INSTANT + HALF),
        ("1381152605500", INSTANT + HALF),
        ("1381152605000001", INSTANT + timedelta(microseconds=1)),
        ("1381152605000001999", INSTANT + timedelta(microseconds=1)),
        ("-157766400", datetime(1965, 1, 1, tzinfo=UTC)),
    ],
)
def test_text_with_a_zone_and_epochs_are_instants(text: str, instant: datetime) -> None:
    assert slots(text) == {"instant": instant}


@pytest.mark.parametrize(
    "text", ["2013-10-07T13:30:05", "2013-10-07 13:30:05.000", "2013.10.07 13:30:05", "20131007133005"]
)
def test_text_without_a_zone_is_a_wall_clock(text: str) -> None:
    assert slots(text) == {"wall": WALL}


@pytest.mark.parametrize("text", ["2013-10-07", "2013/10/07", "20131007"])
def test_a_bare_date_is_a_day(text: str) -> None:
    assert slots(text) == {"day": date(2013, 10, 7)}


@pytest.mark.parametrize(
    "text", ["10/07/2013", "2013-02-30", "2013-13-01", "2013-10-07T25:00:00Z", "soon", "42", "12:30", "2013-10-07T"]
)
def test_the_rest_is_not_read(text: str) -> None:
    assert slots(text) == {}


def test_forms_may_be_mixed_in_a_column() -> None:
    cells = pl.Series(["2013-10-07T13:30:05Z", "1381152605", "2013-10-07", None, "junk", "2013-10-07T13:30:05Z"])
    read = read_times(cells)
    assert read["instant"].to_list() == [INSTANT, INSTANT, None, None, None, INSTANT]
    assert read["day"].to_list() == [None, None, date(2013, 10, 7), None, None, None]


@pytest.mark.parametrize(
    ("cell", "dtype", "expected"),
    [
        (INSTANT, pl.Datetime("ns", "Asia/Tokyo"), {"instant": INSTANT}),
        (WALL, pl.Datetime("ms"), {"wall": WALL}),
        (date(2013, 10, 7), pl.Date(), {"day": date(2013, 10, 7)}),
        (1381152605, pl.Int64(), {"instant": INSTANT}),
        (1381152605500, pl.UInt64(), {"instant": INSTANT + HALF}),
        (1381152605.5, pl.Float64(), {"instant": INSTANT + HALF}),
        (20131007, pl.Int32(), {"day": date(2013, 10, 7)}),
        (float("nan"), pl.Float64(), {}),
        (7, pl.Int64(), {}),
    ],
)
def test_typed_columns(cell: object, dtype: pl.DataType, expected: dict[str, object]) -> None:
    assert slots(cell, dtype) == expected


def test_times_no_calendar_holds_are_not_read() -> None:
    absurd = pl.Series([2**62], dtype=pl.Int64)
    for cells in (
        absurd.cast(pl.Datetime("us", "UTC")),
        absurd.cast(pl.Datetime("us")),
        pl.Series(["-99999999999999"]),
    ):
        assert read_times(cells).null_count().row(0) == (1, 1, 1)
    for cells in (pl.Series(["0000-01-01"]), pl.Series([2**30], dtype=pl.Int32).cast(pl.Date)):
        assert read_dates(cells).to_list() == [None]
        assert read_times(cells).null_count().row(0) == (1, 1, 1)


@pytest.mark.parametrize("clock", ["9:30:05", "09:30:05", time(9, 30, 5)])
def test_a_time_of_day_goes_with_the_date_beside_it(clock: object) -> None:
    for day in ("2013-10-07", "20131007", date(2013, 10, 7)):
        read = read_times(pl.Series([clock]), pl.Series([day]))
        assert read["wall"].to_list() == [datetime(2013, 10, 7, 9, 30, 5)]  # noqa: DTZ001


@pytest.mark.parametrize(
    "cell", ["2022-01-03 00:00:00+08:00", "2022-01-03", "20220103", "2022/01/03 23:59", date(2022, 1, 3), 20220103]
)
def test_a_date_is_the_one_that_is_written(cell: object) -> None:
    assert read_dates(pl.Series([cell])).to_list() == [date(2022, 1, 3)]


def test_clocks_that_are_put_back_or_forward_show_no_instant() -> None:
    walls = ["2021-03-14 02:30:00", "2021-11-07 01:30:00", "2021-11-07 03:30:00"]
    instants = from_wall(pl.Series(walls).str.to_datetime(time_unit="us"), "America/New_York")
    assert instants.to_list() == [None, None, datetime(2021, 11, 7, 8, 30, tzinfo=UTC)]


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Asia/Tokyo", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "UTC"]
)
def test_local_dates_are_those_of_converted_times(zone: str) -> None:
    quarter = timedelta(minutes=15)
    instants = pl.datetime_range(datetime(2008, 1, 1), datetime(2012, 2, 1), quarter, eager=True, time_zone="UTC")  # noqa: DTZ001
    assert local_dates(instants, zone).equals(instants.dt.convert_time_zone(zone).dt.date())


def test_local_dates_of_nothing_are_nothing() -> None:
    none = pl.Series([None, None], dtype=pl.Datetime("us", "UTC"))
    assert local_dates(none, "Asia/Tokyo").to_list() == [None, None]
    some = pl.Series([None, INSTANT], dtype=pl.Datetime("us", "UTC"))
    assert local_dates(some, "Asia/Tokyo").to_list() == [None, date(2013, 10, 7)]


def test_a_day_begins_when_its_first_clock_does() -> None:
    days = pl.Series([date(2018, 11, 3), date(2018, 11, 4)])  # in São Paulo the 4th began at one o'clock
    assert day_starts(days, "America/Sao_Paulo").to_list() == [
        datetime(2018, 11, 3, 3, tzinfo=UTC),
        datetime(2018, 11, 4, 3, tzinfo=UTC),
    ]

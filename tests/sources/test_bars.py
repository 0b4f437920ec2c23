"""What span a bar covers: its length, its stamp, its session."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.sources.conftest import Read, Write

HEAD = "symbol,timestamp,open,high,low,close,volume"


def bars(*stamps: str, symbol: str = "A", extra: str = "") -> str:
    """Rows of equal prices."""
    return "".join(f"{symbol},{stamp},1,1,1,1,1{extra}\n" for stamp in stamps)


def csv(*stamps: str, symbol: str = "A") -> str:
    return f"{HEAD}\n{bars(*stamps, symbol=symbol)}"


def at(*parts: int) -> datetime:
    year, month, day, hour, minute = parts
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


MINUTES = [f"2023-03-13T13:{minute}:00Z" for minute in (30, 31, 33)]
SESSIONS = ["2023-03-10", "2023-03-13", "2023-03-14"]
OPENS = [at(2023, 3, 10, 14, 30), at(2023, 3, 13, 13, 30), at(2023, 3, 14, 13, 30)]
"""Regular opens in New York around the beginning of summer time."""


def test_end_stamped_minutes_move_to_their_start(read: Read, write: Write) -> None:
    path = write("m.csv", csv(*MINUTES))
    starts = [at(2023, 3, 13, 13, minute) for minute in (30, 31, 33)]
    assert read(path).good["timestamp"].to_list() == starts
    assert read(path, label="start").good["timestamp"].to_list() == starts
    assert read(path, label="end").good["timestamp"].to_list() == [s - timedelta(minutes=1) for s in starts]


def test_end_stamped_hours_move_by_an_hour(read: Read, write: Write) -> None:
    path = write("h.csv", csv("2023-03-13T15:00:00Z", "2023-03-13T16:00:00Z"))
    found = read(path, label="end").good
    assert found["granularity"].unique().to_list() == ["1h"]
    assert found["timestamp"].to_list() == [at(2023, 3, 13, 14, 0), at(2023, 3, 13, 15, 0)]


def test_a_row_may_say_its_own_label(read: Read, write: Write) -> None:
    rows = bars(MINUTES[0], extra=",START") + bars(MINUTES[1], extra=",end") + bars(MINUTES[2], extra=",middle")
    found = read(write("l.csv", f"{HEAD},bar_label\n{rows}"), granularity="1m")
    assert found.reasons == {1: "duplicate_key", 3: "unparseable_bar_label"}
    assert found.good["timestamp"].to_list() == [at(2023, 3, 13, 13, 30)]


def test_a_row_may_say_its_own_length(read: Read, write: Write) -> None:
    rows = bars(MINUTES[0], extra=",1Min") + bars("2023-03-13", extra=",daily") + bars(MINUTES[1], extra=",5m")
    rows += bars(MINUTES[1], extra=",")
    found = read(write("g.csv", f"{HEAD},interval\n{rows}"))
    assert found.good.select("granularity", "timestamp").rows() == [("1d", OPENS[1]), ("1m", OPENS[1])]
    assert found.reasons == {3: "unparseable_granularity", 4: "null_value"}


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        (MINUTES, "1m"),
        (["2023-03-13T14:00:00Z", "2023-03-13T15:00:00Z", "2023-03-14T14:00:00Z"], "1h"),
        (SESSIONS, "1d"),
        (["2023-03-10T21:00:00Z", "2023-03-13T20:00:00Z"], "1d"),
    ],
)
def test_the_length_is_told_from_the_spacing(stamps: list[str], told: str, read: Read, write: Write) -> None:
    found = read(write("told.csv", csv(*stamps)))
    assert found.good["granularity"].unique().to_list() == [told]
    assert f"told from their spacing: bars of {told}" in found.batches[0].notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (csv("2023-03-13T13:30:00Z", "2023-03-13T13:35:00Z"), "its bars are 0:05:00 apart; bars of 1m, 1h and 1d"),
        (csv("2023-03-06", "2023-03-13"), "its bars are 7 days, 0:00:00 apart"),
        (csv("2023-03-13T13:30:00Z"), "no two bars of a symbol to tell their length from; name the granularity"),
        (
            csv(*(f"2023-03-13T13:{m:02}:00Z" for m in range(30)))
            + bars(*(f"2023-03-13T{h:02}:00:00Z" for h in range(24)), symbol="B"),
            "holds bars of 1h and 1m; give it a column granularity",
        ),
    ],
    ids=["five minutes", "weeks", "one bar", "mixed"],
)
def test_other_spacings_are_refused(text: str, message: str, read: Read, write: Write) -> None:
    assert message in read(write("spacing.csv", text)).error


@pytest.mark.parametrize(
    "stamps",
    [
        SESSIONS,
        [f"{day} 00:00:00" for day in SESSIONS],
        [f"{day}T00:00:00Z" for day in SESSIONS],
        [f"{day}T20:59:00Z" for day in SESSIONS],
        ["2023-03-10T00:00:00-05:00", "2023-03-13T00:00:00-04:00", "2023-03-14T00:00:00-04:00"],
        ["20230310", "20230313", "20230314"],
        ["1678406400", "1678665600", "1678752000"],
    ],
    ids=["dates", "naive midnights", "UTC midnights", "closes", "local midnights", "compact", "epochs"],
)
def test_a_daily_bar_carries_its_sessions_open(stamps: list[str], read: Read, write: Write) -> None:
    found = read(write("d.csv", csv(*stamps)))
    assert found.good["timestamp"].to_list() == OPENS
    assert found.rejected.is_empty()


def test_a_date_column_is_the_session_whatever_the_time_says(read: Read, write: Write) -> None:
    rows = bars("2023-03-13T23:59:59Z,2023-03-10") + bars("garbled,2023-03-13") + bars(",2023-03-14")
    found = read(write("d.csv", f"{HEAD.replace('timestamp', 'timestamp,date')}\n{rows}"), granularity="1d")
    assert found.good["timestamp"].to_list() == [OPENS[0], OPENS[2]]
    assert found.reasons == {2: "unparseable_timestamp"}


def test_midnight_ends_the_day_before_when_stamps_are_ends(read: Read, write: Write) -> None:
    local = [f"{day}T04:00:00Z" for day in ("2023-03-14", "2023-03-15")]
    assert read(write("l.csv", csv(*local)), label="end").good["timestamp"].to_list() == OPENS[1:]
    utc = [f"{day}T00:00:00Z" for day in ("2023-03-14", "2023-03-15")]
    assert read(write("u.csv", csv(*utc)), label="end").good["timestamp"].to_list() == OPENS[1:]
    closes = [f"{day}T20:00:00Z" for day in SESSIONS[1:]]
    assert read(write("c.csv", csv(*closes)), label="end").good["timestamp"].to_list() == OPENS[1:]
    assert read(write("d.csv", csv(*SESSIONS[1:])), label="end").good["timestamp"].to_list() == OPENS[1:]


def test_dates_are_those_of_the_symbols_market(read: Read, write: Write) -> None:
    tokyo = bars("2023-03-12T15:00:00Z", "2023-03-13T15:00:00Z", symbol="X.T")  # midnights in Tokyo
    always = bars("2023-03-12", "2023-03-13", symbol="X.C")  # a Sunday
    found = read(write("w.csv", f"{HEAD}\n{bars('2023-03-13')}{tokyo}{always}"), granularity="1d")
    assert found.rejected.is_empty()
    assert [(b.market, b.frame["symbol"].unique().to_list()) for b in found.batches] == [
        ("24/7", ["X.C"]),
        ("XNYS", ["A"]),
        ("XTKS", ["X.T"]),
    ]
    assert found.good.select("symbol", "timestamp").rows() == [
        ("X.C", at(2023, 3, 12, 0, 0)),
        ("X.C", at(2023, 3, 13, 0, 0)),
        ("A", OPENS[1]),
        ("X.T", at(2023, 3, 13, 0, 0)),
        ("X.T", at(2023, 3, 14, 0, 0)),
    ]


def test_days_without_a_session_are_rejected(read: Read, write: Write) -> None:
    found = read(write("d.csv", csv("2023-03-11", "2023-03-13", "2023-04-07", "1999-03-10")), granularity="1d")
    assert found.reasons == {1: "not_a_session", 3: "not_a_session", 4: "outside_calendar"}
    assert found.good["timestamp"].to_list() == [OPENS[1]]


def test_intraday_bars_need_a_zone_daily_ones_a_date(read: Read, write: Write) -> None:
    path = write("n.csv", csv("2023-03-13 09:30:00", "2023-03-13"))
    assert read(path, granularity="1m").reasons == {1: "naive_time", 2: "naive_time"}
    assert read(path, granularity="1d").reasons == {1: "naive_time"}
    local = read(path, granularity="1m", time_zone="America/New_York").good["timestamp"].to_list()
    assert local == [at(2023, 3, 13, 4, 0), OPENS[1]]


def test_of_two_bars_with_one_key_the_last_in_the_file_counts(read: Read, write: Write) -> None:
    rows = bars(*MINUTES) + f"A,{MINUTES[0]},2,2,2,2,2\n"
    found = read(write("twice.csv", f"{HEAD}\n{rows}"), granularity="1m")
    assert found.reasons == {1: "duplicate_key"}
    assert found.good["open"].to_list() == [2.0, 1.0, 1.0]


def test_the_files_name_is_the_symbol_when_asked(read: Read, write: Write) -> None:
    path = write("BRK.B.csv", "Date,Open,High,Low,Close,Adj Close,Volume\n2023-03-13,1,2,1,2,1.5,9\n")
    found = read(path, columns={"@file": "symbol"}, granularity="1d", price_basis="split")
    assert found.good.row(0) == ("BRK.B", "1d", OPENS[1], "vendor", 1.0, 2.0, 1.0, 2.0, 9.0, 1.5)
    assert found.batches[0].price_basis == "split"


def test_a_frame_saved_by_pandas(read: Read, tmp_path: Path) -> None:
    index = pl.Series("Date", [date.fromisoformat(day) for day in SESSIONS]).cast(pl.Datetime("ns"))
    prices = {name: [1.0, 2.0, 3.0] for name in ("Open", "High", "Low", "Close")}
    frame = pl.DataFrame({"Ticker": ["A"] * 3, **prices, "Volume": [1, 2, 3], "Date": index})
    frame.with_columns(pl.col("Ticker").cast(pl.Categorical)).write_parquet(tmp_path / "pandas.parquet")
    found = read(tmp_path / "pandas.parquet")
    assert found.good["timestamp"].to_list() == OPENS
    assert found.good["close"].to_list() == [1.0, 2.0, 3.0]

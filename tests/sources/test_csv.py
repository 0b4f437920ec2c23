"""CSV as it comes: marks, separators, line ends, compression, and cells nobody can read."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.sources import tables
from tests.sources.conftest import Read, Write

TICKS = """symbol,timestamp,price,size,condition
A,2013-10-07T13:30:00Z,10.5,100,40
A,2013-10-07T13:30:01.5Z,10.6,200,
B,2013-10-07T13:30:00Z,20,300,1
"""


@pytest.fixture
def plain(read: Read, write: Write) -> pl.DataFrame:
    """What the plain file is read as."""
    return read(write("plain.csv", TICKS)).good


def test_a_plain_file(plain: pl.DataFrame) -> None:
    assert plain.rows() == [
        ("A", datetime(2013, 10, 7, 13, 30, tzinfo=UTC), "vendor", 0, 10.5, 100.0, "40"),
        ("A", datetime(2013, 10, 7, 13, 30, 1, 500_000, tzinfo=UTC), "vendor", 0, 10.6, 200.0, None),
        ("B", datetime(2013, 10, 7, 13, 30, tzinfo=UTC), "vendor", 0, 20.0, 300.0, "1"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + TICKS,
        TICKS.replace(",", ";"),
        TICKS.replace(",", "\t"),
        TICKS.replace(",", "|"),
        TICKS.replace("\n", "\r\n"),
        TICKS.removesuffix("\n"),
        TICKS.replace(",", " , "),
        TICKS.replace("10.6,200,\n", '"10.6","200",NA\n'),
        "\n".join([TICKS.splitlines()[0], *reversed(TICKS.splitlines()[1:])]),
        TICKS.replace("symbol,", "Symbol,").replace("price", " PRICE "),
    ],
    ids=["mark", "semicolons", "tabs", "bars", "windows", "no end", "blanks", "quotes", "newest first", "case"],
)
def test_quirks_make_no_difference(text: str, plain: pl.DataFrame, read: Read, write: Write) -> None:
    found = read(write("quirk.csv", text))
    assert_frame_equal(found.good, plain)
    assert found.rejected.is_empty()


def test_compression_makes_no_difference(plain: pl.DataFrame, read: Read, write: Write) -> None:
    assert_frame_equal(read(write("small.csv.gz", TICKS)).good, plain)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("A,2013-10-07T13:30:00Z,ten,100,", "unparseable_price"),
        ('A,2013-10-07T13:30:00Z,"1,5",100,', "unparseable_price"),
        ("A,2013-10-07T13:30:00Z,10,1x,", "unparseable_size"),
        ("A,yesterday,10,1,", "unparseable_timestamp"),
        ("A,2013-10-07T13:30:00,10,1,", "naive_time"),
        ("A,2013-10-07,10,1,", "naive_time"),
        ("A,,10,1,", "null_value"),
        (",2013-10-07T13:30:00Z,10,1,", "null_value"),
        ("A,2013-10-07T13:30:00Z,null,1,", "null_value"),
        ("A,2013-10-07T13:30:00Z,10,1,,7", "too_many_cells"),
        ("A,2013-10-07T13:30:00Z", "null_value"),
        ("", "empty_row"),
        (",,,,", "empty_row"),
        ("A,2013-10-07T13:30:00Z,nan,1,", "non_finite"),
        ("A,2013-10-07T13:30:00Z,inf,1,", "non_finite"),
        ("A,2013-10-07T13:30:00Z,-1,1,", "non_positive_price"),
        ("A,2113-10-07T13:30:00Z,1,1,", "future_time"),
        ("A,2013-10-07T13:30:00Z,1,1,a\0b", "unparseable_condition"),
        ("A\0,2013-10-07T13:30:00Z,1,1,", "bad_symbol"),
    ],
)
def test_one_bad_row_is_set_aside_alone(row: str, rule: str, plain: pl.DataFrame, read: Read, write: Write) -> None:
    head, *rows = TICKS.splitlines()
    path = write("bad.csv", "\n".join([head, rows[0], row, *rows[1:]]) + "\n")
    found = read(path)
    assert_frame_equal(found.good, plain)
    assert found.reasons == {2: rule}
    digest, origin, symbol, shown = found.rejected.select("digest", "origin", "symbol", "row").row(0)
    assert (len(digest), origin) == (32, "bad.csv")
    assert isinstance(json.loads(shown), dict)
    assert "\0" not in f"{symbol}{shown}"


def test_a_rejected_row_is_shown_as_it_is_written(read: Read, write: Write) -> None:
    found = read(write("bad.csv", TICKS.replace("10.6", "ten")))
    assert json.loads(found.rejected["row"][0]) == {
        "symbol": "A",
        "timestamp": "2013-10-07T13:30:01.5Z",
        "price": "ten",
        "size": "200",
        "condition": None,
    }


def test_naive_times_are_those_of_the_sources_zone(read: Read, write: Write) -> None:
    path = write("local.csv", TICKS.replace("T13:30", " 09:30").replace("Z", ""))
    assert read(path).reasons == {1: "naive_time", 2: "naive_time", 3: "naive_time"}
    found = read(path, time_zone="America/New_York")
    assert found.good["timestamp"].to_list() == read(write("utc.csv", TICKS)).good["timestamp"].to_list()


def test_a_clock_that_shows_a_time_twice_is_not_guessed(read: Read, write: Write) -> None:
    path = write("dst.csv", "symbol,timestamp,price,size\nA,2021-11-07 01:30:00,1,1\nA,2021-11-07 02:30:00,1,1\n")
    found = read(path, time_zone="America/New_York")
    assert found.reasons == {1: "ambiguous_time"}
    assert found.good["timestamp"].to_list() == [datetime(2021, 11, 7, 7, 30, tzinfo=UTC)]


def test_date_and_time_may_be_two_columns(read: Read, write: Write) -> None:
    path = write("two.csv", "ticker,date,time,price,size\nA,20131007,09:30:01,1,2\n")
    found = read(path, time_zone="America/New_York")
    assert found.good["timestamp"].to_list() == [datetime(2013, 10, 7, 13, 30, 1, tzinfo=UTC)]


def test_blocks_are_cut_between_rows_even_inside_quotes(
    read: Read, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f'A,2013-10-07T13:30:{n:02}Z,{n + 1},100,"word ""{n}""\nmore, {n}"' for n in range(60)]
    path = write("quoted.csv", "\n".join(["symbol,timestamp,price,size,condition", *rows]) + "\n")
    whole = read(path)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 64)
    cut = read(path)
    assert_frame_equal(cut.good, whole.good)
    assert cut.batches[0].frame["line"].to_list() == list(range(1, 61))
    assert cut.good["condition"][7] == 'word "7"\nmore, 7'


def test_a_header_alone_is_an_empty_batch(read: Read, write: Write) -> None:
    found = read(write("empty.csv", TICKS.splitlines()[0] + "\n"))
    assert found.failures == []
    assert found.good.is_empty()
    assert found.batches[0].dataset == "ticks"


def test_columns_that_occur_twice_are_told_apart(read: Read, write: Write) -> None:
    path = write("twice.csv", "symbol,timestamp,price,price,size\nA,2013-10-07T13:30:00Z,1,2,3\n")
    found = read(path)
    assert found.good["price"].to_list() == [1.0]
    assert "columns not used: price_2" in found.batches[0].notes


def test_what_is_no_text_is_a_failure(read: Read, write: Write) -> None:
    path = write("utf16.csv", "")
    path.write_bytes(TICKS.encode("utf-16"))
    assert "not text in UTF-8" in read(path).error


def test_flags_of_messages_are_read_and_need_not_be_there(read: Read, write: Write) -> None:
    words = ["true", "FALSE", "1", "0", "yes", "n", "", "NA", "perhaps"]
    lines = [f"A,2013-10-07T13:30:{n:02}Z,0.5,1,{word},{n % 2}" for n, word in enumerate(words)]
    header = "symbol,timestamp,score,confidence,Is Retweet,is_dup_in_symbol"
    found = read(write("messages.csv", "\n".join([header, *lines]) + "\n"))
    assert found.good["is_retweet"].to_list() == [True, False, True, False, True, False, None, None]
    assert found.good["is_duplicate"].to_list() == [n % 2 == 1 for n in range(8)]
    assert found.reasons == {9: "unparseable_is_retweet"}
    bare = read(write("bare.csv", "symbol,timestamp,score,confidence\nA,2013-10-07T13:30:00Z,0.5,1\n"))
    assert bare.good.select("is_retweet", "is_duplicate").rows() == [(None, None)]

"""Which files a source has, and what becomes of those that cannot be read."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from flows.sources import Failure, FileSource, Markets
from storage.settings import SourceSettings
from tests.sources.conftest import AS_OF, Read, Write

TICKS = pl.DataFrame(
    {
        "symbol": ["A", "A", "B"],
        "timestamp": [datetime(2013, 10, 7, 13, 30, second, tzinfo=UTC) for second in (0, 1, 0)],
        "price": [1.0, 2.0, 3.0],
        "size": [1, 2, 3],
    }
)
CSV = "symbol,timestamp,price,size\n{}\n"


def rows(symbol: str, day: str) -> str:
    return CSV.format(f"{symbol},{day}T14:00:00Z,1,1")


def test_a_directory_gives_its_files_and_those_below_in_order(read: Read, write: Write, tmp_path: Path) -> None:
    for number, name in enumerate(("in/b.csv", "in/a/z.CSV", "in/a.csv.gz", "in/notes.txt", "in/.x.json"), start=7):
        write(name, rows("A", f"2013-10-{number:02}"))
    TICKS.write_parquet(tmp_path / "in" / "c.pq")
    found = read(tmp_path / "in", mode="upsert")
    assert [batch.origin.name for batch in found.batches] == ["a/z.CSV", "a.csv.gz", "b.csv", "c.pq"]
    assert found.failures == []


def test_a_glob_gives_what_matches(read: Read, write: Write, tmp_path: Path) -> None:
    for number, name in enumerate(("in/x/t1.csv", "in/y/t2.csv", "in/y/u.csv"), start=7):
        write(name, rows("A", f"2013-10-{number:02}"))
    found = read(f"{tmp_path}/in/**/t*.csv")
    assert [batch.origin.name for batch in found.batches] == ["t1.csv", "t2.csv"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(read: Read, write: Write) -> None:
    assert read(write("t[1].csv", rows("A", "2013-10-07"))).good.height == 1


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "no such file or directory"),
        ("void", "no files ending in .parquet, .pq, .csv, .csv.gz in this directory"),
        ("void/*.csv", "no file matches"),
    ],
)
def test_no_files_is_a_failure(place: str, message: str, read: Read, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    error = read(tmp_path / place).error
    assert message in error
    assert str(tmp_path / place) in error


def test_a_bad_file_is_named_and_the_others_still_go(read: Read, write: Write, tmp_path: Path) -> None:
    place = tmp_path / "in"
    write("in/0good.csv", rows("A", "2013-10-07"))
    write("in/1empty.csv", "")
    write("in/2text.parquet", rows("A", "2013-10-07"))
    TICKS.write_parquet(place / "3whole.parquet")
    body = (place / "3whole.parquet").read_bytes()
    (place / "3whole.parquet").rename(place / "4parquet.csv")
    (place / "5cut.parquet").write_bytes(body[: len(body) // 2])
    (place / "6plain.csv.gz").write_text(rows("A", "2013-10-07"))
    packed = write("in/7packed.csv.gz", rows("A", "2013-10-07"))
    (place / "8packed.csv").write_bytes(packed.read_bytes())
    packed.write_bytes(packed.read_bytes()[:-12])
    write("in/9kind.csv", "a,b\n1,2\n")
    write("in/last.csv", rows("A", "2013-10-08"))
    found = read(place)
    assert [batch.origin.name for batch in found.batches] == ["0good.csv", "last.csv"]
    reasons = {failure.origin.name: str(failure.error) for failure in found.failures}
    assert all(str(name) in reason for name, reason in reasons.items())
    expected = {
        "1empty.csv": "the file is empty",
        "2text.parquet": "not a Parquet file",
        "4parquet.csv": "holds Parquet",
        "5cut.parquet": "5cut.parquet: ",
        "6plain.csv.gz": "is not compressed by gzip",
        "7packed.csv.gz": "ended before the end-of-stream marker",
        "8packed.csv": "is compressed by gzip",
        "9kind.csv": "of no known kind",
    }
    assert {name: text for name, text in expected.items() if text not in reasons.get(name, "")} == {}
    assert set(reasons) == set(expected)


def test_an_unknown_ending_is_refused(read: Read, write: Write) -> None:
    assert "unknown ending; known are .parquet, .pq" in read(write("t.xlsx", "PK")).error


def test_the_digest_is_of_the_files_bytes(read: Read, write: Write) -> None:
    path = write("t.csv", rows("A", "2013-10-07"))
    expected = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    assert read(path).batches[0].origin.digest == expected


def test_a_column_that_cannot_hold_a_value_is_named(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    TICKS.with_columns(price=pl.concat_list("price", "price")).write_parquet(path)
    assert "column price is List(Float64), which cannot be read as price" in read(path).error
    TICKS.with_columns(timestamp=pl.duration(hours=1)).write_parquet(path)
    assert "column timestamp is Duration" in read(path).error
    TICKS.with_columns(size=pl.col("size") > 1).write_parquet(path)
    assert "column size is Boolean" in read(path).error


@pytest.mark.parametrize("dtype", [pl.Int16, pl.UInt64, pl.Float32, pl.Decimal(10, 2), pl.String])
def test_numbers_of_any_type_are_read(dtype: pl.DataType, read: Read, tmp_path: Path) -> None:
    TICKS.with_columns(pl.col("price", "size").cast(dtype)).write_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert found.good["price"].to_list() == [1.0, 2.0, 3.0]
    assert found.good["size"].to_list() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", [pl.Boolean, pl.Int8, pl.UInt64, pl.Float64, pl.Decimal(10, 2), pl.String])
def test_flags_of_any_type_are_read(dtype: pl.DataType, read: Read, tmp_path: Path) -> None:
    flags = pl.Series([True, None, False])
    flags = flags if dtype == pl.Boolean else flags.cast(pl.Int64).cast(dtype)
    messages = TICKS.select("symbol", "timestamp", score="price", confidence=pl.lit(1.0), is_retweet=flags)
    messages.with_columns(pl.col("score") / 3).write_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").good["is_retweet"].to_list() == [True, None, False]


def test_conditions_of_any_type_are_words(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for column, words in (
        (pl.Series([[12, 37], [], None], dtype=pl.List(pl.Int8)), ["12 37", "", None]),
        (pl.Series([1, None, 3]), ["1", None, "3"]),
        (pl.Series(["@", "T", None], dtype=pl.Categorical), ["@", "T", None]),
    ):
        TICKS.with_columns(conditions=column).write_parquet(path)
        assert read(path).good["condition"].to_list() == words


def test_sequences_given_are_kept_and_others_numbered(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    same = TICKS.with_columns(timestamp=TICKS["timestamp"][0], symbol=pl.lit("A"))
    same.write_parquet(path)
    assert read(path).good["sequence"].to_list() == [0, 1, 2]
    same.with_columns(seq=pl.Series([9.0, 4.0, 2.0**40])).write_parquet(path)
    found = read(path)
    assert found.good.select("sequence", "price").rows() == [(4, 2.0), (9, 1.0)]
    assert found.reasons == {3: "unparseable_sequence"}


def test_a_source_column_wins_over_the_sources_name(read: Read, tmp_path: Path) -> None:
    TICKS.with_columns(vendor=pl.Series(["x", None, "y"])).write_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").good["source"].to_list() == ["x", "vendor", "y"]


def test_messages_and_actions_are_numbered_where_nothing_else_tells_them_apart(read: Read, write: Write) -> None:
    second = "2013-10-07T13:30:00Z"
    text = "symbol,timestamp,score,confidence,id\n" + "".join(f"A,{second},0,1,{i}\n" for i in ("", "", "7", ""))
    found = read(write("s.csv", text)).good
    assert found.select("external_id", "ordinal").rows() == [("", 0), ("", 1), ("", 2), ("7", 0)]
    text = "symbol,ex_date,action,value\nA,2013-10-07,Div,0.1\nA,2013-10-07,dividend,0.1\nA,2013-10-07,SPLIT,2\n"
    found = read(write("a.csv", text)).good
    assert found.select("action", "ordinal", "value").rows() == [
        ("dividend", 0, 0.1),
        ("dividend", 1, 0.1),
        ("split", 0, 2.0),
    ]
    assert found["ex_date"][0] == date(2013, 10, 7)


def test_ticks_are_replaced_by_the_day_of_their_market_the_rest_is_upserted(read: Read, tmp_path: Path) -> None:
    TICKS.with_columns(symbol=pl.Series(["A", "X.T", "B"])).write_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert [(b.mode, b.market, b.time_zone) for b in found.batches] == [
        ("replace", "XNYS", "America/New_York"),
        ("replace", "XTKS", "Asia/Tokyo"),
    ]
    upserted = read(tmp_path / "t.parquet", mode="upsert", market="XLON")
    assert [(b.mode, b.market, b.time_zone) for b in upserted.batches] == [
        ("upsert", "XLON", None),
        ("upsert", "XTKS", None),
    ]


def test_two_files_cannot_replace_one_symbol_day(read: Read, write: Write, tmp_path: Path) -> None:
    write("in/1.csv", rows("A", "2013-10-07"))
    write("in/2.csv", rows("B", "2013-10-08") + "A,2013-10-07T15:00:00Z,2,1\n")
    write("in/3.csv", rows("B", "2013-10-08"))
    found = read(tmp_path / "in")
    assert [batch.origin.name for batch in found.batches] == ["1.csv", "3.csv"]
    assert "2.csv: A on 2013-10-07 is in 1.csv as well" in found.error
    assert read(tmp_path / "in", mode="upsert").failures == []


def test_actions_cannot_be_replaced(read: Read, write: Write) -> None:
    path = write("a.csv", "symbol,ex_date,action,value\nA,2013-10-07,split,2\n")
    assert "corporate actions are upserted" in read(path, mode="replace").error


def test_reading_again_gives_the_same(write: Write, markets: Markets, tmp_path: Path) -> None:
    path = write("t.csv", rows("A", "2013-10-07") + "A,x,1,1\n")
    source = FileSource("vendor", SourceSettings(path=str(path)), markets)
    first, second = (list(source.batches(AS_OF, 1_000, tmp_path)) for _ in range(2))
    assert not isinstance(first[0], Failure)
    assert not isinstance(second[0], Failure)
    assert first[0].frame.equals(second[0].frame)
    assert first[0].rejected.equals(second[0].rejected)
    assert first[0].rejected.height == 1

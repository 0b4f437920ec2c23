"""Bodies: column-wise JSON, the same bytes for the same frame, and nothing lost on the way back."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from storage.cache.codec import Body, decode, decode_body, encode
from storage.cache.errors import CorruptEntry
from transforms.errors import PermanentError, SchemaMismatch
from transforms.schema import BARS, UTC_US

OPEN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def test_the_layout_is_the_documented_one() -> None:
    frame = pl.DataFrame(
        {
            "timestamp": [OPEN, OPEN + timedelta(minutes=5)],
            "session": [date(2024, 1, 2)] * 2,
            "close": [185.64, None],
            "count": [3, 4],
            "name": ["a", None],
            "closed": [True, False],
        },
        schema={
            "timestamp": UTC_US,
            "session": pl.Date,
            "close": pl.Float64,
            "count": pl.UInt32,
            "name": pl.String,
            "closed": pl.Boolean,
        },
    )
    body = encode(frame)
    assert body.content == (
        b'{"schema":{"timestamp":"ms","session":"date","close":"f64","count":"u32","name":"str","closed":"bool"},'
        b'"columns":{"timestamp":[1704205800000,1704206100000],"session":["2024-01-02","2024-01-02"],'
        b'"close":[185.64,null],"count":[3,4],"name":["a",null],"closed":[true,false]}}'
    )
    assert (body.encoding, body.type) == ("identity", "application/json")
    assert body.etag == hashlib.sha256(body.content).hexdigest()[:32]


INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS: dict[Any, st.SearchStrategy[Any]] = {
    UTC_US: INSTANTS | INSTANTS.map(lambda t: t.replace(microsecond=0)),
    pl.Date: st.dates(date(1, 1, 1), date(9999, 12, 31)) | st.dates(date(1960, 1, 1), date(2110, 1, 1)),
    pl.Float64: FLOATS,
    pl.List(pl.Float64): st.lists(FLOATS | st.none(), max_size=4),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Int32: st.integers(-(2**31), 2**31 - 1),
    pl.UInt32: st.integers(0, 2**32 - 1),
    pl.Int8: st.integers(-128, 127),
    pl.Boolean: st.booleans(),
    pl.String: st.text(st.characters(exclude_categories=["Cs"])),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pl.Series:
    dtype = draw(st.sampled_from(list(COLUMNS)))
    values = COLUMNS[dtype] | st.none() if draw(st.booleans()) else COLUMNS[dtype]
    drawn = draw(st.lists(values, min_size=rows, max_size=rows))
    return pl.Series(values=drawn, dtype=dtype)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4, unique=True))
    return pl.DataFrame([draw(columns(rows)).alias(name) for name in names])


@settings(deadline=None)
@given(frame=frames())
def test_decoding_gives_back_values_and_types(frame: pl.DataFrame) -> None:
    assert_frame_equal(decode(encode(frame).content), frame, check_exact=True)


@settings(deadline=None)
@given(frame=frames(), cut=st.integers(0, 5))
def test_equal_frames_give_equal_bytes_however_they_lie_in_memory(frame: pl.DataFrame, cut: int) -> None:
    pieces = pl.concat([frame.head(cut), frame.slice(min(cut, frame.height))], rechunk=False)
    assert encode(pieces) == encode(frame)


def test_microseconds_survive_and_whole_milliseconds_stay_integers() -> None:
    moments = [OPEN + timedelta(microseconds=n) for n in (0, 1, 999, 123_456)]
    frame = pl.DataFrame({"at": moments}, schema={"at": UTC_US})
    shown = json.loads(encode(frame).content)["columns"]["at"]
    assert shown == [1704205800000, 1704205800000.001, 1704205800000.999, 1704205800123.456]
    assert decode(encode(frame).content)["at"].to_list() == moments
    whole = json.loads(encode(frame.filter(pl.col("at") == OPEN)).content)["columns"]["at"]
    assert [type(value) for value in whole] == [int]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(PermanentError, match="'close' holds NaN or infinity"):
        encode(pl.DataFrame({"close": [1.0, value, None]}))


@pytest.mark.parametrize(
    "dtype", [pl.Datetime("us"), pl.Datetime("ns", "UTC"), pl.Float32, pl.Duration, pl.List(pl.Int64), pl.Null]
)
def test_types_outside_the_contract_are_refused_by_name(dtype: pl.DataType) -> None:
    with pytest.raises(SchemaMismatch, match="column 'odd'"):
        encode(pl.DataFrame(schema={"odd": dtype}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"schema":{"a":"f64"},"columns":{}}',
        b'{"schema":{},"columns":{"a":[1.0]}}',
        b'{"schema":{"a":"f16"},"columns":{"a":[1.0]}}',
        b'{"schema":{"a":"i64"},"columns":{"a":["x"]}}',
        b'{"schema":{"a":"date"},"columns":{"a":["soon"]}}',
        b'{"schema":{"a":"ms"},"columns":{"a":[1e300]}}',
        b'{"schema":{"a":"u8"},"columns":{"a":[256]}}',
        b'{"schema":{"a":"i64","b":"i64"},"columns":{"a":[1],"b":[1,2]}}',
    ],
)
def test_anything_else_is_called_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptEntry):
        decode(content)


def test_a_body_of_a_later_release_is_not_guessed_at() -> None:
    plain = encode(pl.DataFrame({"a": [1]}))
    with pytest.raises(CorruptEntry, match="zstd"):
        decode_body(Body(plain.content, "zstd", plain.type, plain.etag))


def test_no_rows_keep_their_types() -> None:
    empty = pl.DataFrame(schema=BARS)
    assert_frame_equal(decode(encode(empty).content), empty)

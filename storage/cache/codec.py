"""The body of a key: a frame as column-wise JSON that a chart library takes as it is.

    {"schema":{"timestamp":"ms","close":"f64"},"columns":{"timestamp":[1704205800000,...],"close":[185.64,...]}}

`schema` names each column's type, in order; `columns` holds one array a column, all of one length, null for
null. `ms`: an instant, as milliseconds since 1970 UTC, a whole number unless the instant has a fraction of a
millisecond (then up to three decimals, so that microseconds survive and JavaScript's `new Date(ms)` still
takes it). `date`: a calendar date, "2024-01-02". `f64`: the shortest decimal that reads back as the same
double; `f64[]`: a list of them. `i64` and the like, `bool` and `str` are JSON's own. NaN and infinity have
no JSON and do not occur.

Equal frames give equal bytes, and decoding gives back values and types exactly.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from storage.cache.errors import CorruptEntry
from transforms.errors import PermanentError, SchemaMismatch
from transforms.schema import UTC_US

ENCODING: Final = "identity"
TYPE: Final = "application/json"

_PLAIN: Final[dict[str, pl.DataType]] = {
    "f64": pl.Float64(),
    "i64": pl.Int64(),
    "i32": pl.Int32(),
    "i16": pl.Int16(),
    "i8": pl.Int8(),
    "u64": pl.UInt64(),
    "u32": pl.UInt32(),
    "u16": pl.UInt16(),
    "u8": pl.UInt8(),
    "bool": pl.Boolean(),
    "str": pl.String(),
}
_NAMES: Final[dict[pl.DataType, str]] = {
    UTC_US: "ms",
    pl.Date(): "date",
    pl.List(pl.Float64()): "f64[]",
    **{dtype: name for name, dtype in _PLAIN.items()},
}
_DTYPES: Final[dict[str, pl.DataType]] = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Body:
    """What one key holds, ready to send. `etag`: the first 128 bits of the content's SHA-256, in hex."""

    content: bytes
    encoding: str
    type: str
    etag: str


def body_of(content: bytes) -> Body:
    """Wrap bytes that are already encoded."""
    return Body(content, ENCODING, TYPE, hashlib.sha256(content).hexdigest()[:32])


def encode(frame: pl.DataFrame) -> Body:
    """Encode a frame; `SchemaMismatch` for a type not in the contract, `PermanentError` for NaN or infinity."""
    schema: dict[str, str] = {}
    columns: dict[str, Any] = {}
    for column in frame.iter_columns():
        kind = _NAMES.get(column.dtype)
        if kind is None:
            raise SchemaMismatch(f"column {column.name!r} is {column.dtype}; a body holds {', '.join(_DTYPES)}")
        schema[column.name] = kind
        columns[column.name] = _ENCODERS.get(kind, _plain)(column)
    return body_of(orjson.dumps({"schema": schema, "columns": columns}, option=orjson.OPT_SERIALIZE_NUMPY))


def decode(content: bytes) -> pl.DataFrame:
    """Read a body back into the frame it was made of; `CorruptEntry` for anything else."""
    try:
        message = orjson.loads(content)
        columns = message["columns"]
        if list(columns) != list(message["schema"]):
            raise CorruptEntry("schema and columns differ")
        return pl.DataFrame(
            [_column(name, kind, columns[name]) for name, kind in message["schema"].items()],
        )
    except (ValueError, TypeError, KeyError, OverflowError, pl.exceptions.PolarsError) as exc:
        raise CorruptEntry(f"not a body of warmbars: {exc}") from exc


def decode_body(body: Body) -> pl.DataFrame:
    """Read a stored body, whose encoding and type must be ones this release knows."""
    if (body.encoding, body.type) != (ENCODING, TYPE):
        raise CorruptEntry(f"a body of type {body.type!r}, encoding {body.encoding!r}; this release reads {TYPE} only")
    return decode(body.content)


def _plain(column: pl.Series) -> Any:
    return column.to_list() if column.null_count() else column.to_numpy()


def _listed(column: pl.Series) -> list[Any]:
    return column.to_list()


def _floats(column: pl.Series) -> Any:
    """A null becomes NaN in numpy, and orjson writes NaN as null; any other NaN is a mistake upstream."""
    values = column.to_numpy()
    if len(values) - np.count_nonzero(np.isfinite(values)) != column.null_count():
        raise PermanentError(f"column {column.name!r} holds NaN or infinity; publish null where there is no value")
    return values


def _lists(column: pl.Series) -> list[Any]:
    _floats(column.explode(empty_as_null=False).drop_nulls())
    return column.to_list()


def _instants(column: pl.Series) -> Any:
    if column.null_count():
        micros = column.to_physical()
        whole = not (micros.drop_nulls() % 1000 != 0).any()
        return (micros // 1000 if whole else micros / 1000).to_list()
    moments = column.to_numpy().view("i8")
    millis, rest = np.divmod(moments, 1000)
    return moments / 1000 if rest.any() else millis


def _dates(column: pl.Series) -> Any:
    if column.null_count():
        return column.dt.to_string("iso").to_list()
    days = column.to_numpy()
    known = _dates_of_a_century()
    numbers = days.view("i8")
    inside = len(numbers) == 0 or (numbers.min() >= 0 and numbers.max() < len(known))
    return (known[numbers] if inside else np.datetime_as_string(days)).tolist()


@cache
def _dates_of_a_century() -> Any:
    """The text of every date from 1970 to 2099: ten times quicker to look up than to format."""
    return np.datetime_as_string(np.arange("1970-01-01", "2100-01-01", dtype="M8[D]")).astype(object)


_ENCODERS: Final[dict[str, Callable[[pl.Series], Any]]] = {
    "f64": _floats,
    "f64[]": _lists,
    "ms": _instants,
    "date": _dates,
    "str": _listed,
    "bool": _listed,
}


def _column(name: str, kind: str, values: list[Any]) -> pl.Series:
    if kind == "ms":
        return _read_instants(name, values)
    if kind == "date":
        return pl.Series(name, np.array(values, dtype="M8[D]"), dtype=pl.Date)
    return pl.Series(name, values, dtype=_DTYPES[kind])


def _read_instants(name: str, values: list[Any]) -> pl.Series:
    """Microseconds of whole or fractional milliseconds; the fraction is split off, which is exact, and scaled."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return pl.Series(name, np.array(values, dtype=np.int64) * 1000, dtype=UTC_US)
    if float not in kinds:
        return (pl.Series(name, values, dtype=pl.Int64) * 1000).cast(UTC_US)
    millis = pl.Series(name, values, dtype=pl.Float64)
    whole = millis.floor()
    return (whole.cast(pl.Int64) * 1000 + ((millis - whole) * 1000).round().cast(pl.Int64)).cast(UTC_US)

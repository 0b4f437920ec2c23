"""Times as vendors write them, read column by column: instants, wall clocks without a zone, bare dates.

Text: `2013-10-07T09:30:00.5Z`, with an offset or without; `-`, `/`, `.` or nothing between the parts of a
date; a space for the T; epoch seconds, milliseconds, microseconds or nanoseconds, told apart by size. Years
come first: of `10/07/2013` nobody can say which is the month, so it is not read.
"""

from datetime import date
from typing import Final

import numpy as np
import polars as pl

from transforms.schema import UTC_US

_WALL: Final = pl.Datetime("us")
_SLOTS: Final = pl.Schema([("instant", UTC_US), ("wall", _WALL), ("day", pl.Date)])
_PLAIN_DATE: Final = "%Y-%m-%d"
_USUAL: Final = ("%+", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", _PLAIN_DATE)
_TRIED: Final = 1_000
"""Rows on which the usual formats are tried."""
_CLOCK: Final = r"^\d{1,2}:\d{2}"
_EPOCH: Final = r"^-?(?:\d{9,11}(?:\.\d+)?|\d{12,13}|\d{15,16}|\d{18,19})$"
_TEXT: Final = (
    r"^(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ]*(\d{1,2}):?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
_FIRST_EPOCH: Final = 1e8
"""Smaller numbers are no epoch: as seconds they lie between 1966-10-31 and 1973-03-03."""
_COMPACT_DATES: Final = (1900_01_01, 2100_12_31)
_SANE_US: Final = (-62_104_060_800_000_000, 253_370_764_799_999_999)
_SANE_DAYS: Final = (-718_797, 2_932_531)
"""Years 2 to 9998; what lies outside is no time, and Python's calendar soon ends."""
_WRITTEN_DATE: Final = r"^(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:\D|$)"


def read_times(cells: pl.Series, dates: pl.Series | None = None) -> pl.DataFrame:
    """`instant` (UTC), `wall` (a clock without zone) or `day` (a bare date) of each cell; or none of them.

    A cell that is only a time of day goes with the cell of `dates` in its row.
    """
    read = _read(cells, dates)
    return read.select(_sane(read[name]) for name in read.columns)


def read_dates(cells: pl.Series) -> pl.Series:
    """Dates as they are written, whatever time or zone stands beside them; null: unreadable."""
    dtype = cells.dtype
    if isinstance(dtype, pl.Datetime):
        return _sane(cells.dt.date())
    if dtype == pl.Date:
        return _sane(cells)
    if dtype.is_numeric():
        read = read_times(cells)
        return read.select(pl.coalesce("day", pl.col("instant").dt.date())).to_series()
    parts = cells.cast(pl.String).str.extract_groups(_WRITTEN_DATE).struct.unnest()
    written = pl.concat_str(parts.columns, separator="-")
    return _sane(parts.select(written.str.to_date(_PLAIN_DATE, strict=False)).to_series())


def from_wall(wall: pl.Series, time_zone: str) -> pl.Series:
    """UTC instants of wall clocks; null where the clock shows a time twice or never, at a change of DST."""
    local = wall.dt.replace_time_zone(time_zone, ambiguous="null", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def local_dates(instants: pl.Series, time_zone: str) -> pl.Series:
    """Dates of UTC instants on the clocks of a time zone: one search among the days' starts."""
    first, last = instants.min(), instants.max()
    if first is None:
        return pl.Series(instants.name, [None], dtype=pl.Date).new_from_index(0, len(instants))
    ends = pl.Series([first, last], dtype=UTC_US).dt.date().to_list()
    dates = _around(ends[0], ends[1])
    starts = day_starts(dates, time_zone).dt.epoch("us").to_numpy()
    number = np.searchsorted(starts, instants.fill_null(first).dt.epoch("us").to_numpy(), side="right") - 1
    found = dates.gather(number).alias(instants.name)
    return pl.select(pl.when(instants.is_not_null()).then(found)).to_series().alias(instants.name)


def day_starts(dates: pl.Series, time_zone: str) -> pl.Series:
    """First UTC instant of local dates: one o'clock where DST begins at midnight."""
    midnight = dates.cast(_WALL)
    tries = [
        midnight.dt.offset_by(later).dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
        for later in ("0m", "30m", "1h")
    ]
    return pl.select(pl.coalesce(tries).backward_fill().dt.convert_time_zone("UTC")).to_series()


def _read(cells: pl.Series, dates: pl.Series | None) -> pl.DataFrame:
    dtype = cells.dtype
    if isinstance(dtype, pl.Datetime):
        exact = cells.dt.cast_time_unit("us")
        return _slots(instant=exact.dt.convert_time_zone("UTC")) if dtype.time_zone else _slots(wall=exact)
    if dtype == pl.Date:
        return _slots(day=cells)
    if dtype.is_numeric():
        return _from_numbers(cells)
    text = cells.cast(pl.String)
    if dates is not None:
        on_its_date = dates.cast(pl.String).str.slice(0, 10) + " " + text
        text = on_its_date.zip_with(text.str.contains(_CLOCK).fill_null(value=False), text)
    return _from_text(text)


def _sane(times: pl.Series) -> pl.Series:
    """Times and dates without those no calendar holds."""
    sane = times.to_physical().is_between(*(_SANE_DAYS if times.dtype == pl.Date else _SANE_US))
    return times if sane.all() else times.zip_with(sane, pl.repeat(None, len(times), dtype=times.dtype, eager=True))


def _around(first: date, last: date) -> pl.Series:
    """Every date from the day before `first` to the day after `last`: no local date is further away."""
    bounds = pl.Series([first, last]).cast(pl.Int32) + pl.Series([-1, 1], dtype=pl.Int32)
    return pl.int_range(bounds[0], bounds[1] + 1, dtype=pl.Int32, eager=True).cast(pl.Date)


def _slots(
    instant: pl.Series | None = None, wall: pl.Series | None = None, day: pl.Series | None = None
) -> pl.DataFrame:
    """The three readings side by side, null where not given."""
    size = max(len(s) for s in (instant, wall, day) if s is not None)
    given = {"instant": instant, "wall": wall, "day": day}
    return pl.DataFrame(
        {
            name: pl.repeat(None, size, dtype=dtype, eager=True) if given[name] is None else given[name]
            for name, dtype in _SLOTS.items()
        },
        schema=_SLOTS,
    )


def _from_numbers(numbers: pl.Series) -> pl.DataFrame:
    """Epochs by their size; eight digits from 1900 to 2100 are a date, 20131007."""
    whole = numbers.cast(pl.Int64, strict=False)
    compact = whole.is_between(*_COMPACT_DATES) & (whole.cast(pl.Float64) == numbers.cast(pl.Float64))
    day = whole.cast(pl.String).zip_with(compact.fill_null(value=False), _nothing(len(whole)))
    return _slots(instant=_epochs(numbers), day=day.str.to_date("%Y%m%d", strict=False))


def _epochs(numbers: pl.Series) -> pl.Series:
    size, number = pl.col("n").abs(), pl.col("n")
    scaled = (
        pl.when(size < _FIRST_EPOCH)
        .then(None)
        .when(size < 1e11)
        .then(number * 1_000_000)
        .when(size < 1e14)
        .then(number * 1_000)
        .when(size < 1e17)
        .then(number)
        .otherwise(number // 1_000)
    )
    exact = numbers.cast(pl.Float64) if numbers.dtype.is_float() else numbers.cast(pl.Int64, strict=False)
    if numbers.dtype.is_float():
        scaled = pl.when(number.is_finite()).then(scaled.round())
    return pl.DataFrame({"n": exact}).select(scaled.cast(pl.Int64, strict=False).cast(UTC_US)).to_series()


def _from_text(text: pl.Series) -> pl.DataFrame:
    """The format most rows have is tried on all; the rest are taken apart one by one."""
    usual = _usual_format(text)
    if usual is None:
        return _taken_apart(text)
    if usual == _PLAIN_DATE:
        quick = _slots(day=text.str.to_date(usual, strict=False))
    else:
        parsed = text.str.to_datetime(usual, strict=False, time_unit="us")
        quick = _slots(instant=parsed) if usual == "%+" else _slots(wall=parsed)
    left = text.is_not_null() & quick.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if not left.any():
        return quick
    rest = _taken_apart(text.zip_with(left, _nothing(len(text))))
    return quick.select(pl.coalesce(name, rest[name]).alias(name) for name in quick.columns)


def _usual_format(text: pl.Series) -> str | None:
    some = text.drop_nulls().head(_TRIED)
    read = {
        usual: len(some) - some.str.to_datetime(usual, strict=False, time_unit="us").null_count()
        for usual in _USUAL[:-1]
    } | {_PLAIN_DATE: len(some) - some.str.to_date(_PLAIN_DATE, strict=False).null_count()}
    best = max(read, key=lambda usual: read[usual])
    return best if read[best] else None


def _taken_apart(text: pl.Series) -> pl.DataFrame:
    """Every form of the module's docstring, by the parts of one pattern."""
    number = text.zip_with(text.str.contains(_EPOCH).fill_null(value=False), _nothing(len(text)))
    fractional = number.str.contains(".", literal=True).fill_null(value=False)
    seconds = _epochs(number.zip_with(fractional, _nothing(len(text))).cast(pl.Float64))
    whole = _epochs(number.zip_with(~fractional, _nothing(len(text))).cast(pl.Int64, strict=False))
    parts = text.str.extract_groups(_TEXT).struct.unnest()
    parts.columns = ["year", "month", "day", "hour", "minute", "second", "fraction", "zone"]
    day = pl.concat_str("year", "month", "day", separator="-").str.to_date(_PLAIN_DATE, strict=False)
    clock = pl.concat_str(
        *("year", "month", "day"), pl.col("hour").str.zfill(2), "minute", pl.col("second").fill_null("00")
    ).str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="us")
    micros = pl.col("fraction").fill_null("0").str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64)
    wall = clock + pl.duration(microseconds=micros)
    timed, zoned = pl.col("hour").is_not_null(), pl.col("zone").is_not_null()
    utc = (wall - _offset(pl.col("zone"))).dt.replace_time_zone("UTC")
    return parts.select(
        pl.coalesce(seconds, whole, pl.when(timed & zoned).then(utc)).alias("instant"),
        pl.when(timed & ~zoned & number.is_null()).then(wall).alias("wall"),
        pl.when(~timed & ~zoned & number.is_null()).then(day).alias("day"),
    )


def _offset(zone: pl.Expr) -> pl.Expr:
    """`+05:30` as a duration; a zone without digits is UTC."""
    digits = zone.str.replace_all(r"\D", "").str.pad_end(4, "0")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    return pl.duration(minutes=sign * minutes)


def _nothing(size: int) -> pl.Series:
    return pl.repeat(None, size, dtype=pl.String, eager=True)

"""What span a vendor's bar covers: its length, and whether its stamp is the start or the end of it.

Intraday bars are labelled by their UTC start afterwards. A daily bar belongs to a session's date and carries the
session's open; the date is, in this order: the one it is written with (a date column, a bare date, midnight on a
clock without a zone), the UTC date of a stamp at exactly 00:00 UTC, the date of the stamp on the market's clocks.
Of a stamp that marks the end, midnight ends the day before.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import polars as pl

from flows.sources.parse import DAY, NAIVE
from flows.sources.times import local_dates
from transforms.errors import SchemaMismatch
from transforms.validate import split

SESSION: Final = "_session"
"""Date of the session a daily bar belongs to; null for others."""
LENGTHS: Final = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}

_SURE: Final = 20
"""Differences from which a symbol's own spacing counts against the file's."""


def told_granularity(head: pl.DataFrame, file: str) -> str:
    """The length of a file's bars from how far apart they are, the commonest difference per symbol."""
    gaps = _gaps(head)
    if gaps.is_empty():
        raise SchemaMismatch(f"{file}: no two bars of a symbol to tell their length from; name the granularity")
    commonest = gaps.group_by("gap").agg(pl.len()).sort("len", "gap", descending=[True, False])["gap"][0]
    own = (
        gaps.filter(pl.len().over("symbol") >= _SURE).group_by("symbol").agg(pl.col("gap").mode().min())["gap"].unique()
    )
    told = {name for gap in own for name in [_named(gap)] if name} | {_named(commonest)}
    if len(told) > 1 and None not in told:
        raise SchemaMismatch(
            f"{file}: holds bars of {' and '.join(sorted(map(str, told)))}; give it a column granularity"
        )
    if (name := _named(commonest)) is None:
        raise SchemaMismatch(
            f"{file}: its bars are {commonest} apart; bars of 1m, 1h and 1d can be read. "
            "If they are one of these, name the granularity"
        )
    return name


def _gaps(head: pl.DataFrame) -> pl.DataFrame:
    """Differences between the times of a symbol's bars (`symbol`, `gap`)."""
    stamps = pl.coalesce("timestamp", pl.col(DAY).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    ordered = head.select("symbol", at=stamps).drop_nulls().unique().sort("symbol", "at")
    return ordered.select("symbol", gap=pl.col("at").diff().over("symbol")).drop_nulls()


def _named(gap: timedelta) -> str | None:
    """1m, 1h, or 1d for a gap of one to four days (a week end may be all there is)."""
    if gap in (LENGTHS["1m"], LENGTHS["1h"]):
        return "1m" if gap == LENGTHS["1m"] else "1h"
    return "1d" if timedelta(hours=23) <= gap <= timedelta(days=4, hours=1) else None


def labelled(
    bars: pl.DataFrame, granularity: str | None, label: str, zone_of: Callable[[str], str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars with `granularity`, intraday ones at their start, daily ones with `_session`; and those refused."""
    given = pl.col("granularity") if "granularity" in bars.columns else pl.lit(None, pl.String)
    side = pl.col("bar_label") if "bar_label" in bars.columns else pl.lit(None, pl.String)
    frame = bars.with_columns(
        granularity=given.fill_null(pl.lit(granularity, pl.String)), _end=side.fill_null(label) == "end"
    )
    daily = pl.col("granularity") == "1d"
    untold = pl.col("timestamp").is_null() & (pl.col(DAY).is_null() | ~daily)
    frame, refused = split(
        "bars",
        frame,
        {
            "naive_time": untold & pl.col(NAIVE),
            "null_value": untold | pl.col("granularity").is_null(),
        },
    )
    frame = frame.with_columns(_session_dates(frame, zone_of))
    starts = pl.col("timestamp") - pl.col("granularity").replace_strict(LENGTHS, return_dtype=pl.Duration("us"))
    stamped = pl.when(daily).then(None).when("_end").then(starts).otherwise("timestamp")
    return frame.with_columns(timestamp=stamped).drop(DAY, NAIVE, "_end", "bar_label", strict=False), refused


def _session_dates(bars: pl.DataFrame, zone_of: Callable[[str], str]) -> pl.Series:
    """`_session` of daily bars, by the rules of the module's docstring."""
    daily = bars["granularity"] == "1d"
    written = bars[DAY].zip_with(daily, bars[DAY].clear(bars.height))
    open_ones = daily & written.is_null()
    if not open_ones.any():
        return written.alias(SESSION)
    at = pl.col("timestamp")
    ends = pl.duration(microseconds=pl.col("_end").cast(pl.Int64))
    stamps = bars.select("symbol", timestamp=pl.when(open_ones).then(at - ends))
    local = dates_by_symbol(stamps, zone_of)
    midnight = at == at.dt.truncate("1d")
    utc_date = (at - ends).dt.date()
    return bars.select(
        pl.coalesce(
            pl.lit(written), pl.when(open_ones & midnight).then(utc_date), pl.when(open_ones).then(local)
        ).alias(SESSION)
    ).to_series()


def dates_by_symbol(rows: pl.DataFrame, zone_of: Callable[[str], str]) -> pl.Series:
    """Dates of the rows' `timestamp` on the clocks of their symbols' markets."""
    zones = {symbol: zone_of(symbol) for symbol in rows["symbol"].unique()}
    names = sorted(set(zones.values()))
    if len(names) <= 1:
        return local_dates(rows["timestamp"], names[0] if names else "UTC")
    zone = rows["symbol"].replace_strict(zones, return_dtype=pl.String)
    dates = local_dates(rows["timestamp"], names[0])
    for name in names[1:]:
        dates = dates.zip_with(zone != name, local_dates(rows["timestamp"], name))
    return dates


def placed(bars: pl.DataFrame, sessions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Daily bars of one market at their session's open; those on dates without a session are refused."""
    opens = sessions.select(pl.col("session").alias(SESSION), _open="open")
    joined = bars.join(opens, on=SESSION, how="left", maintain_order="left")
    no_session = pl.col(SESSION).is_not_null() & pl.col("_open").is_null()
    known = pl.col(SESSION).is_between(opens[SESSION].min(), opens[SESSION].max())
    kept, refused = split("bars", joined, {"outside_calendar": no_session & ~known, "not_a_session": no_session})
    return kept.with_columns(timestamp=pl.coalesce("_open", "timestamp")).drop("_open"), refused

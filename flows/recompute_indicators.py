"""The part of a refresh that is about indicators: as far as a change of bars travels, and no further.

What is computed again is a *stretch* of the bars of one symbol and interval: the sessions whose bars changed, some
rows of context before them, and some rows behind. Recursions resume from the state that is stored in the context.
Behind the changed bars they go on until the state is again the one that is stored (`transforms.catalogue.settled`),
reading more rows as long as it is not; then every later row stands as it is.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from flows.batch import KEY, Batch, Revised, without
from flows.plan import merged
from transforms import catalogue
from transforms.schema import BARS, UTC_US, Interval

_BEGINNING, _END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WEEKEND = timedelta(days=4)
_MORE = 4
"""How many times as many rows are read behind a stretch that did not settle."""
_BY = "number"
_SERIES = ("symbol", "interval")


class _Read(NamedTuple):
    """Stretches as they were read: their bars as they are going to be, in order, and the bounds of each.

    `bounds`: number, symbol, interval, lo and hi (of the changed sessions), before and after (rows that were asked for;
    null: all), first and last (instants of what was read; from ever where the series begins, for ever where it ends).
    """

    bars: pl.DataFrame
    bounds: pl.DataFrame


def indicators(batch: Batch, revised: Mapping[Interval, Revised], again: Sequence[str]) -> None:
    """Compare with the stored ones the indicators that changed bars reach, and all those of the symbols `again`."""
    names = batch.market.settings.indicators
    stretches = _stretches(batch, revised, again) if names else pl.DataFrame()
    while not stretches.is_empty():
        batch.claim.keep_alive()
        read = _read(batch, revised, stretches)
        resumed = _resumed(read, names)
        stored = _stored(batch, resumed, read.bounds)
        short = _short(resumed, stored, names)
        values = _values(batch, read, stored, short)
        unsettled = _unsettled(read.bounds, values, stored, names)
        unready = pl.concat([short, unsettled])
        ready = read.bounds.join(unready, on=_SERIES, how="anti")
        _compare(batch, ready, values, stored)
        stretches = _next(read.bounds.join(unready, on=_SERIES, how="semi"), short, unsettled, names)


def _stretches(batch: Batch, revised: Mapping[Interval, Revised], again: Sequence[str]) -> pl.DataFrame:
    """Where bars changed: number, symbol, interval, lo, hi, before, after.

    Whole sessions, because what is summed over a session has to begin with it.
    """
    sessions = batch.plan.prices.select("symbol", timestamp="day_start", lo="day_start", hi="day_end").sort("timestamp")
    names = batch.market.settings.indicators
    travel = catalogue.travels(names)
    changed = [
        bars.touched.with_columns(interval=pl.lit(interval))
        for interval, bars in revised.items()
        if not bars.touched.is_empty()
    ]
    stretches = []
    if changed:
        found = (
            pl.concat(changed)
            .lazy()
            .filter(~pl.col("symbol").is_in(list(again)))
            .sort("timestamp")
            .join_asof(sessions.lazy(), on="timestamp", by="symbol", check_sortedness=False)
            .select(*_SERIES, "lo", "hi")
            .unique()
        )
        stretches.append(
            merged(found, _WEEKEND, _SERIES).select(
                *_SERIES,
                "lo",
                pl.col("hi") - _MICROSECOND,
                before=pl.lit(catalogue.context_rows(names), pl.Int64),
                after=pl.lit(travel.window + travel.settling_rows, pl.Int64),
            )
        )
    if again:
        whole = {"lo": pl.lit(_BEGINNING, UTC_US), "hi": pl.lit(_END, UTC_US)}
        unbounded = {name: pl.lit(None, pl.Int64) for name in ("before", "after")}
        series = pl.DataFrame({"symbol": list(again)}).join(pl.DataFrame({"interval": list(revised)}), how="cross")
        stretches.append(series.with_columns(**whole, **unbounded))
    if not stretches:
        return pl.DataFrame()
    return pl.concat(stretches).with_row_index(_BY).with_columns(pl.col(_BY).cast(pl.Int64))


def _read(batch: Batch, revised: Mapping[Interval, Revised], stretches: pl.DataFrame) -> _Read:
    """Read the stretches, lay over them what was computed, and join those that meet."""
    spans = next(iter(revised.values())).spans
    asked = {bars.table: stretches.filter(interval=interval) for interval, bars in revised.items()}
    rows = (
        batch.store.around(asked, BARS.names())
        .lazy()
        .join(stretches.lazy().select(_BY, "interval", "lo", "hi"), on=_BY)
    )
    at = pl.col("timestamp")
    counted = rows.group_by(_BY).agg(
        earlier=at.lt(pl.col("lo")).sum(),
        later=at.gt(pl.col("hi")).sum(),
        first=at.min(),
        last=at.max(),
    )
    begins = pl.col("before").is_null() | (pl.col("earlier").fill_null(0) < pl.col("before"))
    ends = pl.col("after").is_null() | (pl.col("later").fill_null(0) < pl.col("after"))
    bounds = _joined(
        stretches.lazy()
        .join(counted, on=_BY, how="left")
        .with_columns(
            first=pl.when(begins).then(pl.lit(_BEGINNING, UTC_US)).otherwise("first"),
            last=pl.when(ends).then(pl.lit(_END, UTC_US)).otherwise("last"),
        )
    ).collect()
    columns = [_BY, "interval", *BARS.names()]
    computed = pl.concat([bars.computed.lazy().with_columns(interval=pl.lit(name)) for name, bars in revised.items()])
    mine = computed.join(bounds.lazy().select(_BY, *_SERIES, "first", "last"), on=_SERIES).filter(
        at.is_between("first", "last")
    )
    others = without(rows.drop(_BY, "lo", "hi").unique([*KEY, "interval"]), spans)
    kept = _numbered(others, bounds)
    return _Read(pl.concat([kept.select(columns), mine.select(columns)]).sort(_BY, "timestamp").collect(), bounds)


def _joined(bounds: pl.LazyFrame) -> pl.LazyFrame:
    """Stretches of one series that meet become one."""
    apart = (pl.col("first") > pl.col("last").cum_max().shift(1)).fill_null(value=True)
    return (
        bounds.sort(*_SERIES, "first")
        .with_columns(part=apart.cum_sum().over(_SERIES))
        .group_by(*_SERIES, "part", maintain_order=True)
        .agg(
            pl.col(_BY).first(),
            pl.col("lo").min(),
            pl.col("hi").max(),
            pl.col("before").first(),
            pl.col("after").sort_by("last").last(),
            pl.col("first").min(),
            pl.col("last").max(),
        )
        .drop("part")
    )


def _numbered(rows: pl.LazyFrame, bounds: pl.DataFrame) -> pl.LazyFrame:
    """Add the number of the stretch that each row (symbol, interval, timestamp) lies in."""
    starts = bounds.lazy().select(_BY, *_SERIES, timestamp="first").sort("timestamp")
    return rows.sort("timestamp").join_asof(starts, on="timestamp", by=_SERIES, check_sortedness=False)


def _resumed(read: _Read, names: Sequence[str]) -> pl.DataFrame:
    """The row that each stretch resumes from (number, symbol, interval, timestamp), but for those that begin a series.

    The timestamp is null where there is no such row: what was read before the changed bars was taken away from it.
    """
    at = pl.col("timestamp")
    enough = at.lt(pl.col("lo")).sum() >= catalogue.context_rows(names)
    resuming = at.get(catalogue.resume_row(names), null_on_oob=True)
    return (
        read.bounds.lazy()
        .filter(pl.col("first") > _BEGINNING)
        .select(_BY, *_SERIES, "lo")
        .join(read.bars.lazy().select(_BY, "timestamp"), on=_BY, how="left", maintain_order="left_right")
        .group_by(_BY, *_SERIES, maintain_order=True)
        .agg(timestamp=pl.when(enough).then(resuming))
        .collect()
    )


def _stored(batch: Batch, resumed: pl.DataFrame, bounds: pl.DataFrame) -> pl.DataFrame:
    """Stored indicators of the rows that are resumed from, and of those that are computed again, with their stretch."""
    states = resumed.lazy().drop_nulls().select(*_SERIES, lo="timestamp", hi=pl.col("timestamp") + _MICROSECOND)
    again = bounds.lazy().select(*_SERIES, "lo", hi=pl.col("last") + _MICROSECOND)
    spans = pl.concat([states, again]).collect().partition_by("interval", as_dict=True, include_key=False)
    tables = {f"indicators_{name}": part for (name,), part in spans.items()}
    scales = catalogue.scales_of(batch.market.settings.indicators)
    found = batch.store.inside(tables, (*KEY, "session", *scales))
    return _numbered(
        pl.concat(
            [
                rows.lazy().with_columns(interval=pl.lit(table.removeprefix("indicators_")))
                for table, rows in found.items()
            ]
        ),
        bounds,
    ).collect()


def _short(resumed: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Stretches without a state to resume from: so close to the beginning of their series that none is there yet."""
    states = stored.filter(catalogue.resumable(stored, names)).select(_BY, "timestamp")
    return resumed.join(states, on=(_BY, "timestamp"), how="anti").select(_BY, *_SERIES)


def _values(batch: Batch, read: _Read, stored: pl.DataFrame, skipped: pl.DataFrame) -> pl.DataFrame:
    """Indicators of the stretches but for those skipped, from the first changed session of each on."""
    begins = read.bounds.filter(pl.col("first") == _BEGINNING).select(_BY)
    bars = batch.adjusted(read.bars.join(skipped, on=_BY, how="anti").sort("symbol", "session"))
    return (
        catalogue.compute_from(
            bars.sort(_BY, "timestamp"),
            stored.join(begins, on=_BY, how="anti"),
            batch.market.settings.indicators,
            keep=("close", "volume"),
            by=_BY,
        )
        .lazy()
        .join(read.bounds.lazy().select(_BY, "lo"), on=_BY, maintain_order="left")
        .filter(pl.col("timestamp") >= pl.col("lo"))
        .drop("lo")
        .collect()
    )


def _unsettled(bounds: pl.DataFrame, values: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Stretches that end before their series does, in another state than the one that is stored there."""
    ends = values.lazy().group_by(_BY, maintain_order=True).last().select(values.columns).collect()
    settled = ends.filter(catalogue.settled(ends, stored, names, by=_BY))
    return (
        bounds.lazy()
        .filter(pl.col("last") < _END)
        .join(ends.lazy(), on=_BY, how="semi")
        .join(settled.lazy(), on=_BY, how="anti")
        .select(_BY, *_SERIES)
        .collect()
    )


def _compare(batch: Batch, ready: pl.DataFrame, values: pl.DataFrame, stored: pl.DataFrame) -> None:
    """Note what differs in the stretches that are `ready`, interval by interval."""
    scales = catalogue.scales_of(batch.market.settings.indicators)
    for (interval,), some in ready.group_by("interval", maintain_order=True):
        since = some.lazy().select(_BY, "lo")
        computed, before = pl.collect_all(
            [rows.lazy().join(since, on=_BY).filter(pl.col("timestamp") >= pl.col("lo")) for rows in (values, stored)]
        )
        batch.compare(f"indicators_{interval}", computed, before, KEY, {"session": None, **scales})


def _next(stretches: pl.DataFrame, short: pl.DataFrame, unsettled: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """What is to be read again: from the beginning where the context was short, further where nothing settled.

    A sum never settles: where there is one among the indicators, the second try goes to the end.
    """
    further = pl.lit(None, pl.Int64) if catalogue.travels(names).cumulative else pl.col("after") * _MORE
    return stretches.select(
        _BY,
        *_SERIES,
        "lo",
        "hi",
        before=pl.when(~pl.col(_BY).is_in(short[_BY].implode())).then("before"),
        after=pl.when(pl.col(_BY).is_in(unsettled[_BY].implode())).then(further).otherwise("after"),
    )

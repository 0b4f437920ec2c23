"""Where rows that differ come from: the run that wrote them, and the raw rows of their bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from flows.verify_compare import Difference
from flows.wiring import Deps
from storage.market.lineage import LineageStore, RawRange
from transforms.schema import INTRADAY_MINUTES, Dataset
from transforms.sentiment import cutoff
from transforms.sessions import days_of

_PRICES: tuple[Dataset, ...] = ("ticks", "bars")


@dataclass(frozen=True, slots=True)
class Told:
    """A difference, the run that wrote the stored row (None: not on record), and the raw rows of its bucket.

    `actions`: how many corporate actions the symbol has, where they are what the row is made of.
    """

    difference: Difference
    run: Mapping[str, Any] | None
    raw: Sequence[RawRange]
    actions: int | None = None


def told(deps: Deps, differences: Sequence[Difference], as_of: datetime) -> list[Told]:
    """Look up each difference."""
    store = LineageStore(deps.database)
    runs = store.runs([d.run_id for d in differences if d.run_id is not None])
    found = []
    for difference in differences:
        run = None if difference.run_id is None else runs.get(difference.run_id)
        actions = store.actions(difference.symbol).height if difference.table == "adjustment_factors" else None
        bucket = _bucket(deps, difference, as_of)
        raw = [] if bucket is None else _ranges(store, difference, *bucket)
        found.append(Told(difference, run, raw, actions))
    return found


def _ranges(store: LineageStore, difference: Difference, start: datetime, end: datetime) -> list[RawRange]:
    datasets: tuple[Dataset, ...] = ("sentiment",) if difference.table.startswith("sentiment") else _PRICES
    return [found for dataset in datasets for found in store.ranges(dataset, difference.symbol, start, end)]


def _bucket(deps: Deps, difference: Difference, as_of: datetime) -> tuple[datetime, datetime] | None:
    """The stretch of the raw rows that a row is made of; None for one that is made of a whole series."""
    at, table = _time(difference), difference.table
    name = deps.calendars.market_of(difference.symbol)
    if at is None or name is None or "correlation" in table or table == "return_matrix":
        return None
    market = deps.market(name, as_of)
    if table == "sentiment_1h":
        return at, at + timedelta(hours=1)
    if table == "sentiment_1d":
        ends = market.sessions.select(label="open", until=cutoff(market.sentiment_rules)).sort("until").collect()
        place = ends["until"].search_sorted(at, side="left")
        return (ends["until"][place - 1], ends["until"][place]) if 0 < place < len(ends) else None
    return _of_bar(market.sessions, at, table)


def _of_bar(sessions: pl.LazyFrame, at: datetime, table: str) -> tuple[datetime, datetime]:
    """Up to the end of the bucket; in the session's last one, and for whole days and vendors' bars, of the day."""
    minutes = next((n for name, n in INTRADAY_MINUTES.items() if f"_{name}" in table), None)
    whole = minutes is None or "_fill" in table
    day = days_of(sessions).filter(pl.col("_day_start") <= at, pl.col("_day_end") > at).collect()
    end = at + timedelta(minutes=minutes or 1)
    if day.is_empty():
        return at, end
    start, close, over = (day[column][0] for column in ("_day_start", "_close", "_day_end"))
    return (start, over) if whole else (at, over if end >= close > at else end)


def _time(difference: Difference) -> datetime | None:
    values = difference.recomputed or difference.stored
    at: date | None = difference.at
    if at is None and isinstance(values, Mapping):
        at = values.get("timestamp")
    if difference.table == "quotes" and difference.column == "timestamp":
        at = difference.recomputed
    return at.astimezone(UTC) if isinstance(at, datetime) else None

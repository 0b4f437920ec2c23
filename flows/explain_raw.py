"""What a raw row reaches: the sessions, rows and keys that a change of it may change. As the graph declares it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from flows.derive import Market
from flows.explain import VERSIONS_SHOWN, raw_prices
from flows.explain_reach import Change, Reached, rows_reached
from flows.explain_sources import Bucket, parts_of_bar
from flows.graph import Derived, keys_of, reached
from flows.plan import Plan, plan_windows
from flows.point_in_time import check_symbol
from flows.wiring import Deps
from storage.market.lineage import LineageStore
from storage.market.tables import RAW_TABLES
from transforms.errors import UnknownSymbol
from transforms.resample import bars_from_minutes, fill_bars
from transforms.schema import BARS, INTERVALS, MARKET_SYMBOL, RAW_SCHEMAS, UTC_US, Dataset, Interval
from transforms.sentiment import sentiment_buckets
from transforms.sessions import bucket_end, bucket_label, place
from transforms.ticks import bars_from_ticks

_JUST_AFTER = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A raw row, or a moment at which one could be."""

    symbol: str
    dataset: Dataset
    at: datetime | date
    source: str | None = None

    @property
    def moment(self) -> datetime:
        """Of an action, its date in UTC."""
        at = self.at
        return at if isinstance(at, datetime) else datetime(at.year, at.month, at.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RawStory:
    """A raw row and everything it reaches.

    `rows`: as stored now; `superseded`: what they were before. `sessions`: those that are computed again. `buckets`:
    by interval, the bucket that the moment falls into. `keys`, `market_keys`: of the symbol, and of the market.
    `set_aside`: the stored rows that do not count now, by source, and why.
    """

    symbol: str
    dataset: str
    at: datetime | date
    rows: list[dict[str, Any]]
    superseded: list[dict[str, Any]]
    sessions: list[date]
    buckets: dict[str, tuple[datetime, datetime]]
    reaches: list[Reached]
    keys: list[str]
    market_keys: list[str]
    set_aside: list[dict[str, Any]]
    note: str | None = None


def explain_raw(deps: Deps, row: RawRow, as_of: datetime) -> RawStory:
    """What a raw row reaches; of a moment without one, what a row there would."""
    check_symbol(deps, row.symbol)
    name = deps.calendars.market_of(row.symbol)
    if name is None:
        raise UnknownSymbol(f"no row of {row.symbol} was ever ingested")
    lineage, market = LineageStore(deps.database), deps.market(name, as_of)
    stored, before = _versions(lineage, row)
    plan, whole = _planned(deps, row, market)
    change = Change(row.symbol, plan, _buckets(row, stored, plan, market), whole)
    hit = [] if _only_dividends(row, stored) else _hit(lineage, deps, change, row.dataset)
    return RawStory(
        symbol=row.symbol,
        dataset=row.dataset,
        at=row.at,
        rows=stored.to_dicts(),
        superseded=before.head(VERSIONS_SHOWN).to_dicts(),
        sessions=sorted({*plan.prices["session"], *plan.sentiment["session"]}),
        buckets=dict(change.buckets),
        reaches=[rows for _, found in hit for rows in found],
        keys=_keys(deps, [node for node, _ in hit if not node.of_market], row.symbol),
        market_keys=_keys(deps, [node for node, _ in hit if node.of_market], MARKET_SYMBOL),
        set_aside=_set_aside(deps, lineage, row, change, market),
        note=_note(row, stored, before, change),
    )


def _set_aside(deps: Deps, lineage: LineageStore, row: RawRow, change: Change, market: Market) -> list[dict[str, Any]]:
    """Price rows at the moment that do not count in their bar: another source, or finer rows, come first."""
    if row.dataset not in ("ticks", "bars") or not change.buckets or change.plan.prices.is_empty():
        return []
    interval = next(i for i in INTERVALS if i in change.buckets)
    raw = raw_prices(lineage, row.symbol, change.plan.prices["day_start"][0], change.plan.prices["day_end"][-1])
    parts = parts_of_bar(raw, Bucket(interval, *change.buckets[interval]), market)
    mine = parts.filter((pl.col("timestamp") == row.moment) & ~pl.col("used"))
    table = RAW_TABLES[row.dataset].name
    mine = mine.filter((pl.col("table") == table) & (pl.col("source") == row.source if row.source else True))
    return mine.select("source", "granularity", "why").unique(maintain_order=True).to_dicts()


def _hit(lineage: LineageStore, deps: Deps, change: Change, dataset: Dataset) -> list[tuple[Derived, list[Reached]]]:
    """The datasets that a change can reach, in order; those of the market by what they read."""
    found: list[tuple[Derived, list[Reached]]] = []
    names: set[str] = set()
    for node in reached([dataset]):
        rows = rows_reached(lineage, deps.settings, change, node)
        if names & {*node.reads} if node.of_market else rows:
            found.append((node, rows))
            names.add(node.name)
    return found


def _only_dividends(row: RawRow, stored: pl.DataFrame) -> bool:
    return row.dataset == "actions" and len(stored) > 0 and set(stored["action"]) == {"dividend"}


def _planned(deps: Deps, row: RawRow, market: Market) -> tuple[Plan, bool]:
    """The sessions that a window of the row's moment reaches, and whether all of the symbol's series is."""
    span = {"starts_at": [row.moment], "ends_at": [row.moment + _JUST_AFTER]}
    window = pl.DataFrame({"symbol": [row.symbol], "dataset": [row.dataset], **span})
    window = window.with_columns(pl.col("starts_at", "ends_at").cast(UTC_US))
    adjusted = deps.derived.vendor_adjusted([row.symbol])
    restated = deps.derived.crossing_splits(window) if row.dataset == "bars" and len(adjusted) else []
    plan = plan_windows(window, market.sessions.collect(), adjusted, restated, market.sentiment_rules)
    return plan, row.dataset == "actions" or bool(restated)


def _versions(lineage: LineageStore, row: RawRow) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The raw rows at the moment, and what they were before."""
    if row.dataset == "actions":
        day = row.moment.date()
        frames = (lineage.actions(row.symbol), lineage.superseded_actions(row.symbol))
        stored, before = (frame.filter(pl.col("ex_date") == day) for frame in frames)
    else:
        span = (row.moment, row.moment + _JUST_AFTER)
        stored = lineage.raw(row.dataset, row.symbol, *span)
        before = lineage.superseded(row.dataset, row.symbol, *span)
    if row.source is None:
        return stored, before
    return tuple(frame.filter(pl.col("source") == row.source) for frame in (stored, before))  # type: ignore[return-value]


def _buckets(row: RawRow, stored: pl.DataFrame, plan: Plan, market: Market) -> dict[str, tuple[datetime, datetime]]:
    """The buckets that the stored rows, or one that could be there, fall into, by interval."""
    if row.dataset == "sentiment":
        return _sentiment_buckets(row, stored, plan, market)
    if row.dataset == "actions":
        return {}
    found: dict[str, tuple[datetime, datetime]] = {}
    for interval, start in _starts(row, stored, market).items():
        at = pl.LazyFrame({"timestamp": [start]}, schema={"timestamp": UTC_US})
        placed = at.pipe(place, market.sessions, market.rules)
        bounds = placed.select(start=bucket_label(interval), end=bucket_end(interval)).collect()
        found |= {interval: bounds.row(0)} if len(bounds) else {}
    return found


def _starts(row: RawRow, stored: pl.DataFrame, market: Market) -> dict[Interval, datetime]:
    """A minute, or a bar's own start, inside each bucket: as the functions say that make bars of such a row."""
    schema = RAW_SCHEMAS[row.dataset]
    rows = stored.select(schema.names()) if len(stored) else _imagined(row, schema)
    if row.dataset == "ticks":
        minutes = bars_from_ticks(rows.sort("timestamp", "sequence"), market.sessions, market.rules)
    else:
        fine = rows.filter(pl.col("granularity") == "1m").head(1)
        minutes = bars_from_minutes(fine.lazy(), market.sessions, market.rules).collect()
    if len(minutes):
        return dict.fromkeys(market.settings.intervals, minutes["timestamp"][0])
    nothing, found = pl.LazyFrame(schema=BARS), dict[Interval, datetime]()
    for interval in market.settings.intervals[1:] if row.dataset == "bars" else ():
        filled = fill_bars(rows.head(1).lazy(), interval, market.sessions, market.rules, nothing).collect()
        found |= {interval: filled["timestamp"][0]} if len(filled) else {}
    return found


def _imagined(row: RawRow, schema: pl.Schema) -> pl.DataFrame:
    """A row that could be there: a trade, or a vendor's minute."""
    values = {"symbol": row.symbol, "timestamp": row.moment, "source": row.source or "", "granularity": "1m"}
    numbers = {name: 0.0 for name, kind in schema.items() if kind == pl.Float64()}
    return pl.DataFrame([{"sequence": 0, **numbers, **values}], schema=schema)


def _sentiment_buckets(
    row: RawRow, stored: pl.DataFrame, plan: Plan, market: Market
) -> dict[str, tuple[datetime, datetime]]:
    schema = RAW_SCHEMAS["sentiment"]
    rows = stored.select(schema.names()) if len(stored) else _imagined(row, schema)
    hours = sentiment_buckets(rows.lazy(), market.sessions, "1h", market.rules, market.sentiment_rules).collect()
    if hours.is_empty() or plan.sentiment.is_empty():
        return {}
    hour: datetime = hours["timestamp"][0]
    return {"1h": (hour, hour + timedelta(hours=1)), "1d": plan.sentiment.select("after", "cutoff").row(0)}


def _keys(deps: Deps, nodes: Sequence[Derived], symbol: str) -> list[str]:
    names = [key for node in nodes for key in keys_of(node, deps.settings.intervals)]
    return [deps.keys.of(symbol, name) for name in dict.fromkeys(names)]


def _note(row: RawRow, stored: pl.DataFrame, before: pl.DataFrame, change: Change) -> str | None:
    """What is special about the answer."""
    if _only_dividends(row, stored):
        return "a dividend changes no split factor: adjusted series and what is made of them stay as they are"
    if not change.whole and not change.buckets:
        return "it falls into no bucket: outside the hours that count, a message, or dropped by the settings"
    if stored.is_empty():
        gone = "the row that was here is superseded or removed" if len(before) else "no row is stored here"
        return f"{gone}; this is what one would reach"
    return None

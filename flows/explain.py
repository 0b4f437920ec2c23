"""Where a stored row comes from: the run that wrote it, the raw rows it is made of, and what those were before.

Reads only: nothing is claimed, written or published.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import polars as pl

from flows.derive import Market
from flows.explain_reads import Reading, readings
from flows.explain_sources import Bucket, RawPrices, parts_of_bar, parts_of_sentiment, summed
from flows.explain_target import RowTarget
from flows.wiring import Deps
from storage.cache.keys import ROLLING
from storage.market.lineage import LineageStore
from transforms.adjust import choose_actions
from transforms.errors import PermanentError, UnknownSymbol
from transforms.schema import Dataset
from transforms.sentiment import cutoff
from transforms.sessions import buckets_of, days_of

VERSIONS_SHOWN = 20
"""Superseded rows that are given one by one."""
_JUST_AFTER = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Superseded:
    """What raw rows in the bucket were before: how many versions there are, and the newest of them."""

    table: str
    versions: int
    newest: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Factors that make a session's raw prices and volume adjusted ones, and the splits they are made of."""

    price: float
    volume: float
    splits: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RowStory:
    """A row and all that is known of where it comes from.

    `run`: what wrote it; `gone` is set when its record was pruned. `start`, `end`: the bucket. `key`: the cache key
    that holds it, None where it is too old for that. `parts`: raw rows by source, those that count first.
    `pending`: changes of the symbol that are not refreshed yet.
    """

    symbol: str
    name: str
    market: str
    table: str
    values: list[dict[str, Any]]
    runs: list[Mapping[str, Any]]
    session: Mapping[str, Any]
    start: datetime
    end: datetime
    key: str | None
    parts: list[dict[str, Any]]
    superseded: list[Superseded] = field(default_factory=list)
    adjustment: Adjustment | None = None
    reads: list[Reading] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    pending: Sequence[Mapping[str, Any]] = ()


def explain_row(deps: Deps, target: RowTarget, as_of: datetime) -> RowStory:
    """Where one row of a symbol comes from; raises where there is no such row, naming the nearest."""
    name = deps.calendars.market_of(target.symbol)
    if name is None:
        raise UnknownSymbol(f"no row of {target.symbol} was ever ingested")
    market, lineage = deps.market(name, as_of), LineageStore(deps.database)
    rows, place = _found(deps, lineage, target, market)
    session = _session(market, place.session)
    dataset = target.name.partition(":")[0]
    raw = _Raw(lineage, target.symbol, session, place)
    return RowStory(
        symbol=target.symbol,
        name=target.name,
        market=name,
        table=_table(lineage, target, place.label),
        values=rows.drop("symbol", "run_id").to_dicts(),
        runs=told_runs(lineage, rows["run_id"]),
        session=session,
        start=place.start,
        end=place.end,
        key=_key(deps, lineage, target, place.label),
        parts=summed(raw.parts(dataset, target.interval, market)).to_dicts(),
        superseded=raw.superseded(dataset),
        adjustment=None if dataset == "sentiment" else adjustment(deps, lineage, target.symbol, place.session),
        reads=readings(deps, lineage, target, place.label, place.session),
        coverage=_coverage(lineage, target.symbol, session, dataset),
        pending=lineage.windows(target.symbol),
    )


def told_runs(lineage: LineageStore, ids: Iterable[int]) -> list[Mapping[str, Any]]:
    """Each run once, oldest first; of one whose record was pruned only its id, and `gone`."""
    wanted = sorted(set(ids))
    known = lineage.runs(wanted)
    return [known.get(run, {"id": run, "gone": True}) for run in wanted]


def adjustment(deps: Deps, lineage: LineageStore, symbol: str, session: date) -> Adjustment:
    """The factors stored for a session, and the splits after it that are in force."""
    factors = deps.derived.factors([symbol])
    inside = factors.filter((pl.col("from_date") <= session) & (pl.col("to_date") > session))
    price, volume = inside.select("price", "volume").row(0) if len(inside) else (1.0, 1.0)
    actions = lineage.actions(symbol)
    chosen = choose_actions(actions.lazy(), deps.settings.source_rank).collect()
    applied = factors["from_date"].to_list()  # an action to come makes no factor yet
    splits = chosen.filter(
        (pl.col("action") == "split") & (pl.col("ex_date") > session) & pl.col("ex_date").is_in(applied)
    )
    return Adjustment(price, volume, splits.drop("symbol").to_dicts())


def raw_prices(lineage: LineageStore, symbol: str, start: datetime, end: datetime) -> RawPrices:
    """The raw price rows of a symbol's day, and where its trades were declared complete."""
    ticks, rows = (lineage.raw(name, symbol, start, end) for name in _PRICES)
    covered = lineage.coverage(symbol, start, end).filter(pl.col("dataset") == "ticks")
    return RawPrices(ticks, rows, covered.select("symbol", start="starts_at", end="ends_at"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row is: its label and bucket. `label` of daily sentiment is that of the bar, not where it begins."""

    label: datetime
    session: date
    start: datetime
    end: datetime


def _found(deps: Deps, lineage: LineageStore, target: RowTarget, market: Market) -> tuple[pl.DataFrame, _Place]:
    """The rows a target means (one; of rolling correlations one a window and lag), and where they are."""
    if isinstance(target.at, datetime):
        newest = lineage.before(target.table, target.symbol, target.at + _JUST_AFTER, 1)
        label = newest["timestamp"][0] if len(newest) else None
    else:
        day = days_of(market.sessions).filter(pl.col("session") == target.at).collect()
        span = (day["_day_start"][0], day["_day_end"][0]) if len(day) else (None, None)
        found = lineage.derived(target.table, target.symbol, *span) if len(day) else None
        label = found["timestamp"][0] if found is not None and len(found) else None
    if label is not None:
        rows = lineage.derived(target.table, target.symbol, label, label + _JUST_AFTER)
        place = _place(target, label, rows["session"][0], market)
        if not isinstance(target.at, datetime) or label == target.at or place.start <= target.at < place.end:
            return rows, place
    raise PermanentError(_not_there(deps, lineage, target))


def _place(target: RowTarget, label: datetime, session: date, market: Market) -> _Place:
    dataset, interval = target.name.partition(":")[0], target.interval
    if dataset == "sentiment":
        if interval == "1h":
            return _Place(label, session, label, label + _HOUR)
        ends = market.sessions.select("session", "open", "day_start", "close", "day_end").sort("session")
        cutoffs = ends.select("session", end=cutoff(market.sentiment_rules))
        bounds = cutoffs.with_columns(start=pl.col("end").shift(1)).filter(pl.col("session") == session).collect()
        return _Place(label, session, bounds["start"][0] or label, bounds["end"][0])
    near = market.sessions.filter(
        pl.col("session").is_between(session - timedelta(days=7), session + timedelta(days=7))
    )
    bucket = buckets_of(near, interval, market.rules).filter(pl.col("timestamp") == label).collect()
    return _Place(label, session, label, bucket["end"][0])


def _not_there(deps: Deps, lineage: LineageStore, target: RowTarget) -> str:
    """What to say of a row that is not stored: what is near, and whether anything waits to be refreshed."""
    at = target.at
    moment = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day, tzinfo=UTC)
    near = [f"{near:%Y-%m-%d %H:%M}Z" for near in lineage.nearest(target.table, target.symbol, moment)]
    told = f"the nearest are of {' and '.join(near)}" if near else "there is none at all"
    due = any(window["due"] for window in lineage.windows(target.symbol))
    waits = " Changes of it wait to be refreshed: warmbars refresh" if due else ""
    shown = f"{at:%Y-%m-%d %H:%M}Z" if isinstance(at, datetime) else str(at)
    return f"there is no row of {target.symbol} {target.name} at {shown}; {told}.{waits}"


def _session(market: Market, session: date) -> Mapping[str, Any]:
    """Bounds of a session: open, close, break, and its day."""
    days = days_of(market.sessions).filter(pl.col("session") == session).collect()
    row = days.drop("_midnight").row(0, named=True)
    return {name.removeprefix("_"): value for name, value in row.items()}


def _coverage(lineage: LineageStore, symbol: str, session: Mapping[str, Any], dataset: str) -> list[dict[str, Any]]:
    """Declarations that matter to the row."""
    datasets = ["sentiment"] if dataset == "sentiment" else list(_PRICES)
    declared = lineage.coverage(symbol, session["day_start"], session["day_end"])
    return declared.filter(pl.col("dataset").is_in(datasets)).drop("symbol").to_dicts()


def _table(lineage: LineageStore, target: RowTarget, label: datetime) -> str:
    """Of a view of bars, the table the row is in."""
    if not target.name.startswith("bars:") or target.interval == "1m":
        return target.table
    rollup = f"{target.table}_rollup"
    is_rollup = len(lineage.derived(rollup, target.symbol, label, label + _JUST_AFTER))
    return rollup if is_rollup else f"{target.table}_fill"


def _key(deps: Deps, lineage: LineageStore, target: RowTarget, label: datetime) -> str | None:
    """The key the row is in, if it is among the newest that are published."""
    settings = deps.settings
    most = settings.published_sentiment if target.name.startswith("sentiment:") else settings.published_bars
    table = target.table
    if target.name == ROLLING:
        table, most = "bars_1d", settings.published_rolling  # as many sessions, whatever windows there are
    rows, _ = lineage.counted(table, target.symbol, label)
    return deps.keys.of(target.symbol, target.name) if rows <= most else None


@dataclass(frozen=True, slots=True)
class _Raw:
    """The raw rows of one symbol that a row may be made of."""

    lineage: LineageStore
    symbol: str
    session: Mapping[str, Any]
    place: _Place

    def parts(self, dataset: str, interval: str, market: Market) -> pl.DataFrame:
        """Raw rows in the bucket, one by one, and which of them count."""
        if dataset == "sentiment":
            rows = self.lineage.raw("sentiment", self.symbol, self.place.start, self.place.end + _JUST_AFTER)
            per: Literal["1h", "1d"] = "1h" if interval == "1h" else "1d"
            return parts_of_sentiment(rows, per, self.place.label, market)
        raw = raw_prices(self.lineage, self.symbol, self.session["day_start"], self.session["day_end"])
        bucket = Bucket(interval, self.place.start, self.place.end)  # type: ignore[arg-type]
        return parts_of_bar(raw, bucket, market)

    def superseded(self, dataset: str) -> list[Superseded]:
        """Versions of the raw rows in the bucket that count no more."""
        start, end = self.place.start, self.place.end + _JUST_AFTER
        if dataset != "sentiment" and self.place.end >= self.session["close"]:
            end = max(end, self.session["day_end"])  # the closing auction prints after the close
        datasets: tuple[Dataset, ...] = ("sentiment",) if dataset == "sentiment" else _PRICES
        found = []
        for name in datasets:
            history = self.lineage.superseded(name, self.symbol, start, end).drop("symbol")
            if len(history):
                newest = history.head(VERSIONS_SHOWN).to_dicts()
                found.append(Superseded(_TABLES[name], len(history), newest))
        return found


_PRICES: tuple[Dataset, ...] = ("ticks", "bars")
_TABLES: Mapping[str, str] = {"ticks": "stock_ticks", "bars": "stock_data", "sentiment": "sentiment_data"}

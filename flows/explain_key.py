"""Where a key of the cache comes from, and whether it holds what the database would send now. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from flows.explain import told_runs
from flows.explain_reads import Reading, over_every_session
from flows.explain_target import KeyTarget
from flows.graph import GRAPH, Derived, keys_of, tables_of
from flows.wiring import Deps
from storage.cache.codec import Body, body_of, decode
from storage.cache.entries import Head, Stored
from storage.cache.errors import CorruptEntry, TornRead
from storage.cache.fetch import Fetcher, Missing
from storage.cache.keys import CORRELATION, FORECAST, ROLLING, SENTIMENT_CURRENT
from storage.market.lineage import LineageStore, RawRange, Written
from transforms.errors import StoreUnavailable
from transforms.schema import DATASETS, INTERVALS, MARKET_SYMBOL
from transforms.sessions import days_of

_OWN_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    CORRELATION: ("correlations",),
    ROLLING: ("rolling_correlations",),
    SENTIMENT_CURRENT: ("sentiment_1h", "sentiment_1d"),
    FORECAST: ("forecasts",),
}
"""Of keys that do not say an interval."""
_Span = tuple[Any, Any]
"""The first and the last time of a key's rows: instants, or dates of sessions."""


@dataclass(frozen=True, slots=True)
class InCache:
    """What the cache holds under a key, and when its content last changed. `etag`: as the key says itself."""

    etag: str
    version: str
    as_of: datetime
    run: str
    bytes: int


@dataclass(frozen=True, slots=True)
class KeyStory:
    """A key and all that is known of where it comes from.

    `state`: `equal`, `behind`, `ahead`, `different`, `lost`, `unpublished`, `corrupt`, `unreachable` or `absent`
    (neither side has it); `told` says the same in words. `head`: of the symbol, as the cache has it. `publication`:
    the outbox's line. `written`: rows by the run that wrote them. `runs`: those runs. `reads`: of
    correlations, the sessions and pairs. `raw`: the raw rows in the days all of this reaches over.
    """

    key: str
    symbol: str
    name: str
    state: str
    told: str
    cached: InCache | None
    head: Mapping[str, Any] | None
    publication: Mapping[str, Any] | None
    database_etag: str | None
    rows: int
    columns: list[str]
    first: datetime | date | None
    last: datetime | date | None
    written: list[Written]
    runs: list[Mapping[str, Any]]
    reads: list[Reading]
    raw: list[RawRange]
    pending: Sequence[Mapping[str, Any]]


def explain_key(deps: Deps, target: KeyTarget, as_of: datetime) -> KeyStory:
    """Where a key comes from; also of one that is not there."""
    lineage = LineageStore(deps.database)
    symbol, name = target.symbol, target.name
    publication = deps.loader.load(symbol)
    body = publication.bodies.get(name) if publication else None
    cached, head, problem = _cached(deps, target)
    outbox = lineage.publication(symbol)
    state, told = problem or _compared(cached, head, body, outbox)
    frame = pl.DataFrame() if body is None else decode(body.content)
    time = next((c for c in ("timestamp", "session") if c in frame.columns), None)
    span: _Span | None = (frame[time].min(), frame[time].max()) if time and len(frame) else None
    first, last = span or (None, None)
    written = _written(deps, lineage, target, first if name != CORRELATION else None)
    reads = over_every_session(deps, lineage, symbol) if name == CORRELATION else []
    if reads and reads[0].rows:
        span = (reads[0].first, reads[0].last)
    return KeyStory(
        key=deps.keys.of(symbol, name),
        symbol=symbol,
        name=name,
        state=state,
        told=told,
        cached=cached,
        head=_told_head(head),
        publication=outbox,
        database_etag=body.etag if body else None,
        rows=len(frame),
        columns=frame.columns,
        first=first,
        last=last,
        written=written,
        runs=told_runs(lineage, [part.run_id for part in written]),
        reads=reads,
        raw=_raw(deps, lineage, target, span, as_of),
        pending=lineage.windows(symbol),
    )


def _cached(deps: Deps, target: KeyTarget) -> tuple[InCache | None, Head | None, tuple[str, str] | None]:
    """The key and its head at one moment, or what is wrong with them. The cache is only read, never filled."""
    fetcher = Fetcher(deps.client, deps.keys)
    try:
        found = fetcher.together(target.symbol, [target.name])
        if isinstance(found, Missing):
            return None, fetcher.head(target.symbol), None
    except (CorruptEntry, TornRead) as exc:
        return None, None, ("corrupt", str(exc))
    except StoreUnavailable as exc:
        return None, None, ("unreachable", str(exc))
    stored = found.stored[target.name]
    return _in_cache(stored), found.head, _altered(target.symbol, stored)


def _altered(symbol: str, stored: Stored | None) -> tuple[str, str] | None:
    """What is wrong with a key whose content is not the one that its etag names."""
    etag = None if stored is None else body_of(stored.body.content).etag
    if stored is None or etag == stored.body.etag:
        return None
    return "corrupt", f"its content has another etag, {etag}; somebody wrote to it: warmbars verify {symbol} --repair"


def _in_cache(stored: Stored | None) -> InCache | None:
    if stored is None:
        return None
    version = f"{stored.version.epoch}-{stored.version.n}"
    return InCache(stored.body.etag, version, stored.as_of, stored.run, len(stored.body.content))


def _compared(
    cached: InCache | None, head: Head | None, body: Body | None, outbox: Mapping[str, Any] | None
) -> tuple[str, str]:
    """How what the cache holds stands to what the database would send."""
    if outbox is None:
        return "unpublished", "the symbol was never refreshed: warmbars refresh"
    newest = (outbox["epoch"], outbox["version"])
    if head is None:
        return "unpublished", "nothing of the symbol is in the cache: warmbars publish --sweep"
    if cached is None and body is None:
        return "absent", "neither the cache nor the database has a row for it"
    if cached is not None and body is not None and cached.etag == body.etag:
        return "equal", "the cache holds what the database would send now"
    if head.version < newest:
        return "behind", f"version {newest[1]:,} was not sent yet, the cache has {head.version.n:,}: warmbars publish"
    if cached is None:
        return "lost", "its head lists it, but it is gone: warmbars publish --sweep"
    if head.version > newest:
        return "ahead", f"the cache has version {head.version.n:,}, the database {newest[1]:,}: was it restored?"
    return "different", "the cache holds something else at the same version: warmbars verify"


def _told_head(head: Head | None) -> Mapping[str, Any] | None:
    if head is None:
        return None
    version = {"epoch": head.version.epoch, "version": head.version.n}
    return {**version, "as_of": head.as_of, "run": head.run, "refused": head.refused, "keys": len(head.listed)}


def _nodes(deps: Deps, target: KeyTarget) -> list[Derived]:
    return [node for node in GRAPH.values() if target.name in keys_of(node, deps.settings.intervals)]


def tables(deps: Deps, target: KeyTarget) -> list[str]:
    """The derived tables that a key's rows are read from."""
    if target.name in _OWN_TABLES:
        return list(_OWN_TABLES[target.name])
    every = [table for node in _nodes(deps, target) for table in tables_of(node, deps.settings.intervals)]
    interval = target.name.partition(":")[2]
    others = {other for other in INTERVALS if other != interval} if interval in INTERVALS else set()
    return [table for table in every if not others & {*table.split("_")}]


def _written(deps: Deps, lineage: LineageStore, target: KeyTarget, since: datetime | date | None) -> list[Written]:
    symbol = None if target.symbol == MARKET_SYMBOL else target.symbol
    names = tables(deps, target)
    if target.symbol == MARKET_SYMBOL and not names:  # the board and the catalogue are read as they are
        names = ["quotes"]
    return [part for name in names for part in lineage.written(name, symbol, since)]


def _raw(deps: Deps, lineage: LineageStore, target: KeyTarget, span: _Span | None, as_of: datetime) -> list[RawRange]:
    """The raw rows in the days that a symbol's key reaches over, by source."""
    name = deps.calendars.market_of(target.symbol)
    if span is None or name is None or target.symbol == MARKET_SYMBOL:
        return []
    first, last = (moment.date() if isinstance(moment, datetime) else moment for moment in span)
    days = days_of(deps.market(name, as_of).sessions).collect()
    if isinstance(span[0], datetime):
        inside = days.filter((pl.col("_day_end") > span[0]) & (pl.col("_day_start") <= span[1]))
    else:
        inside = days.filter(pl.col("session").is_between(first, last))
    if inside.is_empty():
        return []
    reads = _raw_datasets(_nodes(deps, target) or [GRAPH["prices"]])
    start, end = inside["_day_start"][0], inside["_day_end"][-1]
    return [
        part for d in DATASETS if d in reads and d != "actions" for part in lineage.ranges(d, target.symbol, start, end)
    ]


def _raw_datasets(nodes: Sequence[Derived]) -> set[str]:
    """Raw datasets that these are made of, however far back."""
    read = {name for node in nodes for name in node.reads}
    further = [GRAPH[name] for name in read if name in GRAPH]
    return {name for name in read if name not in GRAPH} | (_raw_datasets(further) if further else set())

"""What a refresh would do, without doing it: `warmbars refresh --dry-run`.

The due windows are claimed, computed and compared exactly as a refresh does it; then nothing is written. So the rows
are those that a refresh would write at this moment, and the keys those whose newest rows are among them. What follows
for the market's own results is said, not computed: they are made of rows that are not there yet.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from flows import changed_settings
from flows.batch import Batch
from flows.graph import GRAPH, keys_of, market_datasets, node_of, reached
from flows.recompute import compute
from flows.steps import Progress, batches
from flows.wiring import Deps, silent
from storage.market.derived import Changes
from transforms.schema import MARKET_SYMBOL

_UNBOUNDED = 2**62


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one derived dataset of one symbol.

    `starts_at`, `ends_at`: the first and last row that would be written or deleted (None: none would).
    """

    symbol: str
    dataset: str
    because: tuple[str, ...]
    sessions: int
    written: int
    deleted: int
    starts_at: datetime | None
    ends_at: datetime | None
    keys: tuple[str, ...]


@dataclass(slots=True)
class Preview:
    """What a refresh would do.

    `symbols`: whose windows are due. `renewed`: those that get a new version without a row that changes, so that
    their keys are compared with the cache and sent again.
    """

    windows: int = 0
    symbols: set[str] = field(default_factory=set)
    renewed: list[str] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    market: list[str] = field(default_factory=list)
    market_keys: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def rows(self) -> dict[str, int]:
        """Rows to write and to delete, by dataset."""
        found: dict[str, int] = {}
        for each in self.planned:
            found[each.dataset] = found.get(each.dataset, 0) + each.written + each.deleted
        return found


def preview(deps: Deps, as_of: datetime, progress: Progress | None = None) -> Preview:
    """Work out what `flows.steps.refresh` would do at this moment; symbols that somebody is refreshing are left out."""
    started = time.perf_counter()
    found = Preview(settings=[str(change) for change in changed_settings.pending(deps)])
    asked = set()
    due = deps.derived.due(as_of)
    for batch in batches(due, deps.settings.refresh_batch_symbols, deps.settings.refresh_batch_rows):
        symbols = [each.symbol for each in batch]
        (progress or silent)(f"planning {symbols[0]} to {symbols[-1]}")
        with deps.derived.claim(symbols, as_of, _UNBOUNDED, run_id=0) as claim:
            found.busy |= {*symbols} - {*claim.locked}
            found.windows += claim.windows.height
            found.symbols |= {*claim.windows["symbol"]}
            found.renewed += claim.windows.filter(dataset="keys")["symbol"].unique().sort().to_list()
            if symbols == [MARKET_SYMBOL]:
                asked |= {*claim.windows["dataset"]}
            elif not claim.windows.is_empty():
                frozen = deps.retention.frozen(claim.symbols)
                done = compute(deps.derived, claim, deps.market(batch[0].market, as_of), as_of, frozen)
                found.planned += _planned(deps, done)
                asked |= market_datasets({changes.table for changes in done.changes}, deps.settings.intervals)
    found.market = sorted(asked)
    found.market_keys = [key for node in GRAPH.values() if node.of_market in asked for key in node.keys]
    found.seconds = time.perf_counter() - started
    return found


def _planned(deps: Deps, batch: Batch) -> Iterator[Planned]:
    """A line a symbol and dataset that its windows may change, in the order of the graph."""
    intervals = deps.settings.intervals
    for symbol in batch.plan.symbols:
        windows = batch.claim.windows.filter(symbol=symbol)["dataset"].unique().sort().to_list()
        for node in reached(windows):
            if node.of_market is None:
                mine = [_of(changes, symbol) for changes in batch.changes if node_of(changes.table, intervals) is node]
                sessions = batch.plan.sentiment if node.name == "scores" else batch.plan.prices
                yield Planned(
                    symbol=symbol,
                    dataset=node.name,
                    because=tuple(windows),
                    sessions=sessions.filter(symbol=symbol).height,
                    written=sum(each.upserts.height for each in mine),
                    deleted=sum(_gone(each) for each in mine),
                    starts_at=min((at for each in mine for at in _times(each)), default=None),
                    ends_at=max((at for each in mine for at in _times(each)), default=None),
                    keys=tuple(dict.fromkeys(key for each in mine for key in _keys(deps, symbol, each))),
                )


def _of(changes: Changes, symbol: str) -> Changes:
    return Changes(changes.table, changes.upserts.filter(symbol=symbol), changes.deletes.filter(symbol=symbol))


def _gone(changes: Changes) -> int:
    """Rows that are deleted and not written anew."""
    key = changes.deletes.columns
    return changes.deletes.join(changes.upserts, on=key, how="anti").height


def _times(changes: Changes) -> list[datetime]:
    """The first and last row that changes; none where rows have no moment."""
    if "timestamp" not in changes.upserts.columns:
        return []
    both = [
        *changes.upserts["timestamp"],
        *(changes.deletes["timestamp"] if "timestamp" in changes.deletes.columns else ()),
    ]
    return [min(both), max(both)] if both else []


def _keys(deps: Deps, symbol: str, changes: Changes) -> list[str]:
    """The keys that hold one of the rows: of a series only the newest rows are published."""
    if not len(changes):
        return []
    view = changes.table.removesuffix("_rollup").removesuffix("_fill")
    kind, _, interval = view.partition("_")
    settings = deps.settings
    if kind in ("bars", "indicators", "sentiment"):
        count = settings.published_sentiment if kind == "sentiment" else settings.published_bars
        newest = deps.derived.newest(view, pl.DataFrame({"symbol": [symbol], "count": [count]}), ["timestamp"])
        hidden = newest.height == count and max(_times(changes)) < min(newest["timestamp"])
        names = [f"{kind}:{interval}", *(["sentiment:current"] if kind == "sentiment" else [])]
        return [] if hidden else names
    return keys_of(node_of(changes.table, settings.intervals), settings.intervals)

"""The pipeline as plain functions: ingest, refresh, publish, and run, which is the three in a row. No Prefect here."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flows import changed_settings
from flows.batch import Batch as Recomputed
from flows.recompute import recompute
from flows.recompute_market import MarketWide, recompute_market
from flows.sources.base import Batch, Failure, Source
from flows.wiring import Deps, silent
from storage.cache.publisher import PartlyPublished, Publication
from storage.cache.sweeper import to_republish, unknown
from storage.market.derived import Due
from storage.market.outbox import Sent
from storage.market.raw import Rows, Written
from storage.market.refusals import Origin as RowsOrigin
from storage.market.retention import RetentionMoved
from storage.market.runs import Run
from transforms.errors import PermanentError
from transforms.schema import MARKET_SYMBOL

Progress = Callable[[str], None]
"""Told what is being done, in a few words; steps never print."""

_UNADJUSTABLE = (
    "prices adjusted for dividends cannot be brought back to what was traded; ingest the vendor's raw or"
    " split-adjusted prices (price_basis raw or split)"
)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file, or one generated dataset."""

    source: str
    origin: str
    dataset: str
    read: int
    rejected: int
    written: Written
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class Ingested:
    """What an ingest did, a line a file and dataset."""

    files: list[FileReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failures(self) -> list[FileReport]:
        """Files that could not be read at all."""
        return [report for report in self.files if report.error is not None]


@dataclass(slots=True)
class Refreshed:
    """What a refresh did: rows written and deleted by table, symbols whose results changed, those left to others."""

    symbols: set[str] = field(default_factory=set)
    windows: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    seconds: float = 0.0


@dataclass(slots=True)
class Published:
    """What a publish did: symbols sent, bodies written, kept as they were, and keys deleted."""

    symbols: int = 0
    written: int = 0
    kept: int = 0
    deleted: int = 0
    refused: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class RunReport:
    """What a run did."""

    ingested: Ingested
    refreshed: Refreshed
    published: Published


def ingest(deps: Deps, sources: Sequence[Source], as_of: datetime, progress: Progress | None = None) -> Ingested:
    """Validate what the sources hand over and store it; bad rows and unreadable files are set aside."""
    started = time.perf_counter()
    ingested = Ingested()
    with deps.runs.run("ingest", as_of) as run, tempfile.TemporaryDirectory(dir=_scratch(deps)) as scratch:
        reports: dict[tuple[str, str, str], FileReport] = {}
        left = deps.settings.reject_limit
        for source in sources:
            for item in source.batches(as_of, deps.settings.ingest_batch_rows, Path(scratch)):
                report = _stored(deps, run, source.name, item, left)
                left -= min(left, report.rejected)
                (progress or silent)(f"{report.origin}: {report.read:,} {report.dataset} rows")
                _gather(reports, report)
        ingested.files = list(reports.values())
        run.summary = {"files": len(ingested.files), "failures": len(ingested.failures)}
    ingested.seconds = time.perf_counter() - started
    return ingested


def _stored(deps: Deps, run: Run, source: str, item: Batch | Failure, reject_limit: int) -> FileReport:
    """Store one batch; the report of what became of it."""
    if isinstance(item, Failure):
        return FileReport(source, item.origin.name, "?", 0, 0, Written(), error=str(item.error))
    if item.price_basis == "split_dividend":
        return FileReport(source, item.origin.name, item.dataset, item.frame.height, 0, Written(), error=_UNADJUSTABLE)
    good, rejected = item.numbered(run.as_of, deps.settings.future_tolerance)
    deps.raw.reject(rejected, run.id, reject_limit)
    origin = RowsOrigin(item.origin.digest, item.origin.name, max(0, reject_limit - rejected.height))
    rows = Rows(item.dataset, good, item.price_basis, item.market, run.id, origin)
    if item.mode == "replace" and item.time_zone is not None:
        written = sum(deps.raw.replace(rows, item.time_zone), Written())
    else:
        written = deps.raw.upsert(rows)
    read, refused = good.height + rejected.height, rejected.height + written.refused
    notes = (*item.notes, *written.notes)
    return FileReport(source, item.origin.name, item.dataset, read, refused, written, notes)


def _gather(reports: dict[tuple[str, str, str], FileReport], new: FileReport) -> None:
    """Add a batch's report to its file's."""
    key = (new.source, new.origin, new.dataset)
    old = reports.get(key)
    reports[key] = (
        new
        if old is None
        else FileReport(
            *key,
            old.read + new.read,
            old.rejected + new.rejected,
            old.written + new.written,
            tuple(dict.fromkeys((*old.notes, *new.notes))),
            old.error or new.error,
        )
    )


def _scratch(deps: Deps) -> Path:
    place = deps.settings.home / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    return place


def refresh(deps: Deps, as_of: datetime, progress: Progress | None = None) -> Refreshed:
    """Recompute what the due dirty windows reach, until none is left that nobody else is at.

    A setting that changed since the last refresh opens dirty windows first (`flows.changed_settings`).
    """
    started = time.perf_counter()
    done = Refreshed()
    changed_settings.apply(deps, as_of, progress or silent)
    due = deps.derived.due(as_of)
    if due:
        with deps.runs.run("refresh", as_of) as run:
            while due:
                for batch in batches(due, deps.settings.refresh_batch_symbols, deps.settings.refresh_batch_rows):
                    (progress or silent)(f"refreshing {_names(batch)}")
                    refresh_batch(deps, batch, as_of, run, done)
                due = [d for d in deps.derived.due(as_of) if d.symbol not in done.busy]
            run.summary = {"symbols": len(done.symbols), "windows": done.windows, "rows": done.rows}
    done.seconds = time.perf_counter() - started
    return done


def refresh_batch(deps: Deps, batch: Sequence[Due], as_of: datetime, run: Run, done: Refreshed) -> None:
    """Refresh some symbols of one market in one transaction; a killed one never happened."""
    symbols = [due.symbol for due in batch]
    with deps.derived.claim(symbols, as_of, deps.settings.refresh_batch_rows, run.id) as claim:
        done.busy |= set(symbols) - set(claim.locked)
        if claim.windows.is_empty():
            return
        changed_settings.confirm(deps, claim)
        done.windows += claim.windows.height
        if symbols == [MARKET_SYMBOL]:
            result: MarketWide | Recomputed = recompute_market(
                deps.derived, claim, deps.market(deps.settings.market, as_of), as_of
            )
        else:
            frozen = deps.retention.frozen(claim.symbols)
            result = recompute(deps.derived, claim, deps.market(batch[0].market, as_of), as_of, frozen)
            if deps.retention.frozen(claim.symbols) != frozen:
                raise RetentionMoved(f"raw rows of {_names(batch)} expired while they were read; refresh again")
        removed = changed_settings.remove_unkept(deps, claim, as_of)
    done.symbols |= result.changed
    for changes in result.changes:
        done.rows[changes.table] = done.rows.get(changes.table, 0) + changes.rows
    for table, rows in removed.items():
        done.rows[table] = done.rows.get(table, 0) + rows


def batches(due: Sequence[Due], most_symbols: int, most_rows: int) -> Iterator[list[Due]]:
    """Consecutive symbols of one market, few enough to hold in memory; the market's own symbol alone."""
    batch: list[Due] = []
    rows = 0
    for symbol in due:
        full = len(batch) == most_symbols or rows + symbol.rows > most_rows
        if batch and (full or symbol.market != batch[0].market):
            yield batch
            batch, rows = [], 0
        batch.append(symbol)
        rows += symbol.rows
    if batch:
        yield batch


def _names(batch: Sequence[Due]) -> str:
    names = [due.symbol for due in batch]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]} ({len(names)} symbols)"


def publish(deps: Deps, as_of: datetime, progress: Progress | None = None) -> Published:
    """Send every publication the cache was not given yet, then say up to when everything was checked."""
    started = time.perf_counter()
    done = Published()
    pending = deps.outbox.pending()
    if pending:
        with deps.runs.run("publish", as_of) as run:
            send(deps, pending, done, progress)
            run.summary = {"symbols": done.symbols, "written": done.written, "refused": done.refused}
    if not deps.derived.due(as_of) and not deps.outbox.pending():
        deps.cache.set_checked(deps.epoch, as_of)
    done.seconds = time.perf_counter() - started
    return done


def send(
    deps: Deps, symbols: Sequence[str], done: Published, progress: Progress | None = None, *, whole: bool = False
) -> None:
    """Publish the newest versions of these symbols, batch by batch.

    Each batch is read in one snapshot; of what the cache was given before, only what may have changed since, unless
    symbols are to be sent `whole`: one whose keys are not what they were is sent again so. A symbol refreshed since is
    left to the next publish; had it been sent, the cache would have refused the older version anyway. One that the
    cache cannot take keeps no other from it: the error comes at the end.
    """
    size, lacking = deps.settings.publish_batch_symbols, list[str]()
    wrong: list[PartlyPublished] = []
    for start in range(0, len(symbols), size):
        batch = symbols[start : start + size]
        (progress or silent)(f"publishing {batch[0]} to {batch[-1]} ({start + len(batch)}/{len(symbols)})")
        loaded = deps.loader.load_many(batch, whole=whole)
        newest = deps.outbox.newest(batch)
        current = [p for p in loaded if newest.get(p.symbol) == (p.epoch, p.version)]
        try:
            outcomes = deps.cache.send(current)
        except PartlyPublished as exc:
            outcomes = exc.outcomes
            wrong.append(exc)
        lacking += [outcome.symbol for outcome in outcomes if outcome.status == "lacking"]
        outcomes = [outcome for outcome in outcomes if outcome.status != "lacking"]
        for outcome in outcomes:
            done.symbols += 1
            done.written += outcome.written
            done.kept += outcome.kept
            done.deleted += outcome.deleted
            done.refused += outcome.status == "refused"
        made = {o.symbol: deps.loader.recipe if o.status == "published" else "" for o in outcomes}
        deps.outbox.sent([Sent(p.symbol, p.epoch, p.version, made[p.symbol]) for p in current if p.symbol in made])
    if lacking:
        send(deps, lacking, done, progress, whole=True)
    if wrong:
        raise PermanentError("\n".join(map(str, wrong)))


def sweep(deps: Deps, progress: Progress | None = None) -> Published:
    """Compare what the cache has with what it was given, and send again what is lower, missing or lost.

    A symbol that the database knows nothing of (it was restored to an earlier moment) loses its keys. Should it be
    published for the first time just now, that is the newer version, and stays.
    """
    started = time.perf_counter()
    done = Published()
    versions = deps.outbox.versions()
    symbols = to_republish(deps.client, deps.keys, versions)
    if symbols:
        send(deps, symbols, done, progress, whole=True)
    strange = unknown(deps.client, deps.keys, versions)
    nothing = [Publication(symbol, deps.epoch, 0, as_of, 0) for symbol, as_of in strange.items()]
    done.deleted += sum(outcome.deleted for outcome in deps.cache.send(nothing))
    done.seconds = time.perf_counter() - started
    return done


def run(deps: Deps, sources: Sequence[Source], as_of: datetime, progress: Progress | None = None) -> RunReport:
    """Ingest the sources, refresh what that reached, publish it, and repair what the cache lost."""
    ingested = ingest(deps, sources, as_of, progress)
    refreshed = refresh(deps, as_of, progress)
    published = publish(deps, as_of, progress)
    sweep(deps, progress)
    return RunReport(ingested, refreshed, published)

"""Stored results held against the full path, keys against the database, and what differs marked to be made again.

Everything of a batch of symbols is read in one snapshot, so that refreshes may go on meanwhile. A symbol with a change
that no refresh has looked at yet is pending, not wrong. docs/verify.md says what is compared and how.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from flows import changed_settings
from flows.forecast import outdated
from flows.full import FACTORS, FINDINGS, MARKET_TABLES, AllSymbols, Table, bar_tables, full_market, results, tables
from flows.steps import Progress
from flows.verify_compare import Compared, Difference, compare
from flows.verify_keys import KeysChecked, check_keys
from flows.verify_lineage import Told, told
from flows.verify_read import Piece, Read, read
from flows.verify_repair import mark, windows_of
from flows.verify_sql import SqlChecked, check_sql
from flows.wiring import Deps, silent
from storage.market.checking import CheckStore, Moment
from storage.market.retention import RetentionStore
from storage.market.sqlbars import SqlBars
from transforms.errors import ConfigurationError, StoreUnavailable, UnknownSymbol
from transforms.schema import BARS, MARKET_SYMBOL

SAMPLE = 20
"""How many symbols are looked at when nobody says which."""
_SHOWN = 100
"""Most differences that are told with their lineage."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """Which symbols: those named, else `share` (0 to 1) or `number` of all, drawn by `seed`; and what of them.

    Neither: all. What is made of all symbols together is looked at where all are, or `@market` is named.
    """

    symbols: Sequence[str] = ()
    number: int | None = None
    share: float | None = None
    seed: int = 0
    keys: bool = True
    sql: bool = False
    repair: bool = False


@dataclass(slots=True)
class Verified:
    """What was found.

    `symbols`: verified, of `known`; `pending`: why a symbol was left out; `raw_rows`: read; `rows`: compared, by table;
    `wrong`: those that differ, by table; `differences`: symbols and tables with any; `told`: the first row of each,
    with its lineage. `forecast`: symbols that have forecasts, which are not made again; `outdated`: those whose
    forecasts are of other bars than the stored ones. `marked`: dirty windows made; `unmarked`: symbols with rows and
    no market.
    """

    known: int = 0
    symbols: list[str] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    raw_rows: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    differences: int = 0
    told: list[Told] = field(default_factory=list)
    keys: KeysChecked = field(default_factory=KeysChecked)
    forecast: int = 0
    outdated: list[str] = field(default_factory=list)
    sql: SqlChecked = field(default_factory=SqlChecked)
    unmarked: list[str] = field(default_factory=list)
    marked: int = 0
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether nothing differs, pending symbols aside."""
        return not (self.differences or self.keys.faults or self.sql.differences)


@dataclass(slots=True)
class _Work:
    """What every batch needs."""

    deps: Deps
    asked: Asked
    as_of: datetime
    retention: RetentionStore
    checks: CheckStore
    say: Progress
    done: Verified = field(default_factory=Verified)
    found: list[Difference] = field(default_factory=list)
    windows: list[pl.DataFrame] = field(default_factory=list)


def verify(deps: Deps, asked: Asked, as_of: datetime, progress: Progress | None = None) -> Verified:
    """Recompute by the full path and compare; `as_of` stands in where nothing was ever published.

    Raises `UnknownSymbol` for a name nobody ingested, and `ConfigurationError` while settings changed that no refresh
    has applied.
    """
    started = time.perf_counter()
    if changed := changed_settings.pending(deps):
        differing = ", ".join(dict.fromkeys(change.setting for change in changed))
        raise ConfigurationError(
            f"settings changed since the last refresh ({differing}), so everything stored is of other ones;"
            " run: warmbars refresh"
        )
    work = _Work(deps, asked, as_of, RetentionStore(deps.database), CheckStore(deps.database), progress or silent)
    chosen, whole = _chosen(work)
    for market, symbols, rows in _batches(work, chosen):
        _verify_batch(work, market, symbols, rows)
    of_all = whole or MARKET_SYMBOL in asked.symbols
    if of_all:
        _verify_market(work)
    if asked.keys:
        names = [*work.done.symbols, *([MARKET_SYMBOL] if of_all and MARKET_SYMBOL not in work.done.pending else [])]
        work.done.keys = check_keys(deps, names, work.say, everything=whole)
    if whole:
        made, work.done.outdated = outdated(deps, as_of)
        work.done.forecast = len(made)
    work.done.differences = len(work.found)
    work.done.told = told(deps, work.found[:_SHOWN], as_of)
    if asked.repair:
        _repair(work)
    work.done.seconds = time.perf_counter() - started
    return work.done


def _chosen(work: _Work) -> tuple[pl.DataFrame, bool]:
    """The symbols to look at (symbol, market), those of a market together; whether they are all there are."""
    with work.deps.database.snapshot(bulk=True) as snapshot:
        known = Moment(snapshot).standings().select("symbol", "market")
    strangers = sorted({s for found in work.checks.strangers(_names(work)).values() for s in found})
    known = pl.concat([known, pl.DataFrame({"symbol": strangers}, schema={"symbol": pl.String()})], how="diagonal")
    work.done.known = known.height
    asked = work.asked
    if asked.symbols:
        lacking = sorted({*asked.symbols} - {*known["symbol"], MARKET_SYMBOL})
        if lacking:
            raise UnknownSymbol(f"no row of {', '.join(lacking)} was ever ingested; `warmbars status` counts what is")
        known = known.filter(pl.col("symbol").is_in(list(asked.symbols)))
    elif asked.number is not None or asked.share is not None:
        wanted = asked.number if asked.number is not None else -(-known.height * (asked.share or 0) // 1)
        names = random.Random(asked.seed).sample(known["symbol"].to_list(), min(int(wanted), known.height))
        known = known.filter(pl.col("symbol").is_in(names))
    whole = not asked.symbols and known.height == work.done.known
    return known.sort("market", "symbol", nulls_last=True), whole


def _names(work: _Work) -> list[str]:
    return [table.name for table in tables(work.deps.settings)]


def _batches(work: _Work, chosen: pl.DataFrame) -> Iterator[tuple[str | None, list[str], int]]:
    """Symbols of one market, few enough to hold in memory, and their raw rows; a symbol with more alone."""
    settings = work.deps.settings
    with work.deps.database.snapshot(bulk=True) as snapshot:
        counts = Moment(snapshot).counts(chosen["symbol"].to_list())
    counted = chosen.join(counts, on="symbol", how="left", maintain_order="left")
    for (market,), part in counted.group_by("market", maintain_order=True):
        name = None if market is None else str(market)
        batch: list[str] = []
        held = 0
        for symbol, rows in part.select("symbol", pl.col("rows").fill_null(0)).iter_rows():
            if batch and (held + rows > settings.refresh_batch_rows or len(batch) == settings.refresh_batch_symbols):
                yield name, batch, held
                batch, held = [], 0
            batch.append(symbol)
            held += rows
        if batch:
            yield name, batch, held


def _verify_batch(work: _Work, market: str | None, symbols: list[str], rows: int) -> None:
    """Read a batch in one snapshot and hold it against the full path; once more if rows expired meanwhile."""
    done = len(work.done.symbols) + len(work.done.pending)
    names = symbols[0] if len(symbols) == 1 else f"{symbols[0]} to {symbols[-1]}"
    work.say(f"verifying {names} ({done + len(symbols)} symbols so far, {work.done.raw_rows:,} raw rows)")
    for _ in range(_TRIES):
        frozen = work.retention.frozen(symbols)
        found = _Found()
        parts: list[tuple[Piece, Read]] = []
        with work.deps.database.snapshot(bulk=True) as snapshot:
            moment = Moment(snapshot)
            for as_of, settled in _settled(work, moment, symbols, found.pending).items():
                hours = work.deps.market(market or work.deps.settings.market, as_of)
                piece = Piece(settled, hours, as_of, work.deps.settings.refresh_batch_rows)
                parts.append((piece, read(moment, piece, frozen, rows)))
                if work.asked.sql:
                    sources = SqlBars(snapshot, work.deps.settings, market or work.deps.settings.market, as_of)
                    check_sql(sources, settled, parts[-1][1].stored, frozen, found.sql)
        if work.retention.frozen(symbols) == frozen:
            while parts:
                _compare(work, found, *parts.pop())
            _keep(work, found, rows, unknown_market=market is None)
            return
    raise StoreUnavailable(f"raw rows of {names} expired while they were read, {_TRIES} times; try again")


def _compare(work: _Work, found: "_Found", piece: Piece, part: Read) -> None:
    """Hold what is stored of a piece against what its raw rows make."""
    computed = results(part.raw, part.bars, piece.market, piece.as_of)
    for table in tables(work.deps.settings):
        found.add(table, compare(table, computed[table.name], part.stored[table.name]))
    found.symbols += piece.symbols


@dataclass(slots=True)
class _Found:
    """What became of one batch."""

    symbols: list[str] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    compared: list[tuple[Table, Compared]] = field(default_factory=list)
    sql: SqlChecked = field(default_factory=SqlChecked)

    def add(self, table: Table, compared: Compared) -> None:
        """Note one table."""
        self.compared.append((table, compared))


def _settled(
    work: _Work, moment: Moment, symbols: Sequence[str], pending: dict[str, str]
) -> Mapping[datetime, list[str]]:
    """The symbols that can be verified, by as-of; the others go to `pending`.

    What is stored of a symbol stays right until its next dirty window is due. So all those that nothing was due of at
    the newest publication of any are looked at as of then, the others as of their own.
    """
    newest = moment.newest() or work.as_of
    settled: dict[datetime, list[str]] = {}
    standings = moment.standings(symbols)
    for row in standings.iter_rows(named=True):
        own, due = row["as_of"] or newest, row["due_at"]
        as_of = newest if due is None or due > newest else own
        if row["unseen"] or (due is not None and due <= as_of):
            pending[row["symbol"]] = _waiting(row["windows"])
        else:
            settled.setdefault(as_of, []).append(row["symbol"])
    strangers = sorted({*symbols} - {*standings["symbol"]})
    if strangers:
        settled.setdefault(newest, []).extend(strangers)
    return settled


def _waiting(windows: int) -> str:
    return f"{windows} dirty window{'s' if windows > 1 else ''}"


def _keep(work: _Work, found: _Found, rows: int, *, unknown_market: bool) -> None:
    """Add a batch to the whole."""
    done = work.done
    done.symbols += found.symbols
    done.pending |= found.pending
    done.raw_rows += rows
    done.sql += found.sql
    for table, compared in found.compared:
        done.rows[table.name] = done.rows.get(table.name, 0) + compared.rows
        if compared.wrong.is_empty():
            continue
        done.wrong[table.name] = done.wrong.get(table.name, 0) + compared.wrong.height
        work.found += compared.differences
        if unknown_market:
            done.unmarked += [d.symbol for d in compared.differences if d.symbol not in done.unmarked]
        else:
            work.windows.append(windows_of(table, compared.wrong))


def _verify_market(work: _Work) -> None:
    """What is made of all symbols together, from their stored rows."""
    work.say("verifying what is made of all symbols together")
    made_of = {FACTORS, "correlations", *(name for name in bar_tables(work.deps.settings) if "_1d_" in name)}
    if broken := sorted(made_of & work.done.wrong.keys()):
        work.done.pending[MARKET_SYMBOL] = f"it is made of rows that differ: {', '.join(broken)}"
        return
    settings = work.deps.settings
    with work.deps.database.snapshot(bulk=True) as snapshot:
        moment = Moment(snapshot)
        standings = moment.standings([MARKET_SYMBOL]).rows(named=True)
        if not standings or standings[0]["windows"]:
            for row in standings:
                work.done.pending[MARKET_SYMBOL] = _waiting(row["windows"])
            return
        tested = (*FINDINGS.key, "r", "n", "p", "ci_low", "ci_high")
        every = AllSymbols(
            correlations=moment.everything("correlations", tested),
            bars_1d=moment.everything("bars_1d", BARS.names()).cast(BARS),
            factors=moment.everything("adjustment_factors", ("symbol", "from_date", "to_date", "price", "volume")),
        )
        stored = {t.name: moment.everything(t.name, (*t.columns, "run_id")) for t in MARKET_TABLES}
    if every.bars_1d.select("symbol", "session").is_duplicated().any():
        work.done.pending[MARKET_SYMBOL] = "a symbol has two daily bars of one session; verify --all finds it"
        return
    computed = full_market(every, work.deps.market(settings.market, standings[0]["as_of"] or work.as_of))
    found = _Found()
    for table in MARKET_TABLES:
        found.add(table, compare(table, computed[table.name], stored[table.name]))
    _keep(work, found, 0, unknown_market=False)


def _repair(work: _Work) -> None:
    """Mark what differs as dirty, for the next refresh."""
    keys = work.done.keys
    if not work.found and not keys.faults:
        return
    with work.deps.runs.run("verify", work.as_of) as run:
        work.done.marked = mark(work.deps, work.windows, keys.faults, run)
        run.summary = {"marked": work.done.marked, "wrong": work.done.wrong, "keys": len(keys.faults)}

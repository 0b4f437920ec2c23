"""What happens to a store in one sequence, step by step, each step of a life that may end at any statement."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl
from polars.testing import assert_frame_equal

from flows import full, steps
from flows.derive import as_factors
from flows.removal import delete
from flows.symbols import rename, set_active
from flows.verify_compare import compare
from flows.wiring import Deps, wire
from storage.cache.codec import decode
from storage.cache.publisher import Publication
from storage.market.database import statement, table_name
from storage.market.instruments import InstrumentStore
from storage.market.outbox import Sent
from storage.market.removal import Removal
from storage.market.schema import raise_epoch
from storage.market.tables import COARSE, RAW_TABLES
from storage.settings import Settings
from tests.machine.lab import NAMESPACE, CacheCopy, DatabaseCopy, Heads, Lab
from tests.machine.model import SCHEMAS, Frames, Model, Told, midnight
from transforms.adjust import split_adjust
from transforms.errors import PermanentError
from transforms.schema import BARS

Mishap = Literal["everything", "everything and its functions", "what came since"]
Restore = Literal["told", "other database"]


@dataclass(frozen=True)
class Case:
    """A market, the dates that rows fall on, and the settings to change between, the first to begin with."""

    market: str
    zone: str
    days: tuple[date, ...]
    variants: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Moment:
    """A store and its cache as they once were, and what was true then."""

    database: DatabaseCopy
    cache: CacheCopy
    model: Model


@dataclass
class World:
    """A store, its model, and a clock that only goes forward."""

    lab: Lab
    case: Case
    model: Model = field(default_factory=Model)
    variant: int = 0
    moment: Moment | None = None
    held: list[Publication] = field(default_factory=list)
    seen: Heads = field(default_factory=dict)

    def __post_init__(self) -> None:
        """An empty store, a process at work on it, and the morning of the fourth day from the last."""
        self.lab.empty()
        self.zone = ZoneInfo(self.case.zone)
        base = self.lab.settings(market=self.case.market)
        self.variants = [base.model_copy(update=variant) for variant in self.case.variants]
        self.life = ExitStack()
        self.deps = self._begin()
        self.now = self.local(self.case.days[-4], 10 * 60)
        sessions = self.deps.market(self.case.market, self.now).sessions.collect()
        during = sessions.filter(pl.col("session").is_in(self.case.days))
        before = sessions.filter(pl.col("session") < self.case.days[0]).tail(22)
        self.sessions = {row["session"]: row for row in during.iter_rows(named=True)}
        self.month_before = before.rows(named=True)

    # ---- processes

    @property
    def settings(self) -> Settings:
        return self.variants[self.variant]

    def _begin(self) -> Deps:
        return self.life.enter_context(wire(self.settings))

    def end(self) -> None:
        """The process is gone, and the server has noticed."""
        self.life.close()
        self.lab.settle()

    def resettled(self, variant: int, at: int = 0) -> None:
        """Another process, under other settings."""
        self.variant = variant % len(self.case.variants)
        self.lab.tally["settings"] += 1
        self.restart(at)

    def restart(self, at: int = 0) -> None:
        """Another process, which may die while it starts; the one after it does not."""
        self.end()
        with self.lab.faults.until(at) as faults:
            self.deps = self._begin()
        self.lab.tally["start" if faults.died is None else "start, died"] += 1
        if faults.died is not None:
            self.end()
            self.deps = self._begin()

    def does(self, what: str, work: Callable[[Deps], Any], at: int | str = 0) -> bool:
        """Have the process do something, and die at its statement number `at` if it gets there; whether it lived."""
        with self.lab.faults.until(at) as faults:
            work(self.deps)
        self.lab.tally[f"statements {what}"] = max(self.lab.tally[f"statements {what}"], len(faults.seen))
        self.lab.tally[what if faults.died is None else f"{what}, died"] += 1
        if faults.died is None:
            return True
        self.restart()
        return False

    # ---- raw rows

    def ingest(self, told: Told, at: int = 0) -> None:
        """Store rows; of a process that died on the way, find out which of its transactions were committed."""
        self._goes_to(self.model.after(told), f"ingest {told.mode}", lambda deps: _ingested(deps, told, self.now), at)

    def delete(self, removal: Removal, at: int = 0) -> None:
        """Take rows out, as `warmbars delete` does."""
        states = [self.model, self.model.without(removal)]
        self._goes_to(states, "delete", lambda deps: delete(deps, [removal], self.now), at)

    def rename(self, old: str, new: str, at: int = 0) -> None:
        """Give a symbol another name; nothing happens where the name is taken."""
        try:
            InstrumentStore(self.deps.database).check_rename(old, new)
        except PermanentError:
            self.lab.tally["rename refused"] += 1
            return
        states = [self.model, self.model.renamed(old, new)]
        self._goes_to(states, "rename", lambda deps: rename(deps, old, new, self.now), at)

    def list_(self, symbol: str, first: date | None, last: date | None, at: int = 0) -> None:
        """Say from when to when a symbol is traded."""
        states = [self.model, self.model.listed(symbol, first, last)]
        self._goes_to(states, "list", lambda deps: set_active(deps, symbol, first, last, self.now), at)

    def _goes_to(self, states: Sequence[Model], what: str, work: Callable[[Deps], Any], at: int) -> None:
        """Do something that takes the raw rows through these states; a process that died left them in one of these."""
        lived = self.does(what, work, at)
        self.model = states[-1] if lived else self._one_of(states)

    def again(self, told: Told) -> None:
        """Store rows that are there already: nothing may become dirty."""
        newest = self.lab.rows("dirty_windows", ["id"])
        report = steps.ingest(self.deps, [told], self.now)
        written = [file.written for file in report.files]
        assert [(w.inserted, w.changed, w.removed, w.windows) for w in written] == [(0, 0, 0, 0)] * len(written)
        assert self.lab.rows("dirty_windows", ["id"]) == newest

    def _one_of(self, states: Sequence[Model]) -> Model:
        """The state that the raw tables are in; it must be one of these."""
        wrong: list[str] = []
        for state in reversed(states):
            try:
                self.assert_raw(state)
            except AssertionError as exc:
                wrong.append(str(exc))
            else:
                return state
        raise AssertionError("half a transaction is stored:\n" + "\n".join(wrong))

    # ---- mishaps

    def lose(self, what: Mishap) -> None:
        """Have the cache lose everything, or whatever came after an earlier moment."""
        self.lab.tally[f"lose {what}"] += bool(self.lab.cache.dbsize())
        if what == "what came since" and self.moment is not None:
            self.lab.restore_cache(self.moment.cache)
        else:
            self.lab.cache.flushall()
        if what == "everything and its functions":
            self.lab.cache.function_flush()
        self.seen = self.lab.heads()

    def remember(self) -> None:
        """Copy store and cache, to be put back later."""
        self.moment = Moment(self.lab.database_copy(), self.lab.cache_copy(), self.model.copy())

    def restore(self, how: Restore) -> None:
        """Put the store back to where it was, as an operator does: nothing runs meanwhile, then the epoch is raised."""
        assert self.moment is not None
        self.lab.tally[f"restore {how}"] += 1
        self.end()
        self.lab.restore_database(self.moment.database)
        if how == "told":
            self.deps = self._begin()
            raise_epoch(self.deps.database)
            self.end()
        else:
            self.lab.owner.execute("UPDATE warmbars.store_meta SET database_identity = 'the one that was backed up'")
        self.model = self.moment.model.copy()
        self.deps = self._begin()

    def wake(self) -> None:
        """Have a publisher go on that had read what to send before other things happened."""
        held, self.held = self.held, []
        self.lab.tally["late publisher"] += 1
        self.deps.cache.send(held)
        self.deps.outbox.sent([Sent(p.symbol, p.epoch, p.version) for p in held])

    # ---- what must hold

    def look(self) -> None:
        """No reader is ever told of an older version than before, and no newer one than there is."""
        heads = self.lab.heads()
        for symbol, (version, keys) in heads.items():
            before, known = self.seen.get(symbol, ((0, 0), {}))
            assert version >= before, f"{symbol} went back from {before} to {version}"
            for name, content in keys.items():
                assert content >= known.get(name, (0, 0)), f"{name} of {symbol} went back to {content}"
                assert content <= version, f"{name} of {symbol} is newer than its head"
        stored = {
            symbol: (epoch, n) for symbol, epoch, n in self.lab.rows("publications", ["symbol", "epoch", "version"])
        }
        for symbol, version in stored.items():
            assert heads.get(symbol, ((0, 0), {}))[0] <= version, f"{symbol} is newer in the cache than in the store"
        self.seen = heads

    def settle(self, late: bool) -> None:
        """Refresh, publish and sweep until nothing is left to do; then everything must be as the model says."""
        if late:
            self.now = self.local(self.case.days[-1], 1440 * 5)
        assert not steps.refresh(self.deps, self.now).busy
        steps.publish(self.deps, self.now)
        steps.sweep(self.deps)
        self.look()
        self.assert_raw(self.model)
        assert not [due for (due,) in self.lab.rows("dirty_windows", ["due_at"]) if due <= self.now]
        expected = self.model.derived(self.deps.market(self.case.market, self.now), self.now)
        self.assert_derived(expected)
        self.assert_keys()
        self.assert_bodies(expected)

    def assert_raw(self, model: Model) -> None:
        """Raw rows, their history and the coverage, exactly."""
        for dataset, schema in SCHEMAS.items():
            table, columns = RAW_TABLES[dataset].name, list(schema)
            expected = [tuple(row[c] for c in columns) for row in model.rows[dataset].values()]
            _same(self.lab.rows(table, columns), expected, table)
            gone = [tuple(row[c] for c in columns) for which, row in model.superseded if which == dataset]
            _same(self.lab.rows(f"{table}_history", columns), gone, f"{table}_history")
        covered = [(*key, end) for key, end in model.coverage.items()]
        _same(self.lab.rows("coverage", _COVERAGE), covered, "coverage")
        gone = [(*key, end) for key, end in model.withdrawn]
        _same(self.lab.rows("coverage_history", _COVERAGE), gone, "coverage_history")
        known = [(name, s.active_from, s.active_to, s.renamed_to) for name, s in model.symbols.items()]
        columns = ["symbol", "active_from", "active_to", "renamed_to"]
        _same(self.lab.rows("instruments", columns), known, "instruments")

    def assert_derived(self, expected: Frames) -> None:
        """Every derived table, against what is computed from the model's raw rows alone."""
        told = {symbol for frame in expected.values() for symbol in frame["symbol"]}
        assert told <= {symbol for (symbol,) in self.lab.rows("publications", ["symbol"])}
        wanted = full.tables(self.settings)
        wanted += [table for table in full.MARKET_TABLES if table.name in expected]
        for table in wanted:
            found = self.deps.database.frame(statement("SELECT * FROM {table}", table=table_name(table.name)))
            self.lab.tally[f"rows in {table.name}"] += not found.is_empty()
            differences = compare(table, expected[table.name], found).differences
            assert not differences, f"{table.name}: {differences}\nstored {found}\nshould be {expected[table.name]}"
        unkept = {f"{family}_{i}{kind}" for i in COARSE for family, kind in _FAMILIES} - {
            table.name for table in wanted
        }
        for name in sorted(unkept):
            assert self.lab.rows(name) == [], f"{name} is not kept"

    def assert_keys(self) -> None:
        """The cache holds every symbol's newest version, each key what the tables say, and nothing else."""
        books = self.lab.rows("publications", ["symbol", "epoch", "version", "published_epoch", "published_version"])
        assert [row for row in books if row[1:3] != row[3:5]] == []
        heads = self.lab.heads()
        versions = {symbol: (epoch, n) for symbol, epoch, n, *_ in books}
        assert {s: version for s, (version, keys) in heads.items() if keys or s in versions} == versions
        keys = [key for key in self.lab.cache.keys(f"wb:1:{NAMESPACE}:{{*}}:*") if not key.endswith(b":head")]
        found = {key.decode(): self.lab.cache.hgetall(key) for key in keys}
        expected = {
            self.deps.keys.of(publication.symbol, name): body
            for publication in self.deps.loader.load_many(sorted(versions))
            for name, body in publication.bodies.items()
        }
        assert found.keys() == expected.keys()
        assert {self.deps.keys.of(s, name) for s, (_, listed) in heads.items() for name in listed} == found.keys()
        for key, body in expected.items():
            stored = found[key]
            assert (stored[b"body"], stored[b"etag"].decode()) == (body.content, body.etag), key
            assert decode(stored[b"body"]) is not None

    def assert_bodies(self, expected: Frames) -> None:
        """What a reader gets, against the same: newest rows, prices adjusted for the splits in force."""
        settings, rows = self.settings, dict[str, pl.DataFrame]()
        factors = as_factors(expected["adjustment_factors"])
        for interval in settings.intervals:
            tables = ["bars_1m"] if interval == "1m" else [f"bars_{interval}_rollup", f"bars_{interval}_fill"]
            whole = pl.concat([expected[name].select(BARS.names()) for name in tables]).sort("symbol", "timestamp")
            newest = split_adjust(whole.lazy(), factors).collect().group_by("symbol", maintain_order=True)
            rows[f"bars:{interval}"] = newest.tail(settings.published_bars)
        rows["quote"] = expected["quotes"]
        for interval in ("1h", "1d"):
            buckets = expected[f"sentiment_{interval}"].sort("symbol", "timestamp")
            newest = buckets.group_by("symbol", maintain_order=True)
            rows[f"sentiment:{interval}"] = newest.tail(settings.published_sentiment)
        for name, frame in rows.items():
            for (symbol,), part in frame.partition_by("symbol", as_dict=True).items():
                found = self.deps.reader().read(str(symbol), name).value
                assert_frame_equal(found, part.select(found.columns), rel_tol=1e-9, abs_tol=1e-9)

    # ---- times

    def local(self, day: date, minute: float) -> datetime:
        return midnight(day, self.zone) + timedelta(minutes=minute)

    def past(self) -> list[date]:
        """The days that have begun."""
        return [day for day in self.case.days if self.local(day, 0) < self.now]


_COVERAGE = ["symbol", "dataset", "source", "starts_at", "ends_at"]
_FAMILIES = (("bars", "_rollup"), ("bars", "_fill"), ("indicators", ""))


def _ingested(deps: Deps, told: Told, as_of: datetime) -> None:
    report = steps.ingest(deps, [told], as_of)
    assert not report.failures
    assert all(file.rejected == 0 for file in report.files), report.files


def _same(found: Sequence[tuple[Any, ...]], expected: Sequence[tuple[Any, ...]], what: str) -> None:
    extra, missing = Counter(found) - Counter(expected), Counter(expected) - Counter(found)
    assert not extra, f"{what}: too many {list(extra)}, missing {list(missing)}"
    assert not missing, f"{what}: missing {list(missing)}"


def failing() -> bool:
    """Whether an exception is on its way out."""
    return sys.exc_info()[0] is not None

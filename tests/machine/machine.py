"""The state machine: random sequences of everything that may happen to a store, against a model."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flows import steps
from storage.market.removal import Removal
from tests.machine.lab import Lab
from tests.machine.model import WIDTH, Row, Told, key_of
from tests.machine.world import Case, World, failing
from transforms.errors import UnknownSymbol
from transforms.schema import Dataset

SYMBOLS = ("A", "B", "C")
_SLOTS = tuple(("open", s) for s in (-60, 0, 30, 90, 300, 3_900)) + tuple(
    ("close", s) for s in (-60, -1, 0, 30, 100, 600)
)
_CONDITIONS = (None, None, None, "0", "80", "1000000")

symbols = st.sampled_from(SYMBOLS)
days = st.integers(0, 3) | st.integers(0, 8)
"""How many days back, of those that have begun."""
slots = st.sampled_from(_SLOTS)
prices = st.integers(900, 1100).map(lambda n: n / 8)
tapes = st.lists(
    st.tuples(slots, st.integers(0, 2), prices, st.integers(0, 8), st.sampled_from(_CONDITIONS)), min_size=1, max_size=5
)
candles = st.tuples(prices, prices, prices, prices, st.integers(0, 500))
messages = st.tuples(st.integers(-10, 10), st.integers(0, 10), *[st.sampled_from((None, None, False, True))] * 2)
numbers = st.integers(0, 10_000)
besides = st.sampled_from(("nothing", "nothing", "a backup", "a publisher", "a slow publisher"))


def crashes(most: int) -> st.SearchStrategy[int]:
    """The point at which the process dies (`Faults.until`), of about as many as the work has; half of them live."""
    deaths = [*range(1, most + 1), *range(-1, -most // 4, -1)]
    return st.sampled_from([*[0] * len(deaths), *deaths])


class Machine(RuleBasedStateMachine):
    """One store from its first row on. `lab` and `case` are set by the class that is made for a test."""

    lab: ClassVar[Lab]
    case: ClassVar[Case]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.lab, self.case)
        self.late = True

    @initialize(number=numbers, stocked=st.booleans(), backup=st.booleans(), late=st.booleans())
    def begins(self, number: int, stocked: bool, backup: bool, late: bool) -> None:
        """With an empty store or with one that has a month of two symbols, all done; there may be a backup.

        `late`: whether the end comes when all buckets are closed, or at whatever time it is.
        """
        self.late = late
        if stocked:
            self.stock(random.Random(number))
        if backup:
            self.world.remember()

    def stock(self, draw: random.Random) -> None:
        """Days and messages of every session that has begun, refreshed and published."""
        bars, words = list[Row](), list[Row]()
        for session in (*self.world.month_before, *self.world.sessions.values()):
            for symbol in SYMBOLS[:2] if session["open"] < self.world.now else ():
                candle = (*(draw.randrange(900, 1100) / 8 for _ in range(4)), draw.randrange(500))
                bars.append(self.bar(symbol, "1d", session["open"], "daily", candle))
                said = (draw.randrange(-10, 11), draw.randrange(1, 11), None, None)
                words.append(self.message(symbol, session["open"] - timedelta(hours=1), 0, said))
        self.told("bars", bars, 0)
        self.told("sentiment", words, 0)
        self.world.does("run", lambda deps: steps.run(deps, [], self.world.now))

    def teardown(self) -> None:
        try:
            if not failing():
                self.world.settle(self.late)
        finally:
            self.world.end()

    @invariant()
    def never_backwards(self) -> None:
        self.world.look()

    # ---- raw rows

    @rule(
        symbol=symbols, kind=st.sampled_from(("feed", "feed", "tape", "loose")), day=days, drawn=tapes, at=crashes(28)
    )
    def trades(self, symbol: str, kind: str, day: int, drawn: list[Any], at: int) -> None:
        """All that a feed has of a day, more, fewer or others than before; or some of one that promises nothing."""
        rows = [self.trade(symbol, kind, self.day(day), *each) for each in drawn]
        self.told("ticks", rows, at, mode="upsert" if kind == "loose" else "replace")

    @precondition(lambda self: self.world.model.coverage)
    @rule(number=numbers, how=st.sampled_from(("fewer", "reordered", "the same")), at=crashes(28))
    def that_day_once_more(self, number: int, how: str, at: int) -> None:
        """A day that was covered before, with some of its trades, or in another order."""
        covered = sorted(key for key in self.world.model.coverage if key[1] == "ticks")
        symbol, _, source, start = covered[number % len(covered)]
        end = self.world.model.coverage[symbol, "ticks", source, start]
        rows = [
            r for r in self.world.model.of("ticks", symbol) if r["source"] == source and start <= r["timestamp"] < end
        ]
        if how == "fewer":
            rows = rows[: number % max(len(rows), 1) + 1]
        elif how == "reordered":
            rows = [{**row, "sequence": len(rows) - n} for n, row in enumerate(rows)]
        if rows:
            self.told("ticks", rows, at, mode="replace")

    @rule(
        symbol=symbols,
        kind=st.sampled_from((("1m", "vendor"), ("1m", "vendor"), ("1m", "other"), ("1h", "hourly"))),
        day=days,
        drawn=st.lists(st.tuples(slots, candles), min_size=1, max_size=4),
        at=crashes(28),
    )
    def bars(self, symbol: str, kind: tuple[str, str], day: int, drawn: list[Any], at: int) -> None:
        """Hours are stamped on the clock: the first says 09:00 and opens at 09:30."""
        granularity, source = kind
        whole = {"second": 0, "microsecond": 0} | ({"minute": 0} if granularity == "1h" else {})
        starts = [self.moment(self.day(day), slot).replace(**whole) for slot, _ in drawn]
        rows = [self.bar(symbol, granularity, start, source, c) for start, (_, c) in zip(starts, drawn, strict=True)]
        self.told("bars", rows, at)

    @rule(
        symbol=symbols,
        source=st.sampled_from(("adjusted", "adjusted", "archive", "daily")),
        drawn=st.dictionaries(st.integers(0, 8), candles, min_size=1, max_size=6),
        at=crashes(28),
    )
    def whole_days(self, symbol: str, source: str, drawn: dict[int, Any], at: int) -> None:
        """Vendors' days; the first two bring prices adjusted for splits."""
        sessions = self.world.sessions
        opened = [(self.day(n), candle) for n, candle in drawn.items()]
        opened = [(sessions[day]["open"], candle) for day, candle in opened if day in sessions]
        rows = [self.bar(symbol, "1d", start, source, c) for start, c in opened if start <= self.world.now]
        if rows:
            self.told("bars", rows, at)

    @rule(symbol=symbols, drawn=st.lists(st.tuples(days, slots, messages), min_size=1, max_size=6), at=crashes(28))
    def mentions(self, symbol: str, drawn: list[Any], at: int) -> None:
        rows = []
        for n, (day, slot, said) in enumerate(drawn):
            rows.append(self.message(self.named(symbol), self.moment(self.day(day), slot), n, said))
        self.told("sentiment", rows, at)

    @rule(
        symbol=symbols,
        day=st.integers(0, 10),
        action=st.sampled_from((("split", 2.0), ("split", 4.0), ("split", 0.5), ("dividend", 0.25))),
        at=crashes(28),
    )
    def action(self, symbol: str, day: int, action: tuple[str, float], at: int) -> None:
        """Announced, or told otherwise, for one of the days, past or to come."""
        ex_date = self.case.days[day % len(self.case.days)]
        key = {"symbol": self.named(symbol), "ex_date": ex_date, "action": action[0], "source": "news", "ordinal": 0}
        self.told("actions", [{**key, "value": action[1], "price_basis": "raw"}], at)

    @precondition(lambda self: self.rows())
    @rule(number=numbers, price=prices, at=crashes(28))
    def correction(self, number: int, price: float, at: int) -> None:
        """The same key, another value."""
        dataset, row = self.rows()[number % len(self.rows())]
        told: dict[Dataset, Row] = {
            "ticks": {"price": price},
            "bars": {"high": max(row.get("high", 0), price), "close": price, "low": min(row.get("low", price), price)},
            "sentiment": {"sentiment_score": (number % 21 - 10) / 10},
            "actions": {"value": price / 50},
        }
        self.told(dataset, [row | told[dataset]], at)

    @precondition(lambda self: self.rows())
    @rule(number=numbers)
    def nothing_new(self, number: int) -> None:
        """Rows that are there already."""
        dataset, row = self.rows()[number % len(self.rows())]
        self.world.again(self.ready(dataset, self.world.model.of(dataset, row["symbol"])))

    @precondition(lambda self: self.rows())
    @rule(number=numbers, stretch=st.sampled_from(("day", "hours", "all")), of_source=st.booleans(), at=crashes(18))
    def removed(self, number: int, stretch: str, of_source: bool, at: int) -> None:
        """What `warmbars delete` takes out: a day, the hours before noon, or everything, of all sources or of one."""
        world = self.world
        dataset, row = self.rows()[number % len(self.rows())]
        removal = Removal(dataset, row["symbol"], source=row["source"] if of_source else None)
        if stretch != "all" and dataset == "actions":
            removal = replace(removal, since=row["ex_date"], until=row["ex_date"] + timedelta(days=1))
        elif stretch != "all":
            local = row["timestamp"].astimezone(world.zone).date()
            until = world.local(local, 720) if stretch == "hours" else world.local(local + timedelta(days=1), 0)
            removal = replace(removal, since=world.local(local, 0), until=until)
        world.delete(removal, at)

    @precondition(lambda self: self.world.model.symbols)
    @rule(number=numbers, new=st.sampled_from((*SYMBOLS, "D", "E")), at=crashes(60))
    def renamed(self, number: int, new: str, at: int) -> None:
        old = self.known(number)
        if old != new:
            self.world.rename(old, new, at)

    @precondition(lambda self: self.world.model.symbols)
    @rule(number=numbers, day=st.integers(0, 10), open_end=st.booleans(), at=crashes(14))
    def delisted(self, number: int, day: int, open_end: bool, at: int) -> None:
        """Traded until one of the days, or for as long as anybody knows."""
        last = None if open_end else self.case.days[day % len(self.case.days)]
        self.world.list_(self.known(number), None, last, at)

    @rule(variant=st.integers(0, 7), at=crashes(20))
    def other_settings(self, variant: int, at: int) -> None:
        self.world.resettled(variant, at)

    # ---- time and work

    @rule(minutes=st.sampled_from((2, 7, 30, 90, 240, 600, 1200)))
    def time_passes(self, minutes: int) -> None:
        world = self.world
        world.now = min(world.now + timedelta(minutes=minutes), world.local(self.case.days[-1], 1439))

    @rule(at=crashes(100))
    def refresh(self, at: int) -> None:
        self.world.does("refresh", lambda deps: steps.refresh(deps, self.world.now), at)

    @rule(at=crashes(40), beside=besides)
    def publish(self, at: int, beside: str) -> None:
        with self.beside(beside):
            self.world.does("publish", lambda deps: steps.publish(deps, self.world.now), at)

    @rule(at=crashes(160), beside=besides)
    def whole_run(self, at: int, beside: str) -> None:
        """What a schedule does."""
        with self.beside(beside):
            self.world.does("run", lambda deps: steps.run(deps, [], self.world.now), at)

    @rule(at=crashes(160), minutes=st.sampled_from((30, 600)), beside=besides)
    def later_run(self, at: int, minutes: int, beside: str) -> None:
        self.time_passes(minutes)
        self.whole_run(at, beside)

    @precondition(lambda self: self.world.held)
    @rule()
    def that_publisher_wakes_up(self) -> None:
        """It sends what it had read, however old that is."""
        self.world.wake()

    @contextmanager
    def beside(self, what: str) -> Iterator[None]:
        """Before some work a backup was made, or a publisher has read what it is going to send.

        It falls asleep, or is only slow, and sends it after that work.
        """
        if what == "a backup":
            self.world.remember()
        elif what.endswith("publisher"):
            self.world.held = self.world.deps.loader.load_many(SYMBOLS)
        yield
        if what == "a slow publisher" and self.world.held:
            self.world.wake()

    @rule(at=crashes(20))
    def another_process(self, at: int) -> None:
        self.world.restart(at)

    @rule(symbol=symbols)
    def a_reader_comes(self, symbol: str) -> None:
        """It fills what it misses, by the same fence."""
        try:
            self.world.deps.reader().snapshot(symbol)
        except UnknownSymbol:
            assert (symbol,) not in self.world.lab.rows("publications", ["symbol"])

    # ---- mishaps

    @rule(what=st.sampled_from(("everything", "everything and its functions", "what came since")), at=crashes(30))
    def cache_loses(self, what: Any, at: int) -> None:
        """A sweep is what follows, as soon as somebody notices."""
        self.world.lose(what)
        self.world.does("sweep", steps.sweep, at)

    @precondition(lambda self: self.world.moment)
    @rule(how=st.sampled_from(("told", "other database")))
    def restored(self, how: Any) -> None:
        self.world.restore(how)

    # ---- rows from what was drawn

    def told(self, dataset: Dataset, rows: list[Row], at: int, mode: Any = "upsert") -> None:
        self.world.ingest(self.ready(dataset, rows, mode), at)

    def ready(self, dataset: Dataset, rows: list[Row], mode: Any = "upsert") -> Told:
        """Each key once, the last row of it."""
        unique = {key_of(dataset, row): row for row in rows}
        return Told(dataset, tuple(unique.values()), self.case.market, self.case.zone, mode)

    def rows(self) -> list[tuple[Dataset, Row]]:
        """Every raw row that there should be."""
        return [(dataset, row) for dataset in WIDTH for row in self.world.model.rows[dataset].values()]

    def known(self, number: int) -> str:
        """One of the symbols in use."""
        names = sorted({self.named(symbol) for symbol in self.world.model.symbols})
        return names[number % len(names)]

    def named(self, symbol: str) -> str:
        """What this symbol is called now."""
        return self.world.model.name_of(symbol)

    def day(self, back: int) -> date:
        past = self.world.past()
        return past[-1 - back % len(past)]

    def moment(self, day: date, slot: tuple[str, int]) -> datetime:
        """Around the open or the close of that local day, or of hours like that; not in the future."""
        side, seconds = slot
        session, world = self.world.sessions.get(day), self.world
        edge = session[side] if session else world.local(day, {"open": 570, "close": 960}[side])
        first, last = world.local(day, 0), world.local(day + timedelta(days=1), 0) - timedelta(seconds=1)
        return min(max(edge + timedelta(seconds=seconds), first), last, world.now)

    def trade(self, symbol: str, source: str, day: date, *drawn: Any) -> Row:
        slot, sequence, price, size, condition = drawn
        key = {
            "symbol": self.named(symbol),
            "timestamp": self.moment(day, slot),
            "source": source,
            "sequence": sequence,
        }
        return {**key, "price": price, "size": float(size), "condition": condition, "price_basis": "raw"}

    def bar(self, symbol: str, granularity: str, start: datetime, source: str, candle: Any) -> Row:
        first, *others, volume = candle
        values = {
            "open": first,
            "high": max(candle[:4]),
            "low": min(candle[:4]),
            "close": others[0],
            "volume": float(volume),
        }
        basis = "split" if source in ("adjusted", "archive") else "raw"
        key = {"symbol": self.named(symbol), "granularity": granularity, "timestamp": start, "source": source}
        return {**key, **values, "adjusted_close": None, "price_basis": basis}

    def message(self, symbol: str, moment: datetime, number: int, said: Any) -> Row:
        score, trust, retweet, double = said
        key = {"symbol": symbol, "timestamp": moment, "source": "words", "external_id": "", "ordinal": number}
        flags = {"is_retweet": retweet, "is_duplicate": double, "price_basis": "raw"}
        return {**key, "sentiment_score": score / 10, "confidence": trust / 10, **flags}

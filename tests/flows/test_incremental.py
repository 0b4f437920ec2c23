"""Whatever order rows come in and whenever a refresh happens: the same result as all at once (promise 3).

Two sets of symbols live in one store. The first is fed little by little, with rows that come late, are corrected or
taken back, and refreshed at random moments of a clock that only goes forward. The second is given the first one's
final raw rows at the end, and refreshed once.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows import steps
from flows.wiring import Deps, wire
from storage.cache.codec import decode
from storage.market.database import statement, table_name
from storage.market.raw import Rows, Written
from storage.market.tables import fills, rollups
from storage.settings import Settings
from transforms.schema import RAW_SCHEMAS, Dataset

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SEEDS = range(int(os.environ.get("WARMBARS_TEST_SEEDS", "1")))
KINDS = ("ticks", "minutes", "days", "mixed", "mentions")
INDICATORS = ("sma_3", "ema_3", "rsi_3", "macd_2_4_2", "bollinger_3_2", "atr_3", "vwap", "obv")
EXACT = ("bars_1m", *(t.name for t in (*rollups.values(), *fills.values())))
CLOSE = ("quotes", "adjustment_factors", "correlations", "rolling_correlations", "sentiment_1h", "sentiment_1d")
KEYS = ("timestamp", "from_date", "x", "method", "window_sessions", "lag", "session")
STEPS = 20


@dataclass(frozen=True)
class Case:
    """A market and settings, and the dates that rows fall on."""

    market: str
    zone: str
    days: tuple[date, ...]
    update: dict[str, Any] = field(default_factory=dict)


def _week(first: date, count: int) -> tuple[date, ...]:
    return tuple(first + timedelta(days=n) for n in range(count))


THANKSGIVING = _week(date(2024, 11, 26), 8)  # a holiday, a half day and a weekend
EARLY = {"sentiment_cutoff_offset": timedelta(minutes=-15), "sentiment_retweets": "drop"}
MIDNIGHT = {"sentiment_cutoff": "midnight", "sentiment_duplicates": "drop"}
CASES = {
    "regular": Case("XNYS", "America/New_York", THANKSGIVING),
    "all hours": Case(
        "XNYS", "America/New_York", THANKSGIVING, {"trading_hours": "all", "refresh_batch_rows": 4, **EARLY}
    ),
    "few intervals": Case("XNYS", "America/New_York", THANKSGIVING, {"intervals": ("1m", "1h")}),
    "Sydney": Case("XASX", "Australia/Sydney", _week(date(2024, 11, 26), 7), {"refresh_batch_symbols": 1, **MIDNIGHT}),
    "always": Case("24/7", "UTC", _week(date(2024, 11, 29), 5), {"align": "clock", "intervals": ("1m", "15m", "1d")}),
}

Row = dict[str, Any]
Key = tuple[Any, ...]


class World:
    """A clock, random rows up to it, and what the store should hold of them in the end."""

    def __init__(self, deps: Deps, case: Case, seed: int) -> None:
        """Start on the morning of the case's first day."""
        self.deps, self.case = deps, case
        self.draw = random.Random(f"{case.market} {seed}")
        self.zone = ZoneInfo(case.zone)
        self.now = self.local(case.days[0], 8 * 60)
        self.sessions = {
            row["session"]: row for row in deps.market(case.market, self.now).sessions.collect().iter_rows(named=True)
        }
        self.state: dict[tuple[Dataset, str], dict[Key, Row]] = {}
        self.replaced: set[tuple[str, str, date]] = set()

    def local(self, day: date, minute: float) -> datetime:
        start = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        return (start + timedelta(minutes=minute)).astimezone(UTC)

    def day(self) -> date:
        """One of the days there have been so far, the newest most often."""
        past = [d for d in self.case.days if self.local(d, 0) < self.now]
        return past[-1] if self.draw.random() < 0.5 else self.draw.choice(past)

    def moment(self, day: date) -> datetime:
        """A time of that local day that has been: mostly in regular hours, often next to the open or the close."""
        session, draw = self.sessions.get(day), self.draw
        at = self.local(day, draw.uniform(0, 1440))
        if session is not None and draw.random() < 0.85:
            opened, closed = session["open"], session["close"]
            edge = draw.choice([opened, closed, closed, opened + timedelta(minutes=draw.randrange(0, 200, 5))])
            at = edge + timedelta(seconds=draw.choice([-60, -1, 0, 0, 30, 100, 600]))
        at = max(self.local(day, 0), min(at, self.local(day + timedelta(days=1), 0) - timedelta(seconds=1)))
        return min(at, self.now)

    def pass_time(self) -> None:
        """A few minutes, some hours, or to the next morning."""
        minutes = self.draw.choice([2, 7, 30, 90, 240, 240, 600, 1200])
        self.now = min(self.now + timedelta(minutes=minutes), self.local(self.case.days[-1], 1439))

    def prices(self) -> Row:
        low, *inside, high = sorted(self.draw.randrange(900, 1100) / 8 for _ in range(4))
        volume = float(self.draw.randrange(500))
        return {"open": inside[0], "high": high, "low": low, "close": inside[1], "volume": volume}

    # ---- rows

    def trade_day(self, symbol: str) -> None:
        """Replace a symbol-day of one feed: more, fewer or other trades than before."""
        day, source = self.day(), self.draw.choice(["feed", "feed", "tape"])
        rows = [self.trade(symbol, source, self.moment(day), n) for n in range(self.draw.choice([1, 1, 3, 6]))]
        before = self.rows("ticks", symbol, source, day)
        if before and self.draw.random() < 0.4:
            rows = before if self.draw.random() < 0.5 else before[: self.draw.randrange(1, len(before) + 1)]
        rows = list({self.key("ticks", row): row for row in rows}.values())
        for row in before:
            del self.state["ticks", row["symbol"]][self.key("ticks", row)]
        self.replaced.add((symbol, source, day))
        self.keep("ticks", rows)
        sum(self.deps.raw.replace(self.ready("ticks", rows), self.case.zone), Written())

    def trades(self, symbol: str) -> None:
        """More trades of a feed that says nothing of its coverage."""
        day = self.day()
        self.upsert("ticks", [self.trade(symbol, "loose", self.moment(day), n) for n in range(2)])

    def trade(self, symbol: str, source: str, at: datetime, sequence: int) -> Row:
        conditions = [None, None, "0", "80", "1000000"]
        price, size, condition = self.draw.randrange(900, 1100) / 8, self.draw.randrange(9), None
        if self.draw.random() < 0.5:
            condition = self.draw.choice(conditions)
        key = {"symbol": symbol, "timestamp": at, "source": source, "sequence": sequence}
        return {**key, "price": price, "size": float(size), "condition": condition}

    def rows(self, dataset: Dataset, symbol: str, source: str, day: date) -> list[Row]:
        start, end = self.local(day, 0), self.local(day + timedelta(days=1), 0)
        stored = self.state.get((dataset, symbol), {}).values()
        return [row for row in stored if row["source"] == source and start <= row["timestamp"] < end]

    def minutes(self, symbol: str) -> None:
        day, source = self.day(), self.draw.choice(["vendor", "vendor", "other"])
        starts = {self.moment(day).replace(second=0, microsecond=0) for _ in range(4)}
        self.upsert("bars", [self.bar(symbol, "1m", at, source) for at in sorted(starts)])

    def hours(self, symbol: str) -> None:
        """Stamped on the clock, as vendors do: the first says 09:00 and opens at 09:30."""
        at = self.moment(self.day()).replace(minute=0, second=0, microsecond=0)
        self.upsert("bars", [self.bar(symbol, "1h", at, "hourly")])

    def days(self, symbol: str) -> None:
        past = [d for d in self.case.days if d in self.sessions and self.sessions[d]["open"] <= self.now]
        some = self.draw.sample(past, min(len(past), 2))
        source = self.draw.choice(["adjusted", "adjusted", "archive", "daily"])
        self.upsert("bars", [self.bar(symbol, "1d", self.sessions[d]["open"], source) for d in some])

    def bar(self, symbol: str, granularity: str, at: datetime, source: str) -> Row:
        basis = "split" if source in ("adjusted", "archive") else "raw"
        key = {"symbol": symbol, "granularity": granularity, "timestamp": at, "source": source}
        return {**key, **self.prices(), "adjusted_close": None, "basis": basis}

    def mention(self, symbol: str) -> None:
        day = self.day()
        self.upsert("sentiment", [self.message(symbol, self.moment(day), n) for n in range(self.draw.choice([1, 3]))])

    def message(self, symbol: str, at: datetime, number: int) -> Row:
        score, confidence = self.draw.randrange(-10, 11) / 10, self.draw.randrange(11) / 10
        key = {"symbol": symbol, "timestamp": at, "source": "words", "external_id": "", "ordinal": number}
        flags = {flag: self.draw.choice([None, False, True]) for flag in ("is_retweet", "is_duplicate")}
        return {**key, "sentiment_score": score, "confidence": confidence, **flags}

    def split(self, symbol: str) -> None:
        """Announced for one of the days, past or to come."""
        ex_date, value = self.draw.choice(self.case.days), self.draw.choice([2.0, 4.0, 0.5])
        key = {"symbol": symbol, "ex_date": ex_date, "action": "split", "source": "news", "ordinal": 0}
        self.upsert("actions", [{**key, "value": value}])

    def upsert(self, dataset: Dataset, rows: list[Row]) -> None:
        rows = list({self.key(dataset, row): row for row in rows}.values())
        self.keep(dataset, rows)
        self.write(dataset, rows)

    def write(self, dataset: Dataset, rows: list[Row]) -> None:
        for basis in ("raw", "split"):
            some = [row for row in rows if row.get("basis", "raw") == basis]
            self.deps.raw.upsert(self.ready(dataset, some, basis))

    def ready(self, dataset: Dataset, rows: list[Row], basis: str = "raw") -> Rows:
        schema = RAW_SCHEMAS[dataset]
        frame = pl.DataFrame([{c: row[c] for c in schema} for row in rows], schema=schema, orient="row")
        return Rows(dataset, frame.sort(frame.columns[:4]), basis, self.case.market, 1)

    def keep(self, dataset: Dataset, rows: list[Row]) -> None:
        for row in rows:
            self.state.setdefault((dataset, row["symbol"]), {})[self.key(dataset, row)] = row

    def key(self, dataset: Dataset, row: Row) -> Key:
        width = {"ticks": 4, "bars": 4, "sentiment": 5, "actions": 5}[dataset]
        return tuple(row[c] for c in list(RAW_SCHEMAS[dataset])[:width])

    # ---- the story

    def happen(self, symbols: dict[str, str]) -> None:
        """One random thing."""
        kind = self.draw.choice(KINDS)
        symbol = symbols[kind]
        every = {
            "ticks": [self.trade_day, self.trade_day, self.trades],
            "minutes": [self.minutes, self.hours, self.minutes],
            "days": [self.days, self.days, self.days, self.split],
            "mixed": [self.trade_day, self.trades, self.minutes, self.hours, self.days, self.split, self.mention],
            "mentions": [self.mention, self.mention, self.split],
        }
        self.draw.choice(every[kind])(symbol)

    def refresh(self) -> None:
        report = steps.refresh(self.deps, self.now)
        assert not report.busy

    def copy(self, names: dict[str, str]) -> None:
        """Give other symbols the raw rows these have now."""
        for (dataset, symbol), stored in self.state.items():
            rows = [{**row, "symbol": names[symbol]} for row in stored.values()]
            if dataset != "ticks":
                self.write(dataset, rows)
                continue
            self.write(dataset, [row for row in rows if row["source"] == "loose"])
            for theirs, source, day in sorted(self.replaced):
                if theirs == symbol:
                    part = [{**row, "symbol": names[symbol]} for row in self.rows("ticks", symbol, source, day)]
                    sum(self.deps.raw.replace(self.ready("ticks", part), self.case.zone), Written())


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def fed(settings: Settings, case: Case) -> Iterator[Deps]:
    update = {"indicators": INDICATORS, "correlation_min_n": 3, "correlation_lags": (-1, 0, 1), "sentiment_baseline": 2}
    update |= {"correlation_windows": (3, 4), "rolling_lags": (-1, 0, 1)} | case.update
    with wire(settings.model_copy(update=update)) as deps:
        yield deps


@pytest.mark.parametrize("seed", SEEDS)
def test_little_by_little_is_all_at_once(fed: Deps, case: Case, seed: int) -> None:
    world = World(fed, case, seed)
    symbols = {kind: f"{kind}.{seed}" for kind in KINDS}
    for _ in range(STEPS):
        world.happen(symbols)
        if world.draw.random() < 0.4:
            world.pass_time()
        if world.draw.random() < 0.35:
            world.refresh()
    names = {symbol: f"{symbol}.whole" for symbol in symbols.values()}
    world.copy(names)
    world.now = world.local(case.days[-1], 1440 * 5)
    world.refresh()
    steps.publish(fed, world.now)
    assert fed.derived.pending() == (0, None)
    for symbol, whole in names.items():
        for table in (*EXACT, *CLOSE, *(f"indicators_{i}" for i in rollups)):
            assert_same(stored(fed, table, symbol), stored(fed, table, whole), f"{table} of {symbol}", table in EXACT)
        assert_same_keys(fed, symbol, whole)


def stored(deps: Deps, table: str, symbol: str) -> pl.DataFrame:
    query = statement("SELECT * FROM {table} WHERE symbol = {symbol}", table=table_name(table), symbol=symbol)
    frame = deps.database.frame(query).drop("symbol", "run_id")
    return frame.sort([c for c in KEYS if c in frame.columns])


def assert_same(found: pl.DataFrame, expected: pl.DataFrame, what: str, exact: bool) -> None:
    tolerance = {"check_exact": True} if exact else {"rel_tol": 1e-9, "abs_tol": 1e-6}
    try:
        assert_frame_equal(found, expected, **tolerance)
    except AssertionError as exc:
        exc.add_note(f"{what}\nlittle by little: {found}\nall at once: {expected}")
        raise


def assert_same_keys(deps: Deps, symbol: str, whole: str) -> None:
    found, expected = bodies(deps, symbol), bodies(deps, whole)
    assert found.keys() == expected.keys(), symbol
    for name, body in found.items():
        assert_same(decode(body), decode(expected[name]), f"{name} of {symbol}", exact=False)


def bodies(deps: Deps, symbol: str) -> dict[str, Any]:
    """What the cache holds under every key of a symbol but its head, as bytes."""
    prefix = f"wb:1:{deps.settings.namespace}:{{{symbol}}}:"
    names = [key.decode().removeprefix(prefix) for key in deps.client.scan_iter(match=f"{prefix}*")]
    return {n: deps.client.hgetall(prefix + n)[b"body"] for n in names if n != "head"}

"""Everybody who locks anything, at once and in opposite orders, for a few hundred rounds: no deadlock."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import sql

from flows import steps
from flows.wiring import Deps, wire
from storage.embedded import Servers
from storage.market.database import Database
from storage.market.instruments import InstrumentStore
from storage.market.raw import Rows
from storage.market.removal import Removal, RemovalStore
from storage.market.retention import RetentionStore
from storage.market.schema import add_indicator_columns, ensure_identity
from storage.settings import Settings
from tests.flows.test_refresh import EVENING, OPEN
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.errors import TransientError
from transforms.schema import SENTIMENT, UTC_US

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SYMBOLS = tuple(f"S{number}" for number in range(6))
BEFORE_ALL = datetime(1999, 1, 1, tzinfo=OPEN.tzinfo)


class Crowd:
    """Threads that each do something again and again, as often as they are told."""

    def __init__(self, rounds: int) -> None:
        self.errors: list[str] = []
        self._rounds = rounds
        self._threads: list[threading.Thread] = []

    def add(self, name: str, work: Callable[[int, random.Random], object], share: int = 1) -> None:
        """Do `work` in every `share`th round."""
        thread = threading.Thread(target=self._repeat, args=(name, work, share), name=name, daemon=True)
        self._threads.append(thread)

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(600)
            assert not thread.is_alive(), f"{thread.name} hangs"
        assert self.errors == []

    def _repeat(self, name: str, work: Callable[[int, random.Random], object], share: int) -> None:
        draw = random.Random(name)
        for number in range(0, self._rounds, share):
            try:
                work(number, draw)
            except Exception as exc:  # noqa: BLE001 - told in the thread that waits
                self.errors.append(f"{name} in round {number}: {type(exc).__name__}: {exc}")
                return


@pytest.fixture
def busy(settings: Settings) -> Iterator[Deps]:
    """Room for a crowd, and little to compute."""
    more = {"pool_max": 24, "intervals": ("1m",), "correlation_windows": (), "rolling_lags": ()}
    with wire(settings.model_copy(update=more)) as deps:
        yield deps


def names(number: int, draw: random.Random) -> list[str]:
    """Symbols that are new every ten rounds, in any order."""
    return draw.sample([f"{symbol}.{number // 10}" for symbol in SYMBOLS], len(SYMBOLS))


def messages(symbols: list[str]) -> Rows:
    frame = pl.DataFrame({"symbol": symbols}).with_columns(
        timestamp=pl.lit(OPEN, dtype=UTC_US),
        source=pl.lit("test"),
        external_id=pl.lit("1"),
        ordinal=pl.lit(0),
        sentiment_score=pl.lit(0.5),
        confidence=pl.lit(0.5),
        is_retweet=pl.lit(value=False),
        is_duplicate=pl.lit(value=False),
    )
    return Rows("sentiment", frame.select(SENTIMENT.names()).cast(dict(SENTIMENT)), "raw", "XNYS", 1)


def refused(draw: random.Random) -> pl.DataFrame:
    """The same bad rows of a file, in any order."""
    return pl.DataFrame(
        [("digest", line, "rule", "ticks", "a file", "AAA", "{}") for line in draw.sample(range(40), 40)],
        schema=["digest", "line", "rule", "dataset", "origin", "symbol", "row"],
        orient="row",
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rounds", [120, pytest.param(5000, marks=pytest.mark.soak)])
def test_no_deadlock_whoever_does_what_at_once(busy: Deps, settings: Settings, empty: Servers, rounds: int) -> None:
    """Ingests of the same symbols, new and known, refreshes, publishes, renames, deletions, retention and starts."""
    crowd, found = Crowd(rounds), deadlocks(empty)
    instruments, removal, retention = (
        store(busy.database) for store in (InstrumentStore, RemovalStore, RetentionStore)
    )

    def trades(number: int, draw: random.Random) -> None:
        frames = [ticks(3, symbol=symbol, price=10.0 + number % 7) for symbol in names(number, draw)]
        busy.raw.upsert(tick_rows(pl.concat(frames)))

    def bars(number: int, draw: random.Random) -> None:
        frames = [minutes(2, symbol=symbol, price=10.0 + number % 5) for symbol in names(number, draw)]
        busy.raw.upsert(bar_rows(pl.concat(frames)))

    def rename(number: int, draw: random.Random) -> None:
        symbol = draw.choice(names(number, draw))
        with turned_away():  # it is being refreshed
            if instruments.get(symbol) is not None:
                instruments.rename(symbol, f"{symbol}.N", EVENING, 1)
                instruments.reopen(symbol)

    def expire(number: int, draw: random.Random) -> None:
        with turned_away():  # somebody has been writing for seconds
            retention.advance(draw.choice(["ticks", "bars", "sentiment"]), BEFORE_ALL + timedelta(days=number))

    def start(_: int, __: random.Random) -> None:
        with psycopg.connect(empty.owner_url) as connection:
            connection.execute("UPDATE warmbars.store_meta SET database_identity = 'another'")
        ensure_identity(busy.database)  # it takes every publication to a later epoch

    for feed in ("a", "b"):
        crowd.add(f"trades {feed}", trades)
        crowd.add(f"bars {feed}", bars)
        crowd.add(f"rejects {feed}", lambda _, draw: busy.raw.reject(refused(draw), 1, 100), share=4)
    crowd.add("messages", lambda number, draw: busy.raw.upsert(messages(names(number, draw))))
    crowd.add("deletion", lambda number, draw: removal.delete(Removal("ticks", names(number, draw)[0]), 1))
    crowd.add("rename", rename, share=4)
    crowd.add("retention", expire, share=4)
    crowd.add("start", start, share=4)
    for number in (1, 2):
        crowd.add(f"refresh {number}", lambda *_: refresh(busy), share=20)
        crowd.add(f"versions {number}", lambda number, draw: versions(busy, names(number, draw)))
    crowd.add("publish", lambda *_: steps.publish(busy, EVENING), share=20)
    crowd.add("columns", lambda number, _: columns(empty, settings, number), share=20)
    crowd.run()
    assert deadlocks(empty) == found
    steps.refresh(busy, EVENING)
    assert busy.derived.pending()[0] == 0


@contextmanager
def turned_away() -> Iterator[None]:
    """To be told to try again is no error; a deadlock is."""
    try:
        yield
    except TransientError as exc:
        if "deadlock" in str(exc):
            raise


def refresh(deps: Deps) -> None:
    with turned_away():  # raw rows expired while they were read
        steps.refresh(deps, EVENING)


def versions(deps: Deps, symbols: list[str]) -> None:
    """Hold the rows of some publications for a moment, as a refresh of many symbols does."""
    with deps.derived.claim(symbols, EVENING, 0, 1) as claim:
        claim.publish(sorted(claim.locked, reverse=True), EVENING)


def columns(servers: Servers, settings: Settings, number: int) -> None:
    """A start with an indicator that is new, while others read and write the same tables."""
    with Database(servers.owner_url, settings) as owner:
        add_indicator_columns(owner, [f"test_{number // 20 % 5}"])


def deadlocks(servers: Servers) -> int:
    """How many deadlocks the server ever found."""
    with psycopg.connect(servers.owner_url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        query: sql.Composable = sql.SQL("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        row: Any = connection.execute(query).fetchone()
    return int(row[0])

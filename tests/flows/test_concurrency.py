"""Refreshers, publishers and an ingest against each other, in hundreds of orders of their statements."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import polars as pl
import psycopg
import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.embedded import Servers
from storage.market.derived import Claim, DerivedStore
from storage.market.tables import metadata
from storage.settings import Settings
from tests.acceptance.projection import Content, differing, projection
from tests.flows.interleaving import Drawn, HeldUp, Order, Scheduler, boundaries
from tests.flows.test_refresh import EVENING, OPEN, replace
from tests.flows.watch import Watch
from tests.storage.market.rows import bar_rows, minutes, ticks

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
ACTORS: Final = ("one", "two", "feed", "vendor")
KEPT: Final = {"markets", "sessions", "store_meta"}


@dataclass
class Claims:
    """Which windows were consumed by claims that committed."""

    consumed: list[int] = field(default_factory=list)

    @contextmanager
    def claimed(self, original: Callable[..., Any], *args: Any, **named: Any) -> Iterator[Claim]:
        with original(*args, **named) as claim:
            yield claim
        self.consumed += claim.windows["id"].to_list()


@dataclass
class Found:
    """What the orders brought about, so that a test which meets nothing is not taken for one that passes."""

    orders: int = 0
    statements: int = 0
    waits: int = 0
    busy: int = 0
    refused: int = 0
    landed: int = 0


@pytest.fixture
def crew(settings: Settings) -> Iterator[dict[str, Deps]]:
    """As many connected programs, each known to the server by its name; little is computed, so that much is tried."""
    small = {
        "intervals": ("1m",),
        "correlation_windows": (),
        "rolling_lags": (),
        "refresh_batch_symbols": 1,
        "idle_timeout_seconds": 600,
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(wire(settings.model_copy(update={**small, "application_name": name})))
            for name in ACTORS
        }


@pytest.fixture
def owner(servers: Servers) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(servers.owner_url, autocommit=True) as connection:
        yield connection


def clear(deps: Deps, owner: psycopg.Connection[Any]) -> None:
    """An empty store, quicker than by TRUNCATE."""
    with owner.transaction():
        for table in metadata.sorted_tables:
            if table.name not in KEPT:
                owner.execute(f"DELETE FROM {table.schema}.{table.name}")
    for key in list(deps.client.scan_iter(match=f"{deps.keys.prefix}{{*")):
        deps.client.delete(key)


def first(deps: Deps) -> None:
    replace(deps, ticks(70))


def correct(deps: Deps) -> None:
    """Rows change, go and come, in three transactions."""
    replace(deps, ticks(80, price=20.0))
    replace(deps, ticks(40))
    replace(deps, ticks(75, price=30.0))


def more(deps: Deps) -> None:
    """Trades of a symbol that a vendor's bars may have brought already, or bring at this moment; then corrections."""
    replace(deps, ticks(70, symbol="BBB"))
    correct(deps)


def sell(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(pl.concat([minutes(3, symbol="BBB", start=OPEN), minutes(3, start=OPEN)])))


def refresher(deps: Deps) -> tuple[steps.Refreshed, steps.Published]:
    return steps.refresh(deps, EVENING), steps.publish(deps, EVENING)


def sweeping(deps: Deps) -> tuple[steps.Refreshed, steps.Published]:
    done = refresher(deps)
    steps.sweep(deps)
    return done


def calm(deps: Deps) -> None:
    steps.refresh(deps, EVENING)
    steps.publish(deps, EVENING)


def expected(deps: Deps, owner: psycopg.Connection[Any], *changes: Callable[[Deps], None]) -> Content:
    """The content when everything happens in turn."""
    clear(deps, owner)
    for change in (first, *changes):
        change(deps)
    calm(deps)
    return projection(deps)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.soak)])
def test_a_refresher_held_up_before_any_of_its_statements_loses_doubles_and_puts_back_nothing(
    crew: dict[str, Deps], owner: psycopg.Connection[Any], step: int
) -> None:
    """All others go to their end meanwhile: corrections land, and somebody else refreshes and publishes them."""
    content, found, number, reached = expected(crew["one"], owner, correct), Found(), 0, True
    while reached:
        order = HeldUp("one", number)
        work = {"one": refresher, "feed": correct, "two": sweeping}
        in_order(crew, owner, order, work, found)
        assert differing(projection(crew["one"]), content) == [], f"held up before statement {number}"
        number, reached = number + step, order.reached
    print(f"held up before {found.orders} of {number} statements: {found}")
    assert min(found.busy, found.refused, found.landed) > 0, found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("orders", [15, pytest.param(2500, marks=pytest.mark.soak)])
def test_in_any_order_of_statements_nothing_is_lost_doubled_or_put_back(
    crew: dict[str, Deps], owner: psycopg.Connection[Any], orders: int
) -> None:
    seed = random.SystemRandom().randrange(10**6) if orders > 100 else 0
    print(f"seeds {seed} to {seed + orders - 1}")
    content, found = expected(crew["one"], owner, more, sell), Found()
    for number in range(seed, seed + orders):
        work = {"one": refresher, "two": sweeping, "feed": more, "vendor": sell}
        in_order(crew, owner, Drawn(number), work, found)
        assert differing(projection(crew["one"]), content) == [], f"seed {number}"
    print(found)
    assert min(found.waits, found.busy, found.landed) > 0, found


def in_order(
    crew: dict[str, Deps],
    owner: psycopg.Connection[Any],
    order: Order,
    work: dict[str, Callable[[Deps], Any]],
    found: Found,
) -> None:
    """One order from an empty store to where nothing is left to do."""
    one, claims, original = crew["one"], Claims(), DerivedStore.claim
    clear(one, owner)
    before = drawn(owner)
    first(one)
    watch = Watch(one)
    scheduler = Scheduler(order, owner, watch.look)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DerivedStore, "claim", lambda *args, **named: claims.claimed(original, *args, **named))
        with boundaries():
            done = scheduler.run(**{name: partial(task, crew[name]) for name, task in work.items()})
        calm(one)
    watch.look()
    assert sorted(claims.consumed) == list(range(before + 1, drawn(owner) + 1)), "each window once"
    reports = [done[name] for name in ("one", "two")]
    found.orders += 1
    found.statements += len(scheduler.trace)
    found.waits += scheduler.waits
    found.busy += sum(bool(refreshed.busy) for refreshed, _ in reports)
    found.refused += sum(published.refused for _, published in reports)
    found.landed += landed(scheduler.trace)


def drawn(owner: psycopg.Connection[Any]) -> int:
    """The newest id of a dirty window ever drawn."""
    row = owner.execute(
        "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('warmbars.dirty_windows', 'id')::regclass), 0)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def landed(trace: list[str]) -> int:
    """Commits of the feed between somebody's claim and the commit of that claim."""
    held: set[str] = set()
    count = 0
    for line in trace:
        name, _, what = line.partition(": ")
        if "pg_try_advisory_xact_lock" in what:
            held.add(name)
        elif name == "feed" and what.startswith("commit"):
            count += bool(held)
        elif what.startswith("commit"):
            held.discard(name)
    return count

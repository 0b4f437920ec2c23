"""Processes killed at any moment leave a state from which those that are left, or the next ones, finish."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.embedded import Servers
from storage.settings import Settings
from tests.acceptance.projection import Content, differing, projection
from tests.acceptance.workers import Worker, ingester, refresher, sources
from tests.conftest import truncate
from tests.flows.watch import Watch

pytestmark = [pytest.mark.data, pytest.mark.postgres, pytest.mark.redis]
STEPS: Final = {b"i": "ingest", b"r": "refresh", b"p": "publish"}
REFRESHERS: Final = 3


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("parts")
    few = pl.col("symbol").is_in(["IBM", "AAPL", "BAC", "FB"])
    ticks = pl.scan_parquet(shared / "data" / "ticks.parquet").filter(pl.col("symbol") == "IBM")
    ticks.sink_parquet(place / "ticks.parquet")
    for name, file in {"daily": "daily", "sentiment": "sentiment", "actions": "corporate_actions"}.items():
        pl.scan_parquet(shared / "data" / f"{file}.parquet").filter(few).sink_parquet(place / f"{name}.parquet")
    return place


@pytest.fixture
def small(settings: Settings) -> Settings:
    """Many transactions rather than few."""
    return settings.model_copy(update={"refresh_batch_rows": 20_000, "refresh_batch_symbols": 2})


@pytest.fixture
def store(small: Settings) -> Iterator[Deps]:
    with wire(small) as deps:
        yield deps


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_at_any_moment_the_content_is_that_of_an_undisturbed_run(
    empty: Servers, store: Deps, small: Settings, data: Path, kills: int
) -> None:
    """An ingest and three refreshers at once, in a store that was empty; one or several are killed and replaced."""
    expected, lengths = undisturbed(store, data)
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    hit: Counter[str] = Counter()
    print(f"seed {seed}; an undisturbed run takes {lengths}")
    for number in range(kills):
        clear(empty, store)
        wanted = list(STEPS)[number % len(STEPS)]
        after = draw.uniform(0, lengths[STEPS[wanted]])
        struck = strike(store, small, data, wanted, after, draw)
        lost = [run["kind"] for run in store.runs.last(1000) if run["state"] == "lost"]
        hit.update(lost)
        print(f"{number}: {after:.3f} s into {STEPS[wanted]}, killed {struck}, lost {sorted(lost)}")
        assert differing(projection(store), expected) == [], f"kill {number} of seed {seed}"
    print(f"hit {dict(hit)}")
    assert hit.total() >= kills // 2
    assert kills < 50 or set(hit) == set(STEPS.values())


def undisturbed(store: Deps, data: Path) -> tuple[Content, dict[str, float]]:
    """The content after a calm run, and the seconds of its steps."""
    ingested = steps.ingest(store, sources(store, data), datetime.now(UTC))
    refreshed = steps.refresh(store, datetime.now(UTC))
    published = steps.publish(store, datetime.now(UTC))
    lengths = {"ingest": ingested.seconds, "refresh": refreshed.seconds / 4, "publish": published.seconds / 2}
    return projection(store), lengths


def clear(servers: Servers, store: Deps) -> None:
    truncate(servers, "store_meta")
    for key in list(store.client.scan_iter(match=f"{store.keys.prefix}{{*")):
        store.client.delete(key)


def strike(store: Deps, settings: Settings, data: Path, wanted: bytes, after: float, draw: random.Random) -> list[str]:
    """Start all, kill one that is at the wanted step and perhaps others, replace them; what the killed were doing."""
    watch = Watch(store)
    feed = Worker(ingester, settings, data)
    crew = [Worker(refresher, settings) for _ in range(REFRESHERS)]
    try:
        until(lambda: any(w.doing == wanted for w in (feed, *crew)) or feed.process.exitcode is not None, watch, 0.005)
        time.sleep(after)
        alive = [worker for worker in (feed, *crew) if worker.process.exitcode is None]
        first = next((worker for worker in alive if worker.doing == wanted), draw.choice(alive))
        victims = {first, *draw.sample(alive, draw.randrange(len(alive)))}
        struck = [STEPS.get(worker.doing, "nothing") for worker in victims]
        for worker in victims:
            worker.process.kill()
        if feed in victims or feed.process.exitcode != 0:
            feed.kill()
            feed = Worker(ingester, settings, data)
        crew = [worker for worker in crew if worker not in victims]
        crew += [Worker(refresher, settings) for _ in range(REFRESHERS - len(crew))]
        until(lambda: feed.process.exitcode is not None, watch)
        until(lambda: not store.derived.pending()[0] and not store.outbox.pending(), watch)
        for worker in crew:
            worker.ask_to_end()
        assert all(worker.ended_well() for worker in (feed, *crew)), "an error in one that was not killed"
    finally:
        for worker in (feed, *crew):
            worker.kill()
    return sorted(struck)


def until(condition: object, watch: Watch, pause: float = 0.05) -> None:
    deadline = time.monotonic() + 600
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        watch.look()
        time.sleep(pause)

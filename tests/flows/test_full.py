"""The full path: what a history of little refreshes leaves is what it makes of the raw rows at once."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from flows import steps
from flows.verify import Asked, verify
from flows.wiring import Deps, wire
from storage.settings import Settings
from tests.flows.test_incremental import CASES, INDICATORS, KINDS, Case, World

SEEDS = range(8, 8 + int(os.environ.get("WARMBARS_TEST_SEEDS", "1")))
SETTINGS: dict[str, Any] = {
    "indicators": INDICATORS,
    "correlation_min_n": 3,
    "correlation_lags": (-1, 0, 1),
    "sentiment_baseline": 2,
    "correlation_windows": (3, 4),
    "rolling_lags": (-1, 0, 1),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def fed(settings: Settings, case: Case) -> Iterator[Deps]:
    with wire(settings.model_copy(update=SETTINGS | case.update)) as deps:
        yield deps


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_of_refreshes_leaves_what_the_full_path_makes(fed: Deps, case: Case, seed: int) -> None:
    world = World(fed, case, seed)
    symbols = {kind: f"{kind}.{seed}" for kind in KINDS}
    looked = 0
    for step in range(10):
        for _ in range(6):
            world.happen(symbols)
        for _ in range(3):
            world.pass_time()
        if step % 2 or world.draw.random() < 0.5:
            world.refresh()
        if step == 5:
            world.happen(symbols)
            steps.publish(fed, world.now)
            done = verify(fed, Asked(sql=True), world.now)
            assert done.equal, [t.difference for t in done.told]
            looked = len(done.symbols)
    world.refresh()
    steps.publish(fed, world.now)
    done = verify(fed, Asked(sql=True), world.now)
    assert done.equal, [t.difference for t in done.told]
    assert not done.pending
    assert not done.keys.pending
    assert {*done.symbols} == {symbol for _, symbol in world.state}
    assert sum(done.rows.values()) > 10 * len(fed.settings.intervals)
    assert looked

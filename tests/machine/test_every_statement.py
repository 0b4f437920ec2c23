"""A process that dies at each of its statements in turn, one after the other, none left out."""

from collections.abc import Callable
from typing import Any

import pytest

from flows import steps
from flows.wiring import Deps
from tests.machine.lab import Lab
from tests.machine.model import Told
from tests.machine.sequences import NEW_YORK, prepared
from tests.machine.test_mutations import minute, run
from tests.machine.world import World

pytestmark = [pytest.mark.postgres, pytest.mark.redis, pytest.mark.soak]


def ingests(world: World, at: int) -> bool:
    """A day of trades whose vendor's minutes count no longer."""
    open_ = world.sessions[NEW_YORK.days[-4]]["open"]
    key = {"symbol": "A", "timestamp": open_, "source": "feed"}
    rows = [{**key, "sequence": n, "price": 99.5, "size": 2.0} for n in range(2)]
    told = tuple(row | {"condition": None, "price_basis": "raw"} for row in rows)
    before = dict(world.lab.tally)
    world.ingest(Told("ticks", told, NEW_YORK.market, NEW_YORK.zone, "replace"), at)
    return before.get("ingest replace", 0) < world.lab.tally["ingest replace"]


def does(what: str, work: Callable[[World, Deps], Any]) -> Callable[[World, int], bool]:
    return lambda world, at: world.does(what, lambda deps: work(world, deps), at)


WORK: dict[str, Callable[[World, int], bool]] = {
    "ingest": ingests,
    "refresh": does("refresh", lambda world, deps: steps.refresh(deps, world.now)),
    "run": does("run", lambda world, deps: steps.run(deps, [], world.now)),
    "sweep": does("sweep", lambda _, deps: steps.sweep(deps)),
}


@pytest.mark.parametrize("work", WORK)
def test_a_process_may_die_at_any_statement(lab: Lab, work: str) -> None:
    prepared(lab, NEW_YORK)
    lived, at = False, 0
    while not lived:
        at += 1
        world = World(lab, NEW_YORK)
        try:
            _prepare(world, work)
            lived = WORK[work](world, at)
            world.look()
            world.settle(late=bool(at % 2))
        finally:
            world.end()
    assert at > 20


def _prepare(world: World, work: str) -> None:
    """Something is stored and published, and something else has changed since, or was lost."""
    world.ingest(minute(world, 100.0))
    run(world)
    world.ingest(minute(world, 101.0))
    if work == "sweep":
        run(world)
        world.lose("everything and its functions")

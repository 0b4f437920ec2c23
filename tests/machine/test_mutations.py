"""The machine can fail: each of these errors, put in on purpose, is found by a sequence that is right without it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from flows import recompute, steps
from storage.cache import library
from storage.market import raw
from storage.market.derived import Claim
from tests.machine.lab import Lab
from tests.machine.model import Row, Told
from tests.machine.sequences import NEW_YORK, prepared
from tests.machine.world import World

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


def minute(world: World, price: float, minutes: int = 0) -> Told:
    """A vendor's minute of the newest session, so many minutes after the open."""
    start = world.sessions[NEW_YORK.days[-4]]["open"] + timedelta(minutes=minutes)
    key = {"symbol": "A", "granularity": "1m", "timestamp": start, "source": "vendor"}
    values: Row = dict.fromkeys(("open", "high", "low", "close"), price)
    row = {**key, **values, "volume": 1.0, "adjusted_close": None, "price_basis": "raw"}
    return Told("bars", (row,), NEW_YORK.market, NEW_YORK.zone)


def run(world: World) -> None:
    world.does("run", lambda deps: steps.run(deps, [], world.now))
    world.look()


def an_hour_ends(world: World) -> None:
    world.ingest(minute(world, 100.0))
    run(world)
    world.now += timedelta(hours=3)


def a_price_is_corrected(world: World) -> None:
    world.ingest(minute(world, 100.0))
    run(world)
    world.ingest(minute(world, 101.0))


def a_publisher_wakes_up_late(world: World) -> None:
    world.ingest(minute(world, 100.0))
    run(world)
    world.held = world.deps.loader.load_many(["A"])
    world.ingest(minute(world, 101.0))
    run(world)
    world.wake()
    world.look()


def a_store_is_restored(world: World) -> None:
    """Another future of the same number of versions."""
    world.ingest(minute(world, 100.0))
    run(world)
    world.remember()
    world.ingest(minute(world, 101.0))
    run(world)
    world.restore("told")
    world.ingest(minute(world, 102.0))


def a_refresh_dies_near_its_end(world: World) -> None:
    world.ingest(minute(world, 100.0))
    assert not world.does("refresh", lambda deps: steps.refresh(deps, world.now), "INSERT INTO publications")


# ---- errors


def nothing_is_left_over() -> AbstractContextManager[Any]:
    original = recompute.leftover
    return mock.patch.object(recompute, "leftover", lambda *args: original(*args).clear())


def corrections_make_nothing_dirty() -> AbstractContextManager[Any]:
    original = raw.mark_dirty
    only_new = lambda connection, dataset, days, *args: original(  # noqa: E731
        connection, dataset, days.filter(days["changed"] == 0), *args
    )
    return mock.patch.object(raw, "mark_dirty", only_new)


@contextmanager
def no_fence() -> Iterator[None]:
    without = {
        "if epoch < old_epoch or (epoch == old_epoch and version < old_version) then": "if false then",
        "local newer = epoch > old_epoch or version > old_version": "local newer = true",
    }
    code = library.CODE
    for line, instead in without.items():
        assert line in code
        code = code.replace(line, instead)
    with mock.patch.object(library, "CODE", code):
        yield


def the_epoch_stays() -> AbstractContextManager[Any]:
    return mock.patch("tests.machine.world.raise_epoch")


def windows_are_consumed_before_the_results_are_there() -> AbstractContextManager[Any]:
    original = Claim.publish

    def publish(claim: Claim, *args: Any) -> Any:
        claim.connection.commit()
        return original(claim, *args)

    return mock.patch.object(Claim, "publish", publish)


FOUND: dict[Callable[[], AbstractContextManager[Any]], Callable[[World], None]] = {
    nothing_is_left_over: an_hour_ends,
    corrections_make_nothing_dirty: a_price_is_corrected,
    no_fence: a_publisher_wakes_up_late,
    the_epoch_stays: a_store_is_restored,
    windows_are_consumed_before_the_results_are_there: a_refresh_dies_near_its_end,
}


@pytest.mark.parametrize("error", FOUND, ids=lambda error: error.__name__)
def test_an_error_is_found(lab: Lab, error: Callable[[], AbstractContextManager[Any]]) -> None:
    prepared(lab, NEW_YORK)
    _told(lab, FOUND[error])
    with error(), pytest.raises(AssertionError):
        _told(lab, FOUND[error])


def _told(lab: Lab, story: Callable[[World], None]) -> None:
    """A story to its end."""
    world = World(lab, NEW_YORK)
    try:
        story(world)
        world.settle(late=False)
    finally:
        world.end()

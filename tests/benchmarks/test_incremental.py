"""Every measure of incremental refresh runs at toy size; the floor does what ours does."""

from collections.abc import Iterator

import pytest

from benchmarks.bench import Bench, Place
from benchmarks.data import TOY
from benchmarks.harness import Measure, Result, Skipped, run
from benchmarks.incremental.timescale import URL
from benchmarks.suites.incremental import measures

NAMES = [
    "late tick, replayed",
    "late tick, ten times the symbols",
    "late tick, ten times the history",
    "scattered late ticks, without obv",
    "scattered late ticks",
    "split",
    "steady state",
    "steady state, outside the engines",
    "late tick, TimescaleDB",
]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Measure]]:
    with Bench(Place.at(tmp_path_factory.mktemp("benchmarks")), TOY) as bench:
        yield {measure.name: measure for measure in measures(bench)}


def silent(_: str) -> None:
    pass


def test_the_suite_measures_what_is_promised(suite: dict[str, Measure]) -> None:
    assert list(suite) == NAMES


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_measure_runs(suite: dict[str, Measure], name: str) -> None:
    found = run(suite[name], 1, silent)
    assert isinstance(found, Result)
    assert found.ours > 0
    assert found.reference > 0
    assert found.about


def test_without_timescale_that_measure_says_what_it_lacks(
    suite: dict[str, Measure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL, raising=False)
    found = run(suite[NAMES[-1]], 1, silent)
    assert isinstance(found, Skipped)
    assert URL in found.reason

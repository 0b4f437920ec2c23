"""Incremental refresh: late trades, splits and new minutes, beside floors and beside smaller stores."""

from benchmarks.bench import Bench
from benchmarks.harness import Measure
from benchmarks.incremental.late import LateTick, LateTickGrown, Scattered
from benchmarks.incremental.split import Split
from benchmarks.incremental.steady import Minutes, Outside, Steady
from benchmarks.incremental.store import Stores
from benchmarks.incremental.timescale import OpenWindow


def measures(bench: Bench) -> list[Measure]:
    """In the order they are run."""
    stores, sizes = Stores(bench, bench.size.incremental), bench.size.incremental
    minutes = Minutes(stores)
    return [
        LateTick(stores),
        LateTickGrown(stores, "symbols", sizes.wide, sizes.small),
        LateTickGrown(stores, "history", sizes.long, sizes.narrow),
        Scattered(stores, sizes.settling),
        Scattered(stores, sizes.narrow),
        Split(stores),
        Steady(minutes),
        Outside(minutes),
        OpenWindow(stores),
    ]

"""The pipeline end to end: ingest, publish, a whole run, and its memory."""

from benchmarks.bench import Bench
from benchmarks.harness import Measure
from benchmarks.ingest import TickIngest
from benchmarks.memory import Memory
from benchmarks.publish import EVEN, USUAL, Publish
from benchmarks.whole import WholeRun


def measures(bench: Bench) -> list[Measure]:
    """In the order they are run."""
    return [
        TickIngest(bench),
        Publish(bench, "8 KB bodies", EVEN),
        Publish(bench, "usual bodies", USUAL),
        WholeRun(bench),
        Memory(bench),
    ]

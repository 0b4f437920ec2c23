"""The steady state: every minute a new bar of every symbol."""

from collections.abc import Mapping

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.incremental.changes import new_minute
from benchmarks.incremental.driver import clocked
from benchmarks.incremental.passes import refresh_and_publish
from benchmarks.incremental.store import Store, Stores

_TENTH_OF_A_MINUTE = 6.0


class Minutes:
    """The minutes of the session after a store's last, one at a time; both measures go through the same ones."""

    def __init__(self, stores: Stores) -> None:
        """Work on the steady store of `stores`."""
        self.stores = stores

    @property
    def about(self) -> str:
        """What a pass is."""
        return (
            f"{self.stores.sizes.steady.about}; then minute after minute of the next session, one new 1m row of every "
            "symbol committed, and one pass of steps.refresh and steps.publish. Every fifth pass also closes 5m bars, "
            "and so on."
        )

    def advance(self, store: Store) -> float:
        """Commit the next minute's rows; seconds of the pass."""
        as_of = new_minute(store, store.minutes_stored())
        return seconds(lambda: refresh_and_publish(store, as_of))


class Steady(Measure):
    """How long a pass takes."""

    name = "steady state"
    unit = "s"
    target = 1.0
    direction = "at most"
    quantile = 0.95

    def __init__(self, minutes: Minutes) -> None:
        """Measure passes of `minutes`."""
        self._minutes = minutes
        self._parts = Stages()
        self.samples_a_repeat = 2

    @property
    def about(self) -> str:
        """With its limit."""
        return f"{self._minutes.about} Reference: a tenth of a minute. 95th percentiles."

    def setup(self) -> None:
        """Build the store."""
        self._store = self._minutes.stores.get(self._minutes.stores.sizes.steady, self.progress)

    def ours(self) -> float:
        """Seconds of a pass."""
        taken = self._minutes.advance(self._store)
        self._parts.add({"s of a pass, median": taken})
        return taken

    def reference(self) -> float:
        """A tenth of a minute."""
        return _TENTH_OF_A_MINUTE

    def details(self) -> Mapping[str, float]:
        """The median beside the percentile."""
        return self._parts.medians()


class Outside(Measure):
    """How much of a pass is spent outside PostgreSQL, Polars and Redis."""

    name = "steady state, outside the engines"
    unit = "s"
    target = 0.2
    direction = "at most"

    def __init__(self, minutes: Minutes) -> None:
        """Measure passes of `minutes`."""
        self._minutes = minutes
        self._parts = Stages()

    @property
    def about(self) -> str:
        """What counts as inside."""
        return (
            f"{self._minutes.about} Ours: seconds outside; reference: all of the same pass. Inside is what psycopg, "
            "ADBC (with making a frame of the rows), redis-py and the calls that make Polars work take (kernels of "
            "indicators among them), timed where they are called; outside is the rest: Python, building of "
            "expressions, JSON, digests, and the timing itself."
        )

    def setup(self) -> None:
        """Build the store."""
        self._store = self._minutes.stores.get(self._minutes.stores.sizes.steady, self.progress)

    def ours(self) -> float:
        """Seconds of a pass that are outside."""
        with clocked() as clock:
            self._whole = self._minutes.advance(self._store)
        self._parts.add({f"s inside {layer}": taken for layer, taken in clock.inside.items()})
        return self._whole - sum(clock.inside.values())

    def reference(self) -> float:
        """Seconds of the same pass."""
        return self._whole

    def details(self) -> Mapping[str, float]:
        """What was inside what."""
        return self._parts.medians()

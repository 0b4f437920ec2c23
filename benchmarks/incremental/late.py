"""Late trades: one against the floor, with more history or symbols, and many of one symbol at once."""

from collections.abc import Mapping

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.incremental.changes import all_dirty, arrive, late_trade
from benchmarks.incremental.passes import LatePass, refresh_and_publish
from benchmarks.incremental.sizes import ENDLESS, Shape
from benchmarks.incremental.store import Store, Stores

_AMONG = 4
"""Symbols that late trades go to by turns, of those that every store has."""


class LateTick(Measure):
    """One late trade, from its commit to the new keys, against the same statements replayed."""

    name = "late tick, replayed"
    unit = "s"
    target = 3.0
    direction = "at most"
    quantile = 0.95
    warm_ups = 2

    def __init__(self, stores: Stores) -> None:
        """Measure in the widest store of `stores`."""
        self._stores = stores
        self._number = 0
        self._parts = Stages()
        self.samples_a_repeat = stores.sizes.ticks

    @property
    def about(self) -> str:
        """Both sides in full."""
        return (
            f"{self._stores.sizes.wide.about}; a trade in a minute that had none, 1 to {self._stores.sizes.late} "
            "sessions late. Ours: steps.refresh and steps.publish after the commit of the raw row (the pass of the "
            "market's own symbol is in it). Reference: the statements, COPY bytes and commands of that very pass, "
            "recorded at the drivers and sent again from the same state, with nothing in between; both leave the same "
            "keys, which is checked. 95th percentiles."
        )

    def setup(self) -> None:
        """Build the store."""
        self._store = self._stores.get(self._stores.sizes.wide, self.progress)
        self._pass = LatePass(self._store)

    def ours(self) -> float:
        """Seconds of a late trade."""
        self._number += 1
        back = 1 + self._number * 7 % self._stores.sizes.late
        taken = self._pass.ours([late_trade(self._store, self._number % min(_AMONG, self._store.shape.symbols), back)])
        self._parts.add({"s of ours, median": taken})
        return taken

    def reference(self) -> float:
        """Seconds of the floor."""
        taken = self._pass.floor()
        self._parts.add({"s of the floor, median": taken, **self._pass.counts})
        return taken

    def details(self) -> Mapping[str, float]:
        """Medians beside the percentiles, and how much is sent."""
        return self._parts.medians()

    def teardown(self) -> None:
        """Close the floor's connections."""
        self._pass.close()


class LateTickGrown(Measure):
    """One late trade in a store ten times as large, against the smaller one."""

    unit = "s"
    target = 1.2
    direction = "at most"

    def __init__(self, stores: Stores, what: str, larger: Shape, smaller: Shape) -> None:
        """Compare the same trade in both stores."""
        self.name = f"late tick, ten times the {what}"
        self._stores = stores
        self._shapes = larger, smaller
        self._number = 0
        self.samples_a_repeat = max(stores.sizes.ticks // 2, 1)

    @property
    def about(self) -> str:
        """Both stores."""
        larger, smaller = self._shapes
        return (
            f"ours on both sides: the same late trade, refreshed and published in a store of {larger.about} and in one "
            f"of {smaller.about}."
        )

    def setup(self) -> None:
        """Build both."""
        self._larger, self._smaller = (self._stores.get(shape, self.progress) for shape in self._shapes)

    def ours(self) -> float:
        """Seconds in the larger store."""
        self._number += 1
        return self._late(self._larger)

    def reference(self) -> float:
        """Seconds in the smaller store."""
        return self._late(self._smaller)

    def _late(self, store: Store) -> float:
        back = 1 + self._number * 7 % self._stores.sizes.late
        arrive(store, [late_trade(store, self._number % min(_AMONG, self._shapes[1].symbols), back)])
        return seconds(lambda: refresh_and_publish(store))


class Scattered(Measure):
    """Late trades all over the year of one symbol, against recomputing that symbol."""

    unit = "passes/s"
    target = 20.0
    direction = "at least"

    def __init__(self, stores: Stores, shape: Shape) -> None:
        """Measure in the store of `shape`."""
        self.name = "scattered late ticks" + (f", without {', '.join(ENDLESS)}" if shape.settling else "")
        self._stores, self._shape = stores, shape
        self._parts = Stages()

    @property
    def about(self) -> str:
        """Both sides in full."""
        endless = "" if self._shape.settling else f" {', '.join(ENDLESS)} changes up to the end by its nature."
        return (
            f"{self._shape.about}; {self._stores.sizes.scattered} trades of one symbol, spread evenly over its "
            f"sessions, in one pass. Reference: a pass in which all windows of that symbol are dirty and nothing has "
            f"changed, so that it writes nothing.{endless}"
        )

    def setup(self) -> None:
        """Build the store."""
        self._store = self._stores.get(self._shape, self.progress)

    def ours(self) -> float:
        """Passes a second over the scattered trades."""
        every = self._shape.sessions // self._stores.sizes.scattered
        backs = [1 + n * every for n in range(self._stores.sizes.scattered)]
        arrive(self._store, [late_trade(self._store, 0, back) for back in backs])
        return self._rate("late ticks")

    def reference(self) -> float:
        """Passes a second over everything."""
        all_dirty(self._store, self._store.names[0])
        return self._rate("everything")

    def _rate(self, what: str) -> float:
        taken = seconds(lambda: refresh_and_publish(self._store))
        self._parts.add({f"s of {what}": taken})
        return 1 / taken

    def details(self) -> Mapping[str, float]:
        """As seconds."""
        return self._parts.medians()

"""What is computed from what: each derived dataset, what it reads, how far a change travels, and the keys it is in.

This is the declaration; `flows.recompute` works in its order, `warmbars refresh --dry-run` prints what it says of the
windows at hand, and a test holds what a refresh really changed to it (tests/flows/test_preview.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from storage.market.derived import MarketDataset
from transforms.schema import Interval

Reach = Literal["sessions", "rows", "before", "newest", "series", "market"]
"""How far a change of what a dataset reads travels in it.

sessions  the sessions that a window meets, and no other
rows      from the first changed row on, as many rows as each indicator says: its window, or until its state settles
before    every session before the action
newest    the newest session
series    everything of the symbol that is made of more than one session, from the first changed one on
market    everything there is of all symbols
"""


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived dataset.

    `reads`: raw datasets and derived ones. `tables` and `keys` may hold `{interval}`, which stands for each kept one
    of `intervals` (None: all); a key is a name of the cache contract. `of_market`: whether the market's pseudo-symbol
    has it, and which of its windows asks for it.
    """

    name: str
    about: str
    reads: tuple[str, ...]
    reach: Reach
    tables: tuple[str, ...]
    keys: tuple[str, ...]
    of_market: MarketDataset | None = None


GRAPH: Final[Mapping[str, Derived]] = {
    node.name: node
    for node in (
        Derived("factors", "split factors", ("actions",), "before", ("adjustment_factors",), ("bars:{any}",)),
        Derived(
            "prices",
            "bars of every interval",
            ("ticks", "bars", "actions"),  # an action says what a vendor's adjusted prices were
            "sessions",
            ("bars_1m", "bars_{interval}_rollup", "bars_{interval}_fill"),
            ("bars:{any}",),
        ),
        Derived(
            "indicators",
            "indicators on adjusted bars",
            ("prices", "factors"),
            "rows",
            ("indicators_{interval}",),
            ("indicators:{interval}",),
        ),
        Derived("quote", "the newest session so far", ("prices", "factors"), "newest", ("quotes",), ("quote",)),
        Derived(
            "scores",
            "sentiment by hour and session",
            ("sentiment",),
            "sessions",
            ("sentiment_1h", "sentiment_1d"),
            ("sentiment:1h", "sentiment:1d", "sentiment:current"),
        ),
        Derived(
            "correlations",
            "sentiment against return",
            ("prices", "factors", "scores"),
            "series",
            ("correlations", "rolling_correlations"),
            ("correlation", "correlation:rolling"),
        ),
        Derived("board", "quotes of all symbols", ("quote",), "market", (), ("quotes", "catalogue"), "quotes"),
        Derived(
            "findings",
            "which correlations stand",
            ("correlations",),
            "market",
            ("correlation_findings",),
            ("correlations",),
            "correlations",
        ),
        Derived(
            "matrix",
            "how returns move together",
            ("prices", "factors"),
            "market",
            ("return_matrix",),
            ("matrix",),
            "returns",
        ),
    )
}
"""In the order in which they are computed."""


def reached(datasets: Iterable[str]) -> list[Derived]:
    """Everything that a change of these datasets (raw or derived) may change, in order; a derived one is among it."""
    known = set(datasets)
    found = []
    for node in GRAPH.values():
        if node.name in known or known & {*node.reads}:
            known.add(node.name)
            found.append(node)
    return found


def tables_of(node: Derived, intervals: Sequence[Interval]) -> list[str]:
    """Names of its tables."""
    return _filled(node.tables, intervals)


def keys_of(node: Derived, intervals: Sequence[Interval]) -> list[str]:
    """Names of its keys."""
    return _filled(node.keys, intervals)


def node_of(table: str, intervals: Sequence[Interval]) -> Derived:
    """The dataset whose rows a table holds."""
    return next(node for node in GRAPH.values() if table in tables_of(node, intervals))


def market_datasets(tables: Iterable[str], intervals: Sequence[Interval]) -> set[MarketDataset]:
    """Which market-wide results have to be made again because rows of these tables changed."""
    changed = {node_of(table, intervals).name for table in tables}
    return {node.of_market for node in GRAPH.values() if node.of_market and changed & {*node.reads}}


def _filled(patterns: Sequence[str], intervals: Sequence[Interval]) -> list[str]:
    names = []
    for pattern in patterns:
        kept = intervals if "{any}" in pattern else intervals[1:] if "{interval}" in pattern else ("",)
        names += [pattern.format(interval=interval, any=interval) for interval in kept]
    return names

"""What the catalogue says of an indicator: columns, inputs, how far a change travels, and where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Final, Literal

import polars as pl

from transforms.equal import Scale

OPEN, HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
BENCHMARK: Final = pl.col("benchmark")
"""Close of the benchmark in the same row; bars do not have it, whoever wants a beta joins it."""

Magnitude = Literal["price", "percent", "ratio", "volume", "price_volume", "price_squared_per_volume"]
_SCALES: Final[dict[Magnitude, Scale]] = {
    "price": CLOSE,
    "percent": 100.0,
    "ratio": 1.0,
    "volume": VOLUME,
    "price_volume": CLOSE * VOLUME,
    "price_squared_per_volume": 1e8 * (0.01 * CLOSE) ** 2 / pl.when(VOLUME > 0).then(VOLUME),  # moves of 1 %
}


@dataclass(frozen=True, slots=True)
class Window:
    """A change reaches this many rows, its own included."""

    rows: int


@dataclass(frozen=True, slots=True)
class State:
    """A change reaches on until the state in these columns settles, or to the end if it never does.

    `settles`: a change fades, so that states which differ by next to nothing count as the same; else only equal
    ones do. `cumulative`: a sum, which keeps a change for good. `reads`: rows of the bars that a step of the
    recursion reads, its own included. `spans`: rows of the recursion that a value is made of, its own included.
    `weight`: the least share of a state that a step renews, if that is known.
    """

    columns: tuple[str, ...]
    settles: bool = True
    cumulative: bool = False
    reads: int = 1
    spans: int = 1
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class RestOfSession:
    """A change reaches to the end of its session."""


Reach = Window | State | RestOfSession


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled function of `transforms.kernels` that gives all columns of an indicator at once.

    It is called with the bounds of the groups, for an indicator with state the number of rows known of each, the
    `inputs` as arrays, the `parameters`, and an array to fill for each column, in their order; a NaN it leaves
    there is a null.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column; `magnitude` says its scale in `transforms.equal`, `shown` is false for mere state.

    `beside`: columns whose sum is the scale where a state is compared: those that it is divided by. A state that is
    only added to prices needs none.
    """

    name: str
    expr: pl.Expr
    magnitude: Magnitude
    shown: bool = True
    beside: tuple[str, ...] = ()

    @property
    def scale(self) -> Scale:
        """A number, or an expression over the columns of the bar."""
        return _SCALES[self.magnitude]


@dataclass(frozen=True, slots=True, eq=False)
class Indicator:
    """What one name stands for.

    The expressions read the bar columns `inputs`, split-adjusted, in one group of `over`.
    `lookback`: rows from the start of a group, or from an anchor in it, until no column is null.
    `about`: one line for people.
    """

    name: str
    about: str
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    lookback: int
    reach: Reach
    over: tuple[str, ...] = ("symbol",)
    kernel: Kernel | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the columns a reader asks for."""
        return tuple(column.name for column in self.columns if column.shown)

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the columns a recursion resumes from."""
        return self.reach.columns if isinstance(self.reach, State) else ()


@dataclass(frozen=True)
class Family:
    """All indicators of one first word: `make(name, *parameters)` gives the one with these parameters.

    `usual`: the parameter sets that the catalogue lists. `plain`: the set that the bare word stands for.
    `formula`, `seed`, `undefined` (what 0/0 gives) and `source` are for docs/indicators.md.
    """

    name: str
    make: Callable[..., Indicator]
    formula: str
    source: str
    usual: tuple[tuple[float, ...], ...] = ((),)
    plain: tuple[float, ...] | None = None
    seed: str = "none: every value is made of its window alone"
    undefined: str = "cannot occur"

    @cached_property
    def parameters(self) -> dict[str, type]:
        """Name and type (`int` or `float`) of each parameter, in order."""
        _, *rest = signature(self.make, eval_str=True).parameters.values()
        return {parameter.name: parameter.annotation for parameter in rest}

    def name_of(self, parameters: tuple[float, ...]) -> str:
        """The name that `resolve` reads these parameters from; the bare word where it stands for them."""
        if parameters == self.plain:
            return self.name
        return "_".join([self.name, *(f"{parameter:g}" for parameter in parameters)])

"""How large the stores are, and how much is done in them."""

from dataclasses import dataclass

ENDLESS = ("obv",)
"""Default indicators in which a change never settles: each value is the one before plus something."""


@dataclass(frozen=True, slots=True)
class Shape:
    """So many symbols with so many sessions of minutes and messages; `settling`: without indicators that never do."""

    symbols: int
    sessions: int
    settling: bool = False

    @property
    def about(self) -> str:
        """In words."""
        which = f", indicators without {', '.join(ENDLESS)}" if self.settling else ""
        return f"{self.symbols} symbols x {self.sessions} sessions of minutes and messages{which}"

    @property
    def name(self) -> str:
        """As a directory's."""
        return f"store-{self.symbols}x{self.sessions}{'-settling' if self.settling else ''}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """The stores, and how much is done in them.

    `wide`, `small`: as many sessions, ten times the symbols; `long`: ten times the sessions of `narrow`, as many
    symbols; `steady`: many symbols. `late`: sessions over which late trades are spread. `scattered`: late trades of
    one symbol at once.
    """

    wide: Shape
    small: Shape
    long: Shape
    narrow: Shape
    settling: Shape
    steady: Shape
    late: int
    scattered: int
    ticks: int


FULL = Sizes(
    wide=Shape(100, 252),
    small=Shape(10, 252),
    long=Shape(4, 2520),
    narrow=Shape(4, 252),
    settling=Shape(4, 252, settling=True),
    steady=Shape(500, 20),
    late=20,
    scattered=20,
    ticks=8,
)
_TOY = Shape(3, 12)
TOY = Sizes(
    wide=_TOY,
    small=_TOY,
    long=_TOY,
    narrow=_TOY,
    settling=Shape(1, 12, settling=True),
    steady=_TOY,
    late=3,
    scattered=3,
    ticks=1,
)

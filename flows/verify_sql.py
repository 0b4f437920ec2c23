"""Polars' bars, as they are stored, held against the same bars computed by the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from flows.batch import outside
from flows.full import Table
from flows.verify_compare import Difference, compare
from storage.market.retention import Frozen
from storage.market.sqlbars import SqlBars
from transforms.equal import Scale
from transforms.schema import OHLCV

_ROUNDING = 1e-12
"""Share of a volume that the order of its sum can make: a whole share shows up to a volume of 1e12."""
_SCALES: Mapping[str, Scale] = dict.fromkeys(("session", *OHLCV))


@dataclass(slots=True)
class SqlChecked:
    """What was compared: bars by interval; of `1m`, sessions whose minutes come from trades alone and all others.

    Others have minutes of vendors or trades of several sources, which SQL does not tell apart.
    """

    rows: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    left_out: int = 0
    differences: list[Difference] = field(default_factory=list)

    def __iadd__(self, other: "SqlChecked") -> "SqlChecked":
        for interval, rows in other.rows.items():
            self.rows[interval] = self.rows.get(interval, 0) + rows
        self.sessions += other.sessions
        self.left_out += other.left_out
        self.differences += other.differences
        return self


def check_sql(
    source: SqlBars, symbols: Sequence[str], stored: Mapping[str, pl.DataFrame], frozen: Frozen, done: SqlChecked
) -> None:
    """Compare the stored bars of these symbols, outside of what retention has frozen."""
    sessions, others = source.comparable(symbols)
    minutes = stored["bars_1m"].join(sessions, on=["symbol", "session"], how="semi")
    done.sessions += sessions.height
    done.left_out += others
    _compare("1m", source.from_ticks(symbols), minutes, frozen, done)
    for interval in source.settings.intervals[1:]:
        made = source.from_minutes(symbols, interval)
        _compare(interval, made, stored[f"bars_{interval}_rollup"], frozen, done)


def _compare(interval: str, made: pl.DataFrame, stored: pl.DataFrame, frozen: Frozen, done: SqlChecked) -> None:
    made, stored = outside(made, frozen.prices), outside(stored, frozen.prices)
    name = "bars_1m" if interval == "1m" else f"bars_{interval}_rollup"
    found = compare(Table(f"{name} (SQL)", ("symbol", "timestamp"), _SCALES), _snapped(made, stored), stored)
    done.rows[interval] = done.rows.get(interval, 0) + found.rows
    done.differences += found.differences


def _snapped(made: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Volumes that only the order of a sum tells from the stored ones become these."""
    key = ["symbol", "timestamp"]
    theirs = made.join(stored.select(*key, _volume="volume"), on=key, how="left", maintain_order="left")
    apart = (pl.col("volume") - pl.col("_volume")).abs()
    near = apart <= _ROUNDING * pl.max_horizontal(pl.col("volume").abs(), pl.col("_volume").abs())
    return theirs.with_columns(volume=pl.when(near).then("_volume").otherwise("volume")).drop("_volume")

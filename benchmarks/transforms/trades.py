"""Trades to bars of one minute, against numpy over sorted arrays and against DuckDB."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Measure, Stages, seconds
from benchmarks.peers.duck import DuckBars, as_bars
from benchmarks.transforms import rows
from benchmarks.transforms.equality import same
from benchmarks.transforms.inputs import Inputs
from transforms.sessions import BucketRules
from transforms.ticks import bars_from_ticks

_MINUTE_US = 60_000_000


class _Trades(Measure):
    """What both have in common: our side."""

    def __init__(self, inputs: Inputs) -> None:
        """Work on the `ticks` of the inputs."""
        self._inputs = inputs
        self._stages = Stages()
        self._sessions = rows.newest_sessions(5).lazy()

    def bars(self, ticks: pl.DataFrame) -> pl.DataFrame:
        """Ours."""
        return bars_from_ticks(ticks, self._sessions, BucketRules())

    def details(self) -> Mapping[str, float]:
        """Seconds of both."""
        return self._stages.medians()

    @property
    def data(self) -> str:
        """What is folded."""
        return (
            f"{self._inputs.ticks.height:,} trades of 50 symbols in five sessions in memory, sorted, without conditions"
        )


class TradesFloor(_Trades):
    """Seconds, against the floor."""

    name = "ticks to 1m bars, numpy reduceat"
    unit = "s"
    target = 2.0
    direction = "at most"

    @property
    def about(self) -> str:
        """What the floor leaves out."""
        return (
            f"{self.data}. Ours: bars_from_ticks (sessions, closing auction, conditions). Reference: symbols as small "
            "whole numbers and times as microseconds, sorted arrays, minutes by division, bounds where minute or "
            "symbol change, maximum, minimum and add.reduceat, first and last by index; no sessions, no conditions. "
            "Bars are equal. Apart: ours on the same trades with conditions as New York's tape has them."
        )

    def setup(self) -> None:
        """Lay out the arrays; compare the bars."""
        ticks = self._inputs.ticks
        self._symbols = ticks["symbol"].unique().sort()
        codes = ticks["symbol"].cast(pl.Enum(self._symbols)).to_physical().cast(pl.Int32)
        stamps = ticks["timestamp"].to_physical()
        self._arrays = [column.to_numpy() for column in (codes, stamps, ticks["price"], ticks["size"])]
        self._flagged = rows.with_conditions(ticks)
        floor = reduceat_bars(*self._arrays)
        for found in (self.bars(ticks), self.bars(self._flagged)):
            same("symbol", found["symbol"].cast(pl.Enum(self._symbols)).to_physical().to_numpy(), floor["symbol"])
            same("timestamp", found["timestamp"].to_physical().to_numpy(), floor["timestamp"])
            for name in ("open", "high", "low", "close", "volume"):
                same(name, found[name].to_numpy(), floor[name])

    def ours(self) -> float:
        """Both ways; those without conditions count."""
        took = seconds(lambda: self.bars(self._inputs.ticks))
        self._stages.add({"s of ours with conditions": seconds(lambda: self.bars(self._flagged))})
        return took

    def reference(self) -> float:
        """The floor."""
        return seconds(lambda: reduceat_bars(*self._arrays))

    def teardown(self) -> None:
        """Let go of the copies."""
        self._arrays, self._flagged = [], pl.DataFrame()


class TradesDuck(_Trades):
    """Trades a second, against DuckDB."""

    name = "ticks to 1m bars, DuckDB"
    unit = "ticks/s"
    target = 2.0
    direction = "at least"

    @property
    def about(self) -> str:
        """Which query."""
        return (
            f"{self.data}. Ours: as above. Reference: DuckDB over the same Arrow data on {pl.thread_pool_size()} "
            "threads, GROUP BY symbol and minute with arg_min, max, min, arg_max, sum, sorted, to Arrow; no sessions, "
            "no conditions. Bars are equal."
        )

    def setup(self) -> None:
        """Hand the data over; compare the bars."""
        self._duck = DuckBars(self._inputs.ticks.to_arrow(), pl.thread_pool_size())
        ours, theirs = self.bars(self._inputs.ticks), as_bars(self._duck.run())
        for name in theirs.columns:
            same(name, ours[name].to_numpy(), theirs[name].to_numpy())

    def ours(self) -> float:
        """Fold."""
        took = seconds(lambda: self.bars(self._inputs.ticks))
        self._stages.add({"s of ours": took})
        return self._inputs.ticks.height / took

    def reference(self) -> float:
        """Group."""
        took = seconds(self._duck.run)
        self._stages.add({"s of DuckDB": took})
        return self._inputs.ticks.height / took

    def teardown(self) -> None:
        """Close it."""
        if duck := getattr(self, "_duck", None):
            duck.close()


def reduceat_bars(codes: Any, stamps: Any, prices: Any, sizes: Any) -> dict[str, Any]:
    """One-minute bars of trades sorted by symbol and time: the least that can be done."""
    minutes = stamps // _MINUTE_US
    starts = np.flatnonzero((minutes[1:] != minutes[:-1]) | (codes[1:] != codes[:-1])) + 1
    starts = np.append(0, starts)
    return {
        "symbol": codes[starts],
        "timestamp": minutes[starts] * _MINUTE_US,
        "open": prices[starts],
        "high": np.maximum.reduceat(prices, starts),
        "low": np.minimum.reduceat(prices, starts),
        "close": prices[np.append(starts[1:], len(prices)) - 1],
        "volume": np.add.reduceat(sizes, starts),
    }

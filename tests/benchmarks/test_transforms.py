"""Every measure of the transforms runs at toy size where its peer is installed, and none compares unequal work."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.bench import Bench, Place
from benchmarks.data import TOY
from benchmarks.harness import Measure, Result, Skipped, run
from benchmarks.peers import HOW
from benchmarks.peers.pyqlib import dump
from benchmarks.suites.transforms import measures
from benchmarks.transforms import rows
from benchmarks.transforms.equality import Unequal, same
from benchmarks.transforms.factors import FACTORS, from_disk, of_block, write
from benchmarks.transforms.trades import reduceat_bars
from transforms.schema import BARS, TICKS

NAMES = [
    "14 factors, pyqlib without cache",
    "14 factors, pyqlib with warm caches",
    "ticks to 1m bars, numpy reduceat",
    "ticks to 1m bars, DuckDB",
    *(
        f"default indicators, {which}, {peer}"
        for which in ("daily", "minutes")
        for peer in ("TA-Lib", "pandas-ta-classic", "ta")
    ),
    "plain expressions, daily",
    "rolling correlation matrix, pandas",
    *(f"peak memory, {work}" for work in ("factors", "ticks", "indicators, daily", "indicators, minutes", "matrix")),
]
NEED_NO_PEER = {"ticks to 1m bars, numpy reduceat", "plain expressions, daily", "rolling correlation matrix, pandas"}
SLOW = {name for name in NAMES if "peak memory" in name} - {"peak memory, factors"}
"""A process each, which imports everything anew: one of them will do."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Measure]]:
    with Bench(Place.at(tmp_path_factory.mktemp("benchmarks")), TOY) as bench:
        yield {measure.name: measure for measure in measures(bench)}


def silent(_: str) -> None:
    pass


def test_the_suite_measures_what_is_promised(suite: dict[str, Measure]) -> None:
    assert list(suite) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_a_measure_runs_or_says_what_is_missing(suite: dict[str, Measure], name: str) -> None:
    if "pyqlib" in name and find_spec("duckdb") is None:
        pytest.skip("pyqlib takes a while to start: run this in .venv-bench")
    found = run(suite[name], 1, silent)
    if isinstance(found, Skipped):
        assert name not in NEED_NO_PEER
        assert HOW in found.reason
        pytest.skip(found.reason)
    assert isinstance(found, Result)
    assert found.ours > 0
    assert found.reference > 0
    assert found.about


def test_the_floor_folds_by_minute_and_symbol() -> None:
    codes, minute = np.array([0, 0, 0, 1], np.int32), 60_000_000
    stamps = np.array([0, minute - 1, minute, minute])
    found = reduceat_bars(codes, stamps, np.array([2.0, 3.0, 1.0, 9.0]), np.array([1.0, 2.0, 4.0, 8.0]))
    assert {name: list(values) for name, values in found.items()} == {
        "symbol": [0, 0, 1],
        "timestamp": [0, minute, minute],
        "open": [2.0, 1.0, 9.0],
        "high": [3.0, 1.0, 9.0],
        "low": [2.0, 1.0, 9.0],
        "close": [3.0, 1.0, 9.0],
        "volume": [3.0, 4.0, 8.0],
    }


def test_factors_of_a_symbol_do_not_know_the_one_before() -> None:
    bars = rows.daily_bars(rows.Panel(3, 90))
    alone = pl.concat([of_block(part) for part in bars.partition_by("symbol", maintain_order=True)])
    together = of_block(bars)
    for name in FACTORS:
        same(name, together[name].to_numpy(), alone[name].to_numpy(), relative=1e-12, absolute=1e-12)
        assert together[name].null_count() == 3 * alone.head(90)[name].null_count() > 0


def test_factors_are_read_block_by_block(tmp_path: Path) -> None:
    bars = rows.daily_bars(rows.Panel(81, 70))
    file = tmp_path / "bars.parquet"
    write(bars, 70, file)
    assert from_disk(file).equals(of_block(bars))


def test_invented_rows_are_what_the_transforms_take() -> None:
    panel = rows.Panel(2, 500)
    for bars in (rows.daily_bars(panel), rows.minute_bars(panel)):
        assert (bars.schema, bars.height) == (BARS, panel.rows)
        assert bars.equals(bars.sort("symbol", "timestamp"))
        assert bars.select(pl.col("low") <= pl.min_horizontal("open", "close"))["low"].all()
        assert bars.select(pl.col("high") >= pl.max_horizontal("open", "close"))["high"].all()
        prices = bars.select("open", "high", "low", "close", "volume").to_numpy()
        assert (prices == prices.astype(np.float32)).all()
    trades = rows.ticks(20_000)
    assert (trades.schema, trades.height) == (TICKS, 20_000)
    assert trades.equals(trades.sort("symbol", "timestamp", "sequence"))
    assert not trades.select("symbol", "timestamp").is_duplicated().any()


def test_pyqlib_is_given_the_same_bars_in_its_own_format(tmp_path: Path) -> None:
    bars = rows.daily_bars(rows.Panel(2, 5))
    dump(bars, tmp_path)
    days = [str(day) for day in bars["session"].head(5)]
    assert (tmp_path / "calendars" / "day.txt").read_text().split() == days
    assert (tmp_path / "instruments" / "all.txt").read_text().splitlines() == [
        f"{symbol}\t{days[0]}\t{days[-1]}" for symbol in ("S0000", "S0001")
    ]
    stored = np.fromfile(tmp_path / "features" / "s0001" / "close.day.bin", "<f4")
    assert stored.tolist() == [0.0, *bars["close"].tail(5)]


def test_unequal_work_is_no_measure() -> None:
    with pytest.raises(Unequal, match="close: 1 of 2 values differ, first at 1: 2.0 here, 3.0 there"):
        same("close", [1.0, 2.0], [1.0, 3.0], relative=0.1)
    with pytest.raises(Unequal, match="values here"):
        same("close", [1.0], [1.0, 3.0])
    same("close", [1.0, np.nan, 100.0], [1.0, np.nan, 100.5], relative=0.01)

"""Compiled kernels are what the expressions say, whatever the rows."""

from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import cases, price_series, rules, sessions_of, ticks
from transforms import ticks as trades
from transforms.calendars import calendar_sessions
from transforms.catalogue import CATALOGUE, compute, resolve
from transforms.catalogue.engine import Engine
from transforms.errors import PermanentError, SchemaMismatch
from transforms.runs import bounds
from transforms.schema import TICKS
from transforms.sessions import BucketRules

RECURSIONS = {"kama", "psar", "supertrend"}
"""Their expressions call the kernel too; they are held to plain loops elsewhere in this folder."""
COMPILED = [name for name, one in CATALOGUE.items() if one.kernel is not None and one.kernel.name not in RECURSIONS]
NYSE = sessions_of("XNYS").lazy()
TRADES = pl.DataFrame(
    [("A", datetime(2024, 11, 26, 15, 0, n * 25, tzinfo=UTC), "tape", n, 10.0 + n, 100.0, None) for n in range(3)]
    + [("A", datetime(2024, 11, 26, 15, 1, 0, tzinfo=UTC), "tape", 3, 9.0, 100.0, None)],
    schema=TICKS,
    orient="row",
)
SMALL = [*COMPILED, "sma_1", "sma_3", "ema_1", "ema_4", "rsi_1", "rsi_3", "macd_2_4_3", "bollinger_4_2.5", "atr_3"]


def both(bars: pl.DataFrame, names: list[str]) -> None:
    """Both engines give the same: nulls exactly, values to a few last bits of the prices they are made of."""
    made = compute(bars, names, engine="compiled")
    assert_frame_equal(made, compute(bars, names, engine="expressions"), rel_tol=1e-12, abs_tol=1e-7)


@settings(max_examples=25)
@given(price_series())
def test_kernels_equal_expressions(bars: pl.DataFrame) -> None:
    both(bars.with_columns(benchmark=pl.col("close").reverse()), SMALL)


def walk(symbols: int, rows: int, seed: int) -> pl.DataFrame:
    """Long series of many symbols, some of them constant, with days that nobody traded on."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 0.01, (symbols, rows)) * (np.arange(symbols) % 5 != 3)[:, None]
    close = 100 * np.exp(steps.cumsum(axis=1)).ravel()
    high, low = close * (1 + random.random(close.size) / 50), close * (1 - random.random(close.size) / 50)
    day = np.tile(np.arange(rows), symbols)
    return pl.DataFrame(
        {"symbol": np.repeat([f"S{n:03}" for n in range(symbols)], rows), "timestamp": day * 43_200_000_000}
        | {"open": low, "high": high, "low": low, "close": close, "benchmark": close[::-1]}
        | {"volume": random.integers(0, 4, close.size) * 100.0}
    ).with_columns(
        pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
        session=pl.col("timestamp").cast(pl.Datetime("us")).dt.date(),
    )


@pytest.mark.parametrize("name", COMPILED)
def test_kernels_equal_expressions_over_long_series(name: str) -> None:
    bars = walk(40, 700, seed=3)
    scales = {column.name: column.scale for column in resolve(name).columns}
    made, said = (compute(bars, [name], engine=engine) for engine in ("compiled", "expressions"))
    for column, scale in scales.items():
        assert made[column].is_null().equals(said[column].is_null())
        size = bars.select(pl.max_horizontal(scale, pl.lit(made[column].abs()))).to_series()
        assert ((made[column] - said[column]).abs() / size).max() < 1e-9  # type: ignore[operator]


@pytest.mark.parametrize(("rows", "chosen"), [(60_000, "compiled"), (40_000, "expressions")])
def test_many_rows_are_computed_by_kernels(rows: int, chosen: Engine) -> None:
    """The engines differ in last bits, which tell who computed."""
    bars = walk(2, rows, seed=5)
    made = {engine: compute(bars, ["rsi_14"], engine=engine) for engine in ("auto", "compiled", "expressions")}
    assert not made["compiled"].equals(made["expressions"])
    assert made["auto"].equals(made[chosen])


def test_without_a_place_for_its_cache_a_kernel_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    jit = import_module("transforms.kernels.jit")
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert jit.compiled(lambda x: x + 1)(1) == 2


@given(price_series(), st.sets(st.integers(0, 179)), st.sampled_from(["close", "volume"]))
def test_a_row_with_a_null_takes_no_part(bars: pl.DataFrame, places: set[int], column: str) -> None:
    lacking = pl.int_range(pl.len()).is_in(list(places))
    holed = bars.with_columns(pl.when(~lacking).then(pl.col(column)).alias(column))
    names = ["sma_3", "obv", "vwap"]
    found = compute(holed, names)
    for name in names:
        if column not in resolve(name).inputs:
            continue
        complete = holed.drop_nulls(column)
        mine = found.filter(holed[column].is_not_null()).select("symbol", "timestamp", "session", name)
        assert_frame_equal(mine, compute(complete, [name]))
        assert found.filter(holed[column].is_null())[name].null_count() == holed[column].null_count()
    if column == "volume":
        assert_frame_equal(found.select("sma_3"), compute(bars, ["sma_3"]).select("sma_3"))


@given(st.data(), cases(), rules())
def test_trades_folded_by_minute_equal_trades_placed_one_by_one(
    data: st.DataObject, case: str, how: BucketRules
) -> None:
    some = data.draw(ticks(case))
    sessions = sessions_of(case).lazy()
    assert_frame_equal(trades._by_minutes(some, sessions, how), trades._by_trades(some, sessions, how))


@pytest.mark.data
def test_a_week_of_real_trades_is_folded_the_same(shared: Path) -> None:
    nyse = calendar_sessions("XNYS", date(2013, 10, 1), date(2013, 10, 31))
    raw = pl.read_parquet(shared / "data/ticks.parquet").sort("symbol", "timestamp", maintain_order=True)
    some = raw.select(
        *("symbol", "timestamp", "price"),
        size=pl.col("size").cast(pl.Float64),
        condition="condition_hex",
        source=pl.lit("tape"),
        sequence=pl.int_range(pl.len(), dtype=pl.Int32),
    ).select(pl.col(name).cast(kind) for name, kind in TICKS.items())
    for hours in ("regular", "all"):
        how = BucketRules(trading_hours=hours)
        assert_frame_equal(trades._by_minutes(some, nyse.lazy(), how), trades._by_trades(some, nyse.lazy(), how))


@pytest.mark.parametrize(
    ("name", "gap"), [("timestamp", None), ("price", None), ("size", None), ("price", np.nan), ("size", np.nan)]
)
def test_a_trade_that_lacks_a_value_is_refused(name: str, gap: float | None) -> None:
    some = TRADES.with_columns(pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(gap)).otherwise(name).alias(name))
    with pytest.raises(SchemaMismatch, match="a trade of 'A' lacks a value"):
        trades.bars_from_ticks(some, NYSE, BucketRules())


def test_a_message_may_lack_a_price() -> None:
    message = BucketRules().message_conditions[0].removeprefix("0x")
    silent = TRADES.head(1).with_columns(price=None, condition=pl.lit(message)).cast(dict(TICKS))
    found = trades.bars_from_ticks(pl.concat([silent, TRADES]), NYSE, BucketRules())
    assert_frame_equal(found, trades.bars_from_ticks(TRADES, NYSE, BucketRules()))


def test_trades_out_of_order_are_refused() -> None:
    with pytest.raises(PermanentError, match="the trade of 'A' at .* comes after a later one; sort by"):
        trades.bars_from_ticks(TRADES.reverse(), NYSE, BucketRules())
    mixed = pl.concat([TRADES, TRADES.with_columns(symbol=pl.lit("B")), TRADES])
    with pytest.raises(PermanentError, match="rows of symbol 'A' stand apart"):
        trades.bars_from_ticks(mixed, NYSE, BucketRules())


@pytest.mark.parametrize("kind", [pl.Datetime("ns", "UTC"), pl.Datetime("ms", "America/New_York")])
def test_trades_of_other_types_make_the_same_bars(kind: pl.DataType) -> None:
    other = TRADES.cast({"timestamp": kind, "price": pl.Int32, "size": pl.UInt64})
    expected = trades.bars_from_ticks(TRADES, NYSE, BucketRules())
    assert len(expected) == 2
    assert_frame_equal(trades.bars_from_ticks(other, NYSE, BucketRules()), expected)


@given(st.lists(st.integers(1, 9_000), max_size=30))
def test_bounds_of_many_rows_are_those_of_few(lengths: list[int]) -> None:
    names = [f"S{n:03}" for n in range(len(lengths))]
    frame = pl.DataFrame({"symbol": pl.Series(np.repeat(names, lengths) if names else [], dtype=pl.String)})
    assert bounds(frame).tolist() == [0, *np.cumsum(lengths).tolist()]


@pytest.mark.parametrize("symbols", [3, 61, 4_093])
def test_interleaved_symbols_are_refused_whatever_their_number(symbols: int) -> None:
    names = [f"S{n:04}" for n in range(symbols)]
    frame = pl.DataFrame({"symbol": names * (200_000 // symbols)})
    with pytest.raises(PermanentError, match="rows of symbol 'S0000' stand apart, others between them; sort by"):
        bounds(frame)

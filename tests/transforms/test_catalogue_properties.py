"""What holds for every indicator of the catalogue, whatever the bars."""

from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.golden.sheets import bars_of
from transforms.catalogue import CATALOGUE, columns_of, compute, resolve
from transforms.catalogue.engine import Engine

EVERY = [*CATALOGUE, "anchored_vwap_20240102"]
EXPONENTS = {  # magnitude -> powers of the price and of the volume in its unit
    "price": (1, 0),
    "percent": (0, 0),
    "ratio": (0, 0),
    "volume": (0, 1),
    "price_volume": (1, 1),
    "price_squared_per_volume": (2, -1),
}


def bars_of_seed(seed: int) -> pl.DataFrame:
    """Bars of two symbols, in cents, the second a few rows long.

    There are jumps, gaps, bars without range or volume, flat stretches, and stretches where the range
    widens and narrows around a typical price that stands still.
    """
    random = np.random.default_rng(seed)
    frames = []
    for symbol, rows in (("A", 130), ("B", int(random.integers(4)))):
        flat = np.repeat(random.random(13) < 0.3, 10)[:rows]
        still = ~flat & np.repeat(random.random(13) < 0.3, 10)[:rows]
        steps = np.where(flat | still, 0, random.choice([0, 0, 1, -1, 0.25, 0.03, -7.5, 6.5], rows))
        close = np.maximum(8, 100 + steps.cumsum()).round(2)
        above, below = np.where(flat, 0, random.choice([0, 0.01, 0.03, 0.5, 2.25], (2, rows)))
        below = np.where(still, above, below)
        prices = {"open": close + above / 2, "high": close + above, "low": close - below, "close": close}
        prices = {name: values.round(2) for name, values in prices.items()}
        volume = np.where(np.roll(flat, 40), 0, random.choice([0, 1, 1000], rows)).astype(float)
        benchmark = 50 + np.where(np.roll(flat, 20), 0, random.integers(0, 9, rows)).astype(float)
        bars = bars_of(pl.DataFrame(prices | {"volume": volume}))
        frames.append(bars.with_columns(symbol=pl.lit(symbol), benchmark=pl.Series(benchmark)))
    return pl.concat(frames)


SEEDS = st.integers(0, 2**32 - 1)
"""A few examples each: every one is the whole catalogue. They shrink to another series, not to a shorter one."""


@pytest.mark.parametrize("engine", get_args(Engine)[1:])
@settings(max_examples=6)
@given(SEEDS)
def test_nothing_is_nan_or_infinite(engine: Engine, seed: int) -> None:
    values = compute(bars_of_seed(seed), EVERY, engine=engine).drop("symbol", "timestamp", "session")
    wrong = values.select((pl.all().is_nan() | pl.all().is_infinite()).any()).row(0, named=True)
    assert [name for name, found in wrong.items() if found] == []


@settings(max_examples=6)
@given(SEEDS, st.sampled_from([2.0**-6, 8.0]), st.sampled_from([1.0, 2.0**-7, 64.0]))
def test_scaling_prices_and_volumes_scales_what_is_in_their_units(seed: int, price: float, volume: float) -> None:
    """By powers of two, which round nothing: what compares equal still does."""
    bars = bars_of_seed(seed)
    scaled = bars.with_columns(pl.col("open", "high", "low", "close", "benchmark") * price, pl.col("volume") * volume)
    before, after = (compute(one, EVERY, engine="expressions") for one in (bars, scaled))
    assert_frame_equal(after, in_units(before, price, volume), rel_tol=1e-12, abs_tol=1e-12)


def in_units(values: pl.DataFrame, price: float, volume: float) -> pl.DataFrame:
    """What the indicators of bars are in other units of price and volume."""
    factors = {}
    for column in columns_of(EVERY):
        prices, volumes = EXPONENTS[column.magnitude]
        factors[column.name] = price**prices * volume**volumes
    return values.with_columns(pl.col(name) * factor for name, factor in factors.items())


@pytest.mark.parametrize("engine", get_args(Engine)[1:])
@settings(max_examples=5)
@given(SEEDS)
def test_a_split_three_to_one_scales_values_and_tips_no_scale(engine: Engine, seed: int) -> None:
    """A third rounds: what stood still may seem to move by a last digit, which must not count as a move."""
    bars = bars_of_seed(seed)
    split = bars.with_columns(pl.col("open", "high", "low", "close", "benchmark") / 3)
    found = compute(split, EVERY, engine=engine)
    expected = in_units(compute(bars, EVERY, engine=engine), 1 / 3, 1)
    for column in columns_of(EVERY):
        made, said = found[column.name], expected[column.name]
        assert made.is_null().equals(said.is_null())
        size = split.select(pl.max_horizontal(column.scale, pl.lit(said.abs())).max()).item()
        assert ((made - said).abs() <= 1e-9 * size).all(), column.name


@settings(max_examples=6)
@given(SEEDS)
def test_lazy_equals_eager(seed: int) -> None:
    bars = bars_of_seed(seed)
    eager = compute(bars, EVERY, engine="expressions")
    lazy = compute(bars.lazy(), EVERY, engine="expressions")
    assert_frame_equal(lazy.collect(), eager)
    assert lazy.collect_schema() == eager.schema


@pytest.mark.parametrize("engine", get_args(Engine)[1:])
@pytest.mark.parametrize("close", [100.01, 33.37, -37.63])
def test_prices_that_differ_by_rounding_are_the_same_price(engine: Engine, close: float) -> None:
    """The range widens and narrows around a close that stands still."""
    away = [0.01, 0.03, 0.07, 0.5, 0.11] * 12
    prices = {
        "high": [round(close + a, 2) for a in away],
        "low": [round(close - a, 2) for a in away],
        "close": [close] * 60,
    }
    bars = bars_of(prices).with_columns(pl.lit(1000.0).alias("volume"))
    assert len({high + low + close for high, low, close in zip(*prices.values(), strict=True)}) > 1
    last = compute(bars, ["mfi_14", "cci_20"], engine=engine).row(-1, named=True)
    assert (last["mfi_14"], last["cci_20"]) == (50, 0)


@pytest.mark.parametrize("engine", get_args(Engine)[1:])
def test_bars_that_grow_as_much_on_either_side_move_neither_way(engine: Engine) -> None:
    prices = {
        "high": [round(100.07 + n / 100, 2) for n in range(60)],
        "low": [round(50.03 - n / 100, 2) for n in range(60)],
    }
    last = compute(bars_of(prices | {"close": [70.0] * 60}), ["adx_14", "adxr_14"], engine=engine).row(-1, named=True)
    assert (last["adx_14"], last["adx_14_plus"], last["adx_14_minus"], last["adxr_14"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("engine", get_args(Engine)[1:])
@settings(max_examples=6)
@given(SEEDS, st.integers(1, 129))
def test_rows_that_come_later_change_nothing(engine: Engine, seed: int, known: int) -> None:
    bars = bars_of_seed(seed)
    whole = compute(bars, EVERY, engine=engine).filter(symbol="A").head(known)
    part = compute(bars.filter(symbol="A").head(known), EVERY, engine=engine)
    assert_frame_equal(part, whole, rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_expressions_work_ungrouped_on_one_symbol(name: str) -> None:
    """What `compute` gives with groups is what the bare expressions give without."""
    closes = [100.0 + (n * n) % 11 for n in range(130)]
    bars = bars_of({"close": closes, "high": [c + 1 + n % 3 for n, c in enumerate(closes)]}).with_columns(
        benchmark=pl.Series(closes).reverse(), session=pl.lit("2024-01-02").str.to_date()
    )
    columns = resolve(name).columns
    bare = bars.select(column.expr.alias(column.name) for column in columns)
    assert_frame_equal(compute(bars, [name], engine="expressions").select(bare.columns), bare)
    assert_frame_equal(bars.lazy().select(column.expr.alias(column.name) for column in columns).collect(), bare)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_give_few_values_and_no_error(rows: int) -> None:
    bars = bars_of(pl.DataFrame({"close": [100.0, 101.0][:rows]}, schema={"close": pl.Float64}))
    found = compute(bars.with_columns(benchmark=pl.col("close")), EVERY)
    assert len(found) == rows
    for name in EVERY:
        lookback = resolve(name).lookback
        for column in resolve(name).columns:
            if lookback == 0 and name != "anchored_vwap_20240102":
                assert found[column.name].null_count() == 0
    assert found["sma_20"].null_count() == rows

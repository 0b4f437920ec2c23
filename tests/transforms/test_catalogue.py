"""Names of indicators."""

import math
import re
from typing import Literal, get_args

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from storage.settings import DEFAULT_INDICATORS
from tests.golden.sheets import bars_of
from transforms.catalogue import CATALOGUE, FAMILIES, columns_of, compute, resolve
from transforms.catalogue.engine import Engine
from transforms.errors import PermanentError, SchemaMismatch, UnknownIndicator
from transforms.schema import BARS, OHLCV


def test_what_is_kept_by_default_is_in_the_catalogue() -> None:
    assert set(DEFAULT_INDICATORS) <= set(CATALOGUE)


def test_every_family_is_shown_in_the_catalogue_and_says_what_it_is() -> None:
    shown = {re.sub(r"(_[0-9.]+)+$", "", name) for name in CATALOGUE}
    assert shown == set(FAMILIES) - {"anchored_vwap"}  # no date is usual
    assert all(name == indicator.name and indicator.about for name, indicator in CATALOGUE.items())


@pytest.mark.parametrize(
    ("name", "shown", "lookback"),
    [
        ("sma_10", ("sma_10",), 9),
        ("macd", ("macd", "macd_signal", "macd_histogram"), 33),
        ("macd_5_35_5", ("macd_5_35_5", "macd_5_35_5_signal", "macd_5_35_5_histogram"), 38),
        ("bollinger", ("bollinger_upper", "bollinger_middle", "bollinger_lower"), 19),
        ("bollinger_10_3", ("bollinger_10_3_upper", "bollinger_10_3_middle", "bollinger_10_3_lower"), 9),
        ("rsi_2", ("rsi_2",), 2),
        ("vwap", ("vwap",), 0),
    ],
)
def test_a_name_says_its_parameters(name: str, shown: tuple[str, ...], lookback: int) -> None:
    indicator = resolve(name)
    assert indicator.shown == shown
    assert indicator.lookback == lookback


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "sma",
            "sma_",
            "sma_0",
            "sma_020",
            "sma_-5",
            "sma_2.5",
            "sma_20_20",
            "sma_20\n",
            "sma_10001",
            "sma_²",
            "SMA_20",
        ),
        *("macd_12", "macd_12_26", "macd_1_2_3_4", "bollinger_20", "vwap_14", "obv_1", "ema_x", "_20"),
    ],
)
def test_a_name_that_is_none_names_its_neighbours(name: str) -> None:
    with pytest.raises(UnknownIndicator, match="close names: .*macd_5_35_5"):
        resolve(name)


@pytest.mark.parametrize(
    "name", ["historical_volatility_1_252", "chop_1", "zscore_1", "beta_1", "correlation_1", "sharpe_1"]
)
def test_a_window_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(UnknownIndicator, match=f"'{name}' needs a window of at least 2 rows"):
        resolve(name)


def test_a_stop_does_not_start_faster_than_it_may_become() -> None:
    assert resolve("psar_0.2_0.2").about.startswith("parabolic stop")
    with pytest.raises(UnknownIndicator, match=r"'psar_0.2_0.02' starts at 0.2, above its limit 0.02"):
        resolve("psar_0.2_0.02")


def of_type(bars: pl.DataFrame, kind: Literal["eager", "lazy"]) -> pl.DataFrame | pl.LazyFrame:
    return bars.lazy() if kind == "lazy" else bars


EAGER_AND_LAZY = pytest.mark.parametrize("kind", ["eager", "lazy"])
BAR = bars_of({"close": [3.0, 4.0, 6.0, 5.0], "volume": [7.0, 1.0, 2.0, 9.0]})


@EAGER_AND_LAZY
@pytest.mark.parametrize(
    ("bars", "keep", "told"),
    [
        (BAR, (), "'beta_20' needs the column 'benchmark'; the bars have only symbol, timestamp, "),
        (BAR.drop("close"), (), "'obv' needs the column 'close'; the bars have only"),
        (BAR.drop("session"), (), "the result keeps the column 'session'; the bars have only"),
        (BAR, ("price",), "the result keeps the column 'price'; the bars have only"),
        (BAR.with_columns(volume=pl.lit("x"), benchmark="close"), (), "'obv' needs numbers in the column 'volume'"),
    ],
)
def test_a_column_that_is_missing_or_holds_no_numbers_is_named(
    kind: Literal["eager", "lazy"], bars: pl.DataFrame, keep: tuple[str, ...], told: str
) -> None:
    with pytest.raises(SchemaMismatch, match=told):
        compute(of_type(bars, kind), ["beta_20", "obv"], keep)


@EAGER_AND_LAZY
def test_columns_are_kept_once_and_not_in_place_of_an_indicators(kind: Literal["eager", "lazy"]) -> None:
    found = compute(of_type(BAR, kind), ["obv"], ["close", "close", "symbol"]).lazy().collect()
    assert found.columns == ["symbol", "timestamp", "session", "close", "obv"]
    with pytest.raises(PermanentError, match="an indicator makes obv: rename"):
        compute(of_type(BAR.with_columns(obv=pl.lit(0)), kind), ["obv"], ["obv"])


@pytest.mark.parametrize("engine", get_args(Engine))
def test_rows_of_one_symbol_that_stand_apart_are_refused(engine: Engine) -> None:
    mixed = pl.concat([BAR, BAR.with_columns(symbol=pl.lit("B"))]).sort("timestamp", "symbol")
    with pytest.raises(PermanentError, match="rows of symbol 'A' stand apart.*sort by symbol, timestamp"):
        compute(mixed, ["obv"], engine=engine)


def test_no_other_engine_is_taken_for_one() -> None:
    with pytest.raises(PermanentError, match="no engine is called 'compile'; there are auto, expressions, compiled"):
        compute(BAR, ["obv"], engine="compile")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["expressions", "compiled"])
@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt32, pl.Float32, pl.Decimal(10, 2)])
def test_numbers_of_any_type_give_what_floats_give(engine: Engine, kind: pl.DataType) -> None:
    names = ["sma_3", "rsi_2", "obv", "vpt", "momentum_1", "atr_2", "mfi_2"]
    kinds = dict.fromkeys(OHLCV, kind)
    found = compute(BAR.cast(kinds), names, ["close"], engine)
    assert_frame_equal(found, compute(BAR, names, ["close"], engine).cast({"close": kind}))


@pytest.mark.parametrize("engine", ["expressions", "compiled"])
def test_a_nan_is_a_null(engine: Engine) -> None:
    def with_gap(gap: float | None) -> pl.DataFrame:
        return BAR.with_columns(close=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(gap)).otherwise("close"))

    names = ["sma_2", "rsi_2", "obv", "vwap", "macd_1_2_1", "wma_2"]
    found = compute(with_gap(math.nan), names, engine=engine)
    assert_frame_equal(found, compute(with_gap(None), names, engine=engine))
    assert found["sma_2"].to_list() == [None, None, 4.5, 5.5]


@pytest.mark.parametrize("anchor", ["20240231", "2024012", "202401020", "20", "1.5", "20241301"])
def test_an_anchor_is_a_date(anchor: str) -> None:
    assert resolve("anchored_vwap_20240229").about.endswith("the session of 2024-02-29")
    with pytest.raises(UnknownIndicator, match="anchored_vwap takes anchor"):
        resolve(f"anchored_vwap_{anchor}")


def test_the_nearest_names_come_first() -> None:
    with pytest.raises(UnknownIndicator, match="'rsi14'; close names: rsi_14"):
        resolve("rsi14")


def test_no_two_indicators_share_a_column() -> None:
    names = [*CATALOGUE, "macd_5_35_5", "bollinger_10_2", "rsi_2"]
    columns = [column.name for name in names for column in resolve(name).columns]
    assert len(columns) == len(set(columns))
    assert [column.name for column in columns_of([*names, *names])] == columns


def test_what_is_computed_has_exactly_the_declared_columns() -> None:
    bars = pl.LazyFrame(schema={**BARS, "benchmark": pl.Float64})
    found = compute(bars, list(CATALOGUE)).collect_schema().names()
    assert found[3:] == [column.name for column in columns_of(CATALOGUE)]


def test_inputs_are_all_that_is_read() -> None:
    for indicator in CATALOGUE.values():
        read = {name for column in indicator.columns for name in column.expr.meta.root_names()}
        assert read == set(indicator.inputs)


def test_state_is_part_of_the_columns() -> None:
    for indicator in CATALOGUE.values():
        assert set(indicator.state) <= {column.name for column in indicator.columns}
        hidden = {column.name for column in indicator.columns if not column.shown}
        assert hidden <= set(indicator.state)

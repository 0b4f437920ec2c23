"""Names of indicators."""

import polars as pl
import pytest

from storage.settings import DEFAULT_INDICATORS
from transforms.catalogue import CATALOGUE, FAMILIES, columns_of, compute, resolve
from transforms.errors import UnknownIndicator
from transforms.schema import BARS


def test_what_is_kept_by_default_is_in_the_catalogue() -> None:
    assert set(DEFAULT_INDICATORS) <= set(CATALOGUE)


def test_every_family_is_shown_in_the_catalogue_and_says_what_it_is() -> None:
    assert {name.split("_")[0] for name in CATALOGUE} == set(FAMILIES)
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
        *("", "sma", "sma_", "sma_0", "sma_020", "sma_-5", "sma_2.5", "sma_20_20", "sma_10001", "sma_²", "SMA_20"),
        *("macd_12", "macd_12_26", "macd_1_2_3_4", "bollinger_20", "vwap_14", "obv_1", "ema_x", "_20"),
    ],
)
def test_a_name_that_is_none_names_its_neighbours(name: str) -> None:
    with pytest.raises(UnknownIndicator, match="close names: .*macd_5_35_5"):
        resolve(name)


def test_the_nearest_names_come_first() -> None:
    with pytest.raises(UnknownIndicator, match="'rsi14'; close names: rsi_14"):
        resolve("rsi14")


def test_no_two_indicators_share_a_column() -> None:
    names = [*CATALOGUE, "macd_5_35_5", "bollinger_10_2", "rsi_2"]
    columns = [column.name for name in names for column in resolve(name).columns]
    assert len(columns) == len(set(columns))
    assert [column.name for column in columns_of([*names, *names])] == columns


def test_what_is_computed_has_exactly_the_declared_columns() -> None:
    found = compute(pl.LazyFrame(schema=BARS), list(CATALOGUE)).collect_schema().names()
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

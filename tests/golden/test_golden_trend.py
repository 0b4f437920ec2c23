"""Moving averages against other people's numbers."""

from pathlib import Path

import polars as pl
import pytest

from tests.golden.references import Reference, TaLib, checks_of
from tests.golden.sheets import at_spots, bars_of, chartschool, near, same, spots
from transforms.catalogue import compute
from transforms.catalogue import trend as catalogue
from transforms.indicators import trend

CLOSE = pl.col("close")


@pytest.mark.data
@checks_of(catalogue.FAMILIES)
def test_equals_what_others_have(name: str, column: str, reference: Reference, shared: Path) -> None:
    reference.check(name, column, shared)


@pytest.mark.data
@pytest.mark.parametrize("name", ["Wma", "Dema", "Tema", "Hma", "Ema"])
def test_middle_lines_of_envelopes_are_these_averages(name: str, sheet: pl.DataFrame, shared: Path) -> None:
    column = f"{name.lower()}_20"
    found = compute(bars_of(sheet), [column])[column]
    at_spots(found, spots(shared, "MaEnvelopes", "Centerline", f"{name}_AsMaType_ReturnsExpectedResult"))


@pytest.mark.data
def test_efficiency_of_spy_and_of_the_chartschools_sheet(sheet: pl.DataFrame, shared: Path) -> None:
    same(sheet.select(trend.efficiency_ratio(CLOSE, 10)).to_series(), sheet["kama_er_10"])
    rows = chartschool(shared, "cs-kama")
    near(rows.select(trend.efficiency_ratio(CLOSE, 10)).to_series(), rows["er"], 1e-6)


@pytest.mark.data
def test_seeds_of_ta_lib_differ_at_first_and_are_forgotten(sheet: pl.DataFrame) -> None:
    theirs = sheet.select(dema=trend.dema(CLOSE, 20, seed="mean"), tema=trend.tema(CLOSE, 20, seed="mean"))
    assert theirs.null_count().row(0) == (38, 57)
    TaLib({38: 224.10334001513436, 39: 224.85390428353415, 60: 223.978194728763}).check_values(theirs["dema"])
    TaLib({57: 222.6022236973193, 58: 222.64146898759424, 60: 222.99317569070675}).check_values(theirs["tema"])
    for name in ("dema", "tema"):
        off = (theirs[name] - sheet[f"{name}.{name}"]).abs()
        assert off.max() > 0.01  # type: ignore[operator]
        assert off[-1] < 1e-9


def test_where_nothing_moves_an_average_is_the_price() -> None:
    names = ["wma_20", "dema_20", "tema_20", "hma_20", "kama", "vwma_20"]
    for last in compute(bars_of({"close": [13.81] * 60}), names).tail(1).rows(named=True):
        assert [last[name] for name in names] == pytest.approx([13.81] * 6, rel=1e-14)
    moving = [100.0 + n % 7 for n in range(60)]
    last = compute(bars_of({"close": moving + [13.81] * 30}), ["wma_20", "hma_20", "vwma_20"]).row(-1, named=True)
    assert [last[name] for name in ("wma_20", "hma_20", "vwma_20")] == pytest.approx([13.81] * 3, rel=1e-12)


def test_efficiency_is_0_where_a_price_stands_or_returns_and_1_on_a_straight_way() -> None:
    closes = pl.DataFrame({"close": [5.0] * 4 + [6.0, 5.0, 6.0, 5.0, 7.0, 9.0, 11.0, 13.0]})
    found = closes.select(trend.efficiency_ratio(CLOSE, 4)).to_series().to_list()
    assert found == [None, None, None, None, 1.0, 0.0, pytest.approx(1 / 3), 0.0, 0.2, 2 / 3, 5 / 7, 1.0]


def test_vwma_is_null_while_nothing_traded_and_forgets_a_day_that_did() -> None:
    bars = bars_of({"close": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "volume": [0.0, 0.1, 0.2, 0.0, 0.0, 7.0]})
    found = compute(bars, ["vwma_2"])["vwma_2"].to_list()
    assert found == [None, 2.0, pytest.approx(8 / 3), pytest.approx(3), None, 6.0]


@pytest.mark.parametrize("average", [trend.wma, trend.hma, trend.dema, trend.tema])
def test_leading_nulls_only_shift_an_average(average: object) -> None:
    assert callable(average)
    closes = pl.DataFrame({"close": [float(n * n % 17) for n in range(60)]})
    early = closes.select(average(CLOSE, 5)).to_series()
    nulls = pl.DataFrame({"close": [None] * 3}, schema={"close": pl.Float64})
    late = pl.concat([nulls, closes]).select(average(CLOSE, 5)).to_series()
    assert late[:3].null_count() == 3
    assert late[3:].equals(early)

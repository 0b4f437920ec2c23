"""Volume against other people's numbers."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from tests.golden.sheets import at_spots, bars_of, chartschool, equals_sheet, near, read_sheet, same, spots
from transforms.catalogue import compute
from transforms.indicators import volume

EXCEL = {  # our column -> theirs
    "obv": {"obv": "obv"},
    "adl": {"adl": "adl"},
    "cmf_20": {"cmf_20": "cmf_20"},
    "mfi_14": {"mfi_14": "mfi_14"},
}
"""Every row of two years of SPY, null rows included."""

CHARTSCHOOL = {  # name -> sheet, their column, how exact the sheet is
    "adl": ("cs-accum", "adline", 1e-6),
    "mfi_14": ("cs-mfi", "mfi", 1e-5),
    "ease_of_movement_14": ("cs-easeofmovement", "sma_emv", 1e-8),
    "vpt": ("cs-vpt", "unsmoothed vpt", 1e-9),
    "rolling_vwap_14": ("cs-vwap", "vwap", 1e-9),
}

HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("high", "low", "close", "volume"))

TA_LIB = {
    "high": [93.25, 94.94, 96.375, 96.19, 96, 94.72, 95, 93.72, 92.47, 92.75, 96.25, 99.625, 99.125, 92.75, 91.315],
    "low": [90.75, 91.405, 94.25, 93.5, 92.815, 93.5, 92, 89.75, 89.44, 90.625, 92.75, 96.315, 96.03, 88.815, 86.75],
    "close": [
        91.5,
        94.815,
        94.375,
        95.095,
        93.78,
        94.625,
        92.53,
        92.75,
        90.315,
        92.47,
        96.125,
        97.25,
        98.5,
        89.875,
        91,
    ],
    "volume": [
        *(4077500, 4955900, 4775300, 4155300, 4593100, 3631300, 3382800, 4954200, 4500000, 3397500, 4204500, 6321400),
        *(10203600, 19043900, 11692000),
    ],
}
"""The first rows of the series that TA-Lib's own tests use."""


@pytest.mark.data
@pytest.mark.parametrize("name", EXCEL)
def test_two_years_of_spy_equal_the_spreadsheet(name: str, sheet: pl.DataFrame) -> None:
    equals_sheet(sheet, name, EXCEL[name])


@pytest.mark.data
@pytest.mark.parametrize("name", CHARTSCHOOL)
def test_the_chartschools_sheets(name: str, shared: Path) -> None:
    file, column, tolerance = CHARTSCHOOL[name]
    rows = chartschool(shared, file)
    found = compute(bars_of(rows), [name])[name]
    first = 13 if name == "rolling_vwap_14" else 0  # theirs starts with the rows there are
    near(found[first:], rows[column][first:], tolerance)


@pytest.mark.data
def test_money_flow_equals_excels(sheet: pl.DataFrame) -> None:
    same(sheet.select(volume.money_flow(HIGH, LOW, CLOSE, VOLUME)).to_series(), sheet["cmf_mfv"])


@pytest.mark.data
def test_force_index_and_chaikin_oscillator_equal_the_published_values(sheet: pl.DataFrame, shared: Path) -> None:
    """Stock.Indicators, tests ForceIndex and ChaikinOsc."""
    found = compute(bars_of(sheet), ["force_index_13", "chaikin_oscillator"])
    force = {13: 10668240.778, 24: 15883211.364, 149: 7598218.196, 249: 23612118.994, 501: -16824018.428}
    at_spots(found["force_index_13"], [(row, value, 0.0006) for row, value in force.items()])
    assert found["force_index_13"].null_count() == 502 - 489
    assert found["chaikin_oscillator"][501] == pytest.approx(-19135200.72, abs=0.006)
    assert found["chaikin_oscillator_adl"][501] == pytest.approx(3439986548.42, abs=0.006)
    assert found["chaikin_oscillator"].null_count() == 502 - 493
    at_spots(found["chaikin_oscillator_adl"][-1:], [(0, *spots(shared, "Adl", "Adl")[-1][1:])])


def test_ta_libs_starts_give_the_values_of_ta_libs_tests() -> None:
    """test_per_hlcv.c: AD, ADOSC 3/10 and 5/2, MFI; OBV starts at the first volume (ta_OBV.c)."""
    bars = bars_of(TA_LIB)
    prices = (HIGH, LOW, CLOSE, VOLUME)
    found = bars.select(
        ad=volume.adl(*prices),
        adosc=volume.chaikin_oscillator(*prices, 3, 10, ta_lib=True).line,
        other=volume.chaikin_oscillator(*prices, 5, 2, ta_lib=True).line,
        mfi=volume.mfi(*prices, 14),
        obv=volume.obv(CLOSE, VOLUME, ta_lib=True),
        ours=volume.obv(CLOSE, VOLUME),
    )
    assert found["ad"][:2].to_list() == pytest.approx([-1631000.00, 2974412.02], abs=0.006)
    assert found["adosc"].null_count() == 9
    assert found["adosc"][9:11].to_list() == pytest.approx([841238.32, 2255663.07], abs=0.006)
    assert found["other"].null_count() == 4
    assert found["other"][4] == pytest.approx(585361.28, abs=0.01)
    assert found["mfi"][14] == pytest.approx(42.8923, abs=6e-5)
    assert found["obv"][0] == 4077500
    assert (found["obv"] - found["ours"]).unique().to_list() == [4077500]


@pytest.mark.data
def test_ta_libs_values_for_spy(sheet: pl.DataFrame) -> None:
    """TA-Lib 0.8.1's ADOSC, PVT and MFI for the same rows."""
    theirs = sheet.select(volume.chaikin_oscillator(HIGH, LOW, CLOSE, VOLUME, ta_lib=True).line).to_series()
    ours = compute(bars_of(sheet), ["chaikin_oscillator", "vpt", "mfi_14"])
    adosc = {9: 60976069.24192041, 10: 68962088.42927691, 60: 44001876.47825909, 501: -19135200.721845627}
    assert [theirs[row] for row in adosc] == pytest.approx([*adosc.values()], rel=1e-11)
    assert abs(theirs[9] - ours["chaikin_oscillator"][9]) > 1e6
    assert theirs[60] == pytest.approx(ours["chaikin_oscillator"][60], rel=1e-2)
    assert theirs[501] == pytest.approx(ours["chaikin_oscillator"][501], rel=1e-11)
    pvt = [0.0, 493512.3473684175, 5438908.95885902, -32104312.281781323]
    assert [ours["vpt"][row] for row in (0, 1, 60, 501)] == pytest.approx(pvt, rel=1e-11)
    mfi = [47.81444632100903, 48.15483694915004, 46.46465159360547, 39.94937704125047]
    assert [ours["mfi_14"][row] for row in (14, 15, 60, 501)] == pytest.approx(mfi, rel=1e-11)


@pytest.mark.data
def test_vwap_anchored_at_ten_equals_the_spreadsheet(shared: Path) -> None:
    rows = read_sheet(shared / "reference/skender/excel_expected_vwap_intraday_anchor1000.csv")
    moment = pl.col("date").str.to_datetime()
    price = volume.typical_price(HIGH, LOW, CLOSE)
    found = rows.select(
        volume.anchored_vwap(price, VOLUME, moment, datetime.fromisoformat("2020-12-15T10:00")).vwap
    ).to_series()
    assert found.null_count() == 30
    same(found, rows["VWAP"])


def test_vwap_anchored_at_a_session_starts_there_and_goes_on_over_the_next() -> None:
    bars = bars_of({"close": [10.0, 20.0, 30.0, 40.0, 50.0], "volume": [7.0, 0.0, 1.0, 3.0, 4.0]})
    found = compute(bars, ["anchored_vwap_20240102", "anchored_vwap_20230102"])
    assert found["anchored_vwap_20240102"].to_list() == [None, None, 30.0, 37.5, 43.75]
    assert found["anchored_vwap_20230102"].to_list() == pytest.approx([10, 10, 12.5, 220 / 11, 420 / 15])


def test_where_nothing_moves_or_nothing_trades() -> None:
    names = ["adl", "chaikin_oscillator", "cmf_20", "mfi_14", "force_index_13", "ease_of_movement_14", "vpt"]
    moving = [100.0 + n % 7 for n in range(60)]
    flat = compute(bars_of({"close": [13.81] * 60}), names).row(-1, named=True)
    assert (flat["adl"], flat["cmf_20"], flat["vpt"], flat["force_index_13"]) == (0, 0, 0, 0)
    assert (flat["mfi_14"], flat["ease_of_movement_14"]) == (50, 0)
    prices = {"close": moving * 2, "high": [x + 1 for x in moving * 2], "low": [x - 2 for x in moving * 2]}
    silent = compute(
        bars_of(prices | {"volume": [1e9 / 3] * 60 + [0.0] * 60}), [*names, "rolling_vwap_20", "cmf_20"]
    ).row(-1, named=True)
    assert (silent["cmf_20"], silent["rolling_vwap_20"]) == (None, None)
    assert (silent["mfi_14"], silent["ease_of_movement_14"]) == (50, pytest.approx(0, abs=1e-15))
    rising = compute(bars_of({"close": [float(n) for n in range(1, 40)]}), ["mfi_14"])["mfi_14"]
    falling = compute(bars_of({"close": [float(n) for n in range(40, 1, -1)]}), ["mfi_14"])["mfi_14"]
    assert (set(rising[14:]), set(falling[14:])) == ({100.0}, {0.0})

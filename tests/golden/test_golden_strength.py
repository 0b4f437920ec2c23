"""Strength of trends against other people's numbers."""

from pathlib import Path

import polars as pl
import pytest

from tests.golden.sheets import at_spots, bars_of, chartschool, equals_sheet, near, quotes, same, spots
from transforms.catalogue import compute
from transforms.indicators import strength

EXCEL = {  # our column -> theirs
    "adx_14": {"adx_14": "adx_14", "adx_14_plus": "pdi_14", "adx_14_minus": "mdi_14"},
    "adxr_14": {"adxr_14": "adxr_14"},
    "vortex_14": {"vortex_14_plus": "vortex.VI+", "vortex_14_minus": "vortex.VI-"},
}
"""Every row of two years of SPY, null rows included."""

WILDER_HIGH = [
    *(51.12, 52.35, 52.1, 51.8, 52.1, 52.5, 52.8, 52.5, 53.5, 53.5, 53.8, 54.2, 53.4, 53.5, 54.4, 55.2, 55.7, 57),
    *(57.5, 58, 57.7, 58, 57.5, 57, 56.7, 57.5, 56.7, 56, 56.2, 54.8, 55.5, 54.7, 54, 52.5, 51, 51.5, 51.7, 53),
]
WILDER_LOW = [
    *(50.0, 51.5, 51, 50.5, 51.25, 51.7, 51.85, 51.5, 52.3, 52.5, 53, 53.5, 52.5, 52.1, 53, 54, 55, 56, 56.5, 57),
    *(56.5, 57.3, 56.7, 56.3, 56.2, 56, 55.5, 55, 54.9, 54, 54.5, 53.8, 53, 51.5, 50, 50.5, 50.2, 51.5),
]
"""The example of Wilder's book, as TA-Lib's test_sar.c has it."""


@pytest.mark.data
@pytest.mark.parametrize("name", EXCEL)
def test_two_years_of_spy_equal_the_spreadsheet(name: str, sheet: pl.DataFrame) -> None:
    equals_sheet(sheet, name, EXCEL[name])


@pytest.mark.data
def test_adx_and_vortex_equal_the_chartschools(shared: Path) -> None:
    rows = chartschool(shared, "cs-adx")
    found = compute(bars_of(rows), ["adx_14"])
    for ours, theirs in (("adx_14", "adx"), ("adx_14_plus", "+di14"), ("adx_14_minus", "-di14")):
        near(found[ours], rows[theirs], 1e-6)  # the sheet keeps seven decimals
    rows = chartschool(shared, "cs-vortex")
    found = compute(bars_of(rows), ["vortex_14"])
    for ours, theirs in (("plus", "+vi14"), ("minus", "-vi14")):
        near(found[f"vortex_14_{ours}"], rows[theirs], 1e-6)


@pytest.mark.data
def test_ta_libs_start_of_adx_differs_at_first_and_is_forgotten(sheet: pl.DataFrame) -> None:
    """Values of TA-Lib 0.8.1 for the same rows."""
    high, low, close = (pl.col(name) for name in ("high", "low", "close"))
    theirs = sheet.select(**strength.adx(high, low, close, 14, ta_lib=True)._asdict())
    rating = sheet.select(strength.adxr(high, low, 14, ta_lib=True).rating).to_series()
    expected = {
        "adx": {27: 16.731510634692885, 28: 18.59623106524313, 60: 23.88634265772917, 501: 34.29869914461825},
        "plus": {14: 22.293409508263593, 15: 27.788497018486225, 60: 26.260113072392972, 501: 17.75652311356243},
        "minus": {14: 18.408488063660215, 15: 16.518177797932857, 60: 23.68696182186443, 501: 31.150968674636058},
    }
    for name, values in expected.items():
        assert theirs[name].null_count() == min(values)
        assert [theirs[name][row] for row in values] == pytest.approx([*values.values()], rel=1e-11)
    values = {40: 29.871510678233598, 41: 31.368863068508173, 60: 32.75832333301959, 501: 30.512142625393842}
    assert rating.null_count() == 40
    assert [rating[row] for row in values] == pytest.approx([*values.values()], rel=1e-11)
    off = (theirs["adx"] - sheet["adx_14"]).abs()
    assert 0.1 < off[27:60].max() < 1  # type: ignore[operator]
    assert off[-1] < 1e-9


def test_psar_of_wilders_own_example() -> None:
    """The values that TA-Lib's test_sar.c expects, to their last digit, and the turn in the middle."""
    found = compute(bars_of({"high": WILDER_HIGH, "low": WILDER_LOW}), ["psar"])["psar"]
    assert found[0] is None
    assert [round(found[row], 3) for row in (1, 2, 5, 36, 37)] == [50, 50.047, 50.182, 52.929, 50]
    assert found[23] == 58


@pytest.mark.data
def test_psar_equals_excel_the_chartschool_and_the_published_values(sheet: pl.DataFrame, shared: Path) -> None:
    """From the first turn they share on, before which theirs guess a rise; of TA-Lib all rows."""
    bars = bars_of(sheet)
    stop = compute(bars, ["psar"])["psar"]
    at_spots(stop, spots(shared, "ParabolicSar", "Sar")[1:])
    assert [stop[row] for row in (1, 2, 60, 501)] == pytest.approx([211.52, 211.574, 219.77, 229.7662], rel=1e-12)
    assert stop.sum() == pytest.approx(124576.89054136249, rel=1e-13)  # of all 501 values of TA-Lib 0.8.1
    slow = bars.select(strength.psar(pl.col("high"), pl.col("low"), 0.02, 0.2, first=0.01).stop).to_series()
    same(slow[42:], sheet["psar_excel_af0.01"][42:])
    rows = chartschool(shared, "cs-psar")
    found = compute(bars_of(rows), ["psar"])["psar"]
    stops = rows.select(pl.coalesce(pl.col("psar_up", "psar_down").cast(pl.Float64))).to_series()
    near(found[9:], stops[9:], 1e-8)


@pytest.mark.data
def test_supertrend_equals_the_published_values(sheet: pl.DataFrame, shared: Path) -> None:
    """Stock.Indicators, test SuperTrend: the line at five rows, which side it is on, and one row of bitcoin."""
    found = compute(bars_of(sheet), ["supertrend_14_3"])
    line, side = found["supertrend_14_3"], found["supertrend_14_3_direction"]
    assert line.null_count() == 14
    expected = {14: (210.6157, 1), 151: (232.8520, 1), 152: (237.6436, -1), 249: (253.8008, 1), 501: (250.7954, -1)}
    for row, (value, direction) in expected.items():
        assert (line[row], side[row]) == (pytest.approx(value, abs=5e-5), direction)
    usual = compute(bars_of(sheet), ["supertrend"])["supertrend"]
    assert usual[10:12].to_list() == pytest.approx([210.059, 210.059], rel=1e-12)
    assert usual.sum() == pytest.approx(122860.69348541216, rel=1e-13)  # of all 492 values of TA-Lib 0.8.1
    bitcoin = compute(bars_of(quotes(shared, "bitcoin")), ["supertrend"])
    assert bitcoin["supertrend_lower"][1208] == pytest.approx(16242.2704, abs=5e-5)


@pytest.mark.data
def test_ichimoku_equals_the_published_values(sheet: pl.DataFrame) -> None:
    """Stock.Indicators, test Ichimoku: lines and leading spans at four rows, and the number of values."""
    found = compute(bars_of(sheet), ["ichimoku"])
    lines = ("conversion", "base", "leading_a", "leading_b")
    assert [502 - found[f"ichimoku_{line}"].null_count() for line in lines] == [494, 477, 451, 425]
    expected = {
        51: (224.465, 221.94, 214.8325, None),
        249: (257.15, 253.085, 246.3125, 241.685),
        475: (265.575, 263.965, 274.9475, 274.95),
        501: (241.26, 251.505, 264.77, 269.82),
    }
    for row, values in expected.items():
        for line, value in zip(lines, values, strict=True):
            given = found[f"ichimoku_{line}"][row]
            assert given == (value if value is None else pytest.approx(value, rel=1e-12))


def test_where_nothing_moves() -> None:
    quiet = compute(bars_of({"close": [13.81] * 90}), [*EXCEL, "psar", "supertrend", "ichimoku"])
    last = quiet.row(-1, named=True)
    assert (last["adx_14"], last["adx_14_plus"], last["adx_14_minus"], last["adxr_14"]) == (0, 0, 0, 0)
    assert (last["vortex_14_plus"], last["vortex_14_minus"]) == (None, None)
    assert {last[name] for name in ("psar", "supertrend", "ichimoku_base", "ichimoku_leading_b")} == {13.81}

"""Volatility against other people's numbers."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.golden.sheets import at_spots, bars_of, chartschool, equals_sheet, near, same, spots
from transforms.catalogue import compute
from transforms.indicators import volatility

EXCEL = {  # our column -> theirs
    "natr_14": {"natr_14": "atrp_14", "natr_14_atr": "atr_14"},
    "bollinger_b": {"bollinger_b": "bb_pctb"},
    "bollinger_width": {"bollinger_width": "bb_width"},
    "true_range": {"true_range": "tr"},
    "donchian_20": {
        "donchian_20_upper": "donchian_up_20",
        "donchian_20_middle": "donchian_mid_20",
        "donchian_20_lower": "donchian_lo_20",
    },
    "stddev_10": {"stddev_10": "stddev_pop_10"},
    "chop_14": {"chop_14": "chop.CHOP14"},
}
"""Every row of two years of SPY, null rows included."""


@pytest.mark.data
@pytest.mark.parametrize("name", EXCEL)
def test_two_years_of_spy_equal_the_spreadsheet(name: str, sheet: pl.DataFrame) -> None:
    equals_sheet(sheet, name, EXCEL[name])


@pytest.mark.data
def test_keltner_is_made_of_excels_averages_and_equals_the_published_values(sheet: pl.DataFrame, shared: Path) -> None:
    found = compute(bars_of(sheet), ["keltner", "keltner_20_2_14"])
    at_spots(found["keltner_upper"], spots(shared, "Keltner", "UpperBand"))
    at_spots(found["keltner_middle"], spots(shared, "Keltner", "Centerline"))
    at_spots(found["keltner_lower"], spots(shared, "Keltner", "LowerBand"))
    same(found["keltner_20_2_14_upper"], sheet["ema_20"] + 2 * sheet["atr_14"])
    same(found["keltner_20_2_14_lower"], sheet["ema_20"] - 2 * sheet["atr_14"])
    assert found["keltner_upper"].null_count() == 19


@pytest.mark.data
@pytest.mark.parametrize(("current", "name"), [(False, "cs-dc2"), (True, "cs-dc")])
def test_donchian_without_and_with_its_own_bar_equals_the_chartschools(current: bool, name: str, shared: Path) -> None:
    rows = chartschool(shared, name)
    high, low = pl.col("high"), pl.col("low")
    found = rows.select(**volatility.donchian(high, low, 20, current=current)._asdict())
    for line in ("upper", "lower"):
        near(found[line], rows[f"{line}_band"])
    near(found["middle"], rows["middle_band"], 2e-4)  # the sheet rounds it to cents


@pytest.mark.data
def test_ulcer_index_equals_the_chartschool_and_the_published_value(sheet: pl.DataFrame, shared: Path) -> None:
    rows = chartschool(shared, "cs-ui")
    found = compute(bars_of(rows), ["ulcer_index_14"])["ulcer_index_14"]
    assert found.null_count() == 13
    assert found[13] == pytest.approx(float(rows["ulcer_index"][13]), rel=1e-9)
    at_spots(compute(bars_of(sheet), ["ulcer_index_14"])["ulcer_index_14"], spots(shared, "UlcerIndex", "UlcerIndex"))


def test_historical_volatility_equals_hulls_example() -> None:
    """Table "Computation of volatility": 21 closes, deviation of returns 0.01216, 19.3 % a year of 252 days."""
    closes = [
        *(20.00, 20.10, 19.90, 20.00, 20.50, 20.25, 20.90, 20.90, 20.90, 20.75, 20.75),
        *(21.00, 21.10, 20.90, 20.90, 21.25, 21.40, 21.40, 21.25, 21.75, 22.00),
    ]
    found = compute(bars_of({"close": closes}), ["historical_volatility", "historical_volatility_20_1"])
    assert found["historical_volatility"][:20].null_count() == 20
    assert found["historical_volatility"][20] == pytest.approx(19.3, abs=0.05)
    assert found["historical_volatility_20_1"][20] == pytest.approx(1.216, abs=0.0005)


@pytest.mark.data
def test_volatility_of_spy_equals_numpys_from_the_papers_formulas(sheet: pl.DataFrame) -> None:
    """Hull's, Parkinson's (1980) and Garman and Klass's (1980) as they are printed, over Excel's own rows."""
    found = compute(bars_of(sheet), ["historical_volatility", "parkinson", "garman_klass"])
    opened, high, low, close = (sheet[name].to_numpy() for name in ("open", "high", "low", "close"))
    up, down, end = np.log(high / opened), np.log(low / opened), np.log(close / opened)
    for t in (19, 20, 100, 300, 501):
        rows = slice(t - 19, t + 1)
        square = np.mean((up[rows] - down[rows]) ** 2)
        assert found["parkinson"][t] == pytest.approx(100 * math.sqrt(252 * square / (4 * math.log(2))), rel=1e-9)
        terms = 0.5 * (up[rows] - down[rows]) ** 2 - (2 * math.log(2) - 1) * end[rows] ** 2
        assert found["garman_klass"][t] == pytest.approx(100 * math.sqrt(252 * np.mean(terms)), rel=1e-9)
        if t > 19:
            changes = np.diff(np.log(close[t - 20 : t + 1]))
            deviation = 100 * math.sqrt(252) * np.std(changes, ddof=1)
            assert found["historical_volatility"][t] == pytest.approx(deviation, rel=1e-9)
    assert [found[name].null_count() for name in ("historical_volatility", "parkinson", "garman_klass")] == [20, 19, 19]


def test_range_estimators_find_the_volatility_of_a_random_walk() -> None:
    """What both papers prove: unbiased for a driftless walk. Constants wrong by a factor would show at once.

    A walk seen 2,000 times a day misses its true extremes by 0.5826 of a step at each end (Broadie, Glasserman
    and Kou 1997), put back here.
    """
    days, steps, sigma = 1000, 2000, 0.01
    walk = np.random.default_rng(7).normal(0, sigma / math.sqrt(steps), (days, steps)).cumsum(axis=1)
    missed = 0.5826 * sigma / math.sqrt(steps)
    high, low = np.maximum(walk.max(axis=1), 0) + missed, np.minimum(walk.min(axis=1), 0) - missed
    prices = {"open": np.ones(days), "high": np.exp(high), "low": np.exp(low), "close": np.exp(walk[:, -1])}
    names = ["parkinson_1000_1", "garman_klass_1000_1", "historical_volatility_999_1"]
    found = compute(bars_of(pl.DataFrame(prices)), names)
    assert found["parkinson_1000_1"][-1] == pytest.approx(100 * sigma, rel=0.03)
    assert found["garman_klass_1000_1"][-1] == pytest.approx(100 * sigma, rel=0.03)


@pytest.mark.data
def test_a_sample_deviation_is_the_populations_over_one_row_less(sheet: pl.DataFrame) -> None:
    found = sheet.select(volatility.stddev(pl.col("close"), 10, ddof=1)).to_series()
    same(found, sheet["stddev_pop_10"] * math.sqrt(10 / 9))


def test_where_nothing_moves() -> None:
    quiet = bars_of({"close": [13.81] * 60})
    moving = bars_of({"close": [100.0 + n % 7 for n in range(60)]})
    names = [*EXCEL, "keltner", "ulcer_index_14", "historical_volatility", "parkinson", "garman_klass"]
    both = pl.concat([moving, quiet.with_columns(pl.col("timestamp") + pl.duration(days=60))])
    for frame in (quiet, both):  # from the start, and after a time that moved
        last = compute(frame, names).row(-1, named=True)
        assert (last["bollinger_b"], last["bollinger_width"], last["stddev_10"]) == (0.5, 0, 0)
        assert (last["parkinson"], last["garman_klass"], last["historical_volatility"]) == (0, 0, 0)
        assert (last["ulcer_index_14"], last["true_range"]) == (0, 0)
        assert last["chop_14"] is None
        assert last["donchian_20_upper"] == last["donchian_20_lower"] == 13.81
    assert compute(quiet, names).row(-1, named=True)["keltner_upper"] == pytest.approx(13.81, rel=1e-15)

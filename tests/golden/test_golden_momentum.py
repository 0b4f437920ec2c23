"""Momentum against other people's numbers."""

from pathlib import Path

import polars as pl
import pytest

from tests.golden.references import Reference, TaLib, checks_of
from tests.golden.sheets import DEFAULTS, at_spots, bars_of, chartschool, near, quotes, same, spots
from transforms.catalogue import compute, momentum, oscillators
from transforms.indicators import momentum as formulas
from transforms.indicators import oscillators as ranges

CLOSE, HIGH, LOW, VOLUME = (pl.col(name) for name in ("close", "high", "low", "volume"))


@pytest.mark.data
@checks_of((*momentum.FAMILIES, *oscillators.FAMILIES))
def test_equals_what_others_have(name: str, column: str, reference: Reference, shared: Path) -> None:
    reference.check(name, column, shared)


@pytest.mark.data
def test_macd_with_ta_libs_seeds(sheet: pl.DataFrame) -> None:
    """Both averages start in row 25: apart from those of their own seeds at first (0.04 in row 33), then ever less."""
    theirs = sheet.select(**formulas.macd(CLOSE, seeds="together")._asdict())
    TaLib({33: 2.244479390749916, 34: 2.337384746620586, 60: 0.44229031817062037}).check_values(theirs["line"])
    TaLib({33: 1.6114185678801727, 34: 1.7566118036282554, 60: 0.7305960681154721}).check_values(theirs["signal"])
    TaLib({33: 0.6330608228697434, 60: -0.2883057499448517}).check_values(theirs["histogram"])
    assert theirs.select("fast", "slow", "line", "signal").null_count().row(0) == (25, 25, 25, 33)
    off = (theirs["line"] - sheet["macd_12_26"]).abs()
    assert off.arg_max() == 25
    assert 0.04 < off[33] < 0.043
    assert off[-1] < 1e-9


@pytest.mark.data
def test_ppo_is_made_of_excels_averages(sheet: pl.DataFrame) -> None:
    found = compute(bars_of(sheet), ["ppo"])
    same(found["ppo"], 100 * sheet["macd_12_26"] / sheet["ema_26"])
    same(found["ppo_fast"], sheet["ema_12"])
    same(found["ppo_slow"], sheet["ema_26"])


@pytest.mark.data
def test_ppo_of_volume_is_the_published_pvo(shared: Path) -> None:
    found = quotes(shared, "default").select(**formulas.ppo(VOLUME.cast(pl.Float64))._asdict())
    for line, name in (("line", "Pvo"), ("signal", "Signal"), ("histogram", "Histogram")):
        at_spots(found[line], spots(shared, "Pvo", name, DEFAULTS))


@pytest.mark.data
@pytest.mark.parametrize("name", ["ppo", "macd"])
def test_the_chartschools_sheets_start_from_the_first_close(name: str, shared: Path) -> None:
    """Their averages start from the first close: ours do so after a time at which it stood still."""
    sheet = chartschool(shared, f"cs-{name}")
    close = pl.concat([pl.Series([sheet["close"][0]] * 40), sheet["close"]])
    found = compute(bars_of({"close": close.to_list()}), [name])[40:]
    fast, slow, line, signal = sheet.columns[2:6]
    near(found[f"{name}_fast"], sheet[fast], 1e-6)
    near(found[f"{name}_slow"], sheet[slow], 1e-6)
    near(found[name], sheet[line], 1e-6)
    if name == "ppo":
        near(found["ppo_signal"], sheet[signal], 1e-6)
        near(found["ppo_histogram"], sheet["ppo_histogram"], 1e-6)
    else:  # its signal comes from rows that the sheet leaves out, and is forgotten by its end
        near(found["macd_signal"][-20:], sheet[signal][-20:], 1e-6)


@pytest.mark.data
def test_trix_with_ta_libs_seeds_differs_at_first_and_is_forgotten(sheet: pl.DataFrame) -> None:
    theirs = sheet.select(formulas.trix(CLOSE, 20, seed="mean")).to_series()
    assert theirs.null_count() == 58
    TaLib({58: 0.09613915649191451, 59: 0.09044563169127162, 60: 0.08541173128195911}).check_values(theirs)
    off = (theirs - sheet["trix_20"]).abs()
    assert off.max() > 0.001  # type: ignore[operator]
    assert off[-1] < 1e-9


@pytest.mark.data
def test_stochastic_of_the_rsi_in_the_chartschools_sheet(shared: Path) -> None:
    """Its RSI comes from rows that it leaves out, so that only the second step can be compared."""
    sheet = chartschool(shared, "cs-stochrsi").with_columns(pl.col("rsi").fill_null(50.0))
    strength = pl.col("rsi")
    found = sheet.select(ranges.stochastic(strength, strength, strength, 14, 1, 3).k).to_series()[27:]
    assert found.to_list() == pytest.approx((100 * sheet["stochrsi(14)"][27:]).to_list(), abs=1e-5)


@pytest.mark.data
def test_aroon_with_ta_libs_ties_differs_where_two_highs_or_lows_are_equal(sheet: pl.DataFrame) -> None:
    theirs = sheet.select(**ranges.aroon(HIGH, LOW, 25, ties="last")._asdict())
    for line, column, row, value in (("up", "aroon_up_25", 193, 100.0), ("down", "aroon_dn_25", 232, 52.0)):
        assert ((theirs[line] - sheet[column]).abs() > 1e-9).arg_true().to_list() == [row]
        assert theirs[line][row] == value


FLAT = {
    "stochastic_k": 50.0,
    "stochastic_d": 50.0,
    "stochastic_j": 50.0,
    "stoch_rsi_k": 50.0,
    "stoch_rsi_d": 50.0,
    "ppo": 0.0,
    "ppo_signal": 0.0,
    "ppo_histogram": 0.0,
    "roc_12": 0.0,
    "momentum_10": 0.0,
    "cci_20": 0.0,
    "williams_r_14": -50.0,
    "trix_15": 0.0,
    "tsi": 0.0,
    "tsi_signal": 0.0,
    "ultimate_oscillator": 50.0,
    "aroon_25_up": 0.0,
    "aroon_25_down": 0.0,
    "aroon_25_oscillator": 0.0,
    "awesome_oscillator": 0.0,
}
NAMES = ["stochastic", "stoch_rsi", "ppo", "roc_12", "momentum_10", "cci_20", "williams_r_14", "trix_15", "tsi"]
NAMES += ["ultimate_oscillator", "aroon_25", "awesome_oscillator"]
WINDOWED = ("stoch", "roc", "momentum", "cci", "williams", "ultimate", "aroon", "awesome")


def test_where_nothing_moves() -> None:
    last = compute(bars_of({"close": [13.81] * 90}), NAMES).row(-1, named=True)
    assert {column: last[column] for column in FLAT} == pytest.approx(FLAT, abs=1e-12)


def test_where_nothing_moves_any_more() -> None:
    """Rounding left over from before must not be taken for a range, or it would fill the whole scale."""
    moving = [100.0 + (n * n) % 11 / 7 for n in range(90)]
    last = compute(bars_of({"close": moving + [13.81] * 200}), NAMES).row(-1, named=True)
    wanted = {column: value for column, value in FLAT.items() if column.startswith(WINDOWED)}
    assert {column: last[column] for column in wanted} == pytest.approx(wanted, abs=1e-12)


def test_a_rise_without_a_fall_is_the_top_of_every_scale() -> None:
    rising = [100.0 + n for n in range(90)]
    last = compute(bars_of({"close": rising}), NAMES).row(-1, named=True)
    top = ("stochastic_k", "stochastic_d", "stochastic_j", "tsi", "tsi_signal", "ultimate_oscillator", "aroon_25_up")
    assert [last[column] for column in top] == pytest.approx([100.0] * len(top), rel=1e-12)
    assert (last["williams_r_14"], last["aroon_25_down"], last["momentum_10"]) == (0, 0, 10)
    assert last["stoch_rsi_k"] == 50  # the RSI stands at 100


def test_nothing_can_be_said_of_a_rate_of_change_from_0() -> None:
    closes = pl.DataFrame({"close": [0.0, 1.0, 2.0, 0.0, 0.0, 4.0]})
    assert closes.select(formulas.roc(CLOSE, 1)).to_series().to_list() == [None, None, 100.0, -100.0, None, None]
    nothing = pl.DataFrame({"close": [0.0] * 8})
    assert nothing.select(formulas.ppo(CLOSE, 2, 3, 2).line).to_series().null_count() == 8
    assert nothing.select(formulas.trix(CLOSE, 2)).to_series().null_count() == 8

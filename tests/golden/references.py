"""What each family of the catalogue is checked against: other people's numbers.

`CHECKS` is what test_golden_trend.py and test_golden_momentum.py are parametrised with, `ELSEWHERE` names the
tests of the other families. test_references.py holds the catalogue to both.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Protocol

import polars as pl
import pytest

from tests.golden.sheets import DEFAULTS, at_spots, bars_of, chartschool, quotes, same, spots, spy
from transforms.catalogue import compute
from transforms.catalogue.entry import Family


class Reference(Protocol):
    """Somebody else's values of one column of ours."""

    def check(self, name: str, column: str, shared: Path) -> None:
        """Fail unless `column` of the indicator `name` is what they have."""


@dataclass(frozen=True)
class Excel:
    """A whole column that Excel computed from two years of SPY, null rows included, to 1e-9."""

    column: str

    def check(self, name: str, column: str, shared: Path) -> None:
        sheet = spy(shared)
        assert len(sheet) == 502
        same(compute(bars_of(sheet), [name])[column], sheet[self.column])


@dataclass(frozen=True)
class Spots:
    """Every value that Stock.Indicators' own tests assert, to the digits they give."""

    indicator: str
    fields: str
    test: str = DEFAULTS

    def check(self, name: str, column: str, shared: Path) -> None:
        found = compute(bars_of(quotes(shared, "default")), [name])[column]
        for one in self.fields.split():
            at_spots(found, spots(shared, self.indicator, one, self.test))


@dataclass(frozen=True)
class School:
    """A column of a sheet of StockCharts' ChartSchool, to the last digit that it keeps.

    Some sheets say no close in the rows before the first value; any stands in for it. `skip`: rows at the top
    whose values are made of rows that the sheet does not have.
    """

    sheet: str
    column: str
    within: float
    skip: int = 0

    def check(self, name: str, column: str, shared: Path) -> None:
        sheet = chartschool(shared, self.sheet)
        whole = sheet.with_columns(pl.col("close").fill_null(pl.col("high"))) if "high" in sheet.columns else sheet
        known = pl.col("theirs").is_not_null()
        pairs = pl.DataFrame({"ours": compute(bars_of(whole), [name])[column], "theirs": sheet[self.column]})[
            self.skip :
        ]
        assert len(pairs.filter(known)) >= 2
        assert pairs.filter(known)["ours"].null_count() == 0
        off = pairs.filter(known).select((pl.col("ours") - pl.col("theirs")).abs().max()).item()
        assert off <= self.within


@dataclass(frozen=True)
class TaLib:
    """Row -> value that TA-Lib 0.8.1 gives for the same two years of SPY, to 1e-11."""

    values: Mapping[int, float] = field(hash=False)

    def check(self, name: str, column: str, shared: Path) -> None:
        self.check_values(compute(bars_of(spy(shared)), [name])[column])

    def check_values(self, found: pl.Series) -> None:
        assert [found[row] for row in self.values] == pytest.approx([*self.values.values()], rel=1e-11)


Check = tuple[str, str, Reference]
"""Name of an indicator, one of its columns, and who has it too."""

CHECKS: dict[str, tuple[Check, ...]] = {
    "sma": (("sma_20", "sma_20", Excel("sma_20")), ("sma_20", "sma_20", Spots("Sma", "Sma"))),
    "ema": (
        ("ema_20", "ema_20", Excel("ema_20")),
        ("ema_12", "ema_12", Excel("ema_12")),
        ("ema_20", "ema_20", Spots("Ema", "Ema")),
    ),
    "wma": (
        ("wma_20", "wma_20", Spots("Wma", "Wma")),
        ("wma_20", "wma_20", TaLib({19: 214.88961904761908, 60: 223.42504761904797, 501: 246.51104761904756})),
        ("wma_9", "wma_9", School("cs-wma", "wma", 1e-4, skip=8)),
    ),
    "dema": (
        ("dema_20", "dema_20", Excel("dema.dema")),
        ("dema_20", "dema_20", Spots("Dema", "Dema")),
    ),
    "tema": (
        ("tema_20", "tema_20", Excel("tema.tema")),
        ("tema_20", "tema_20", Spots("Tema", "Tema")),
    ),
    "hma": (
        ("hma_20", "hma_20", Spots("Hma", "Hma")),
        ("hma_20", "hma_20", Spots("MaEnvelopes", "Centerline", "Hma_AsMaType_ReturnsExpectedResult")),
    ),
    "kama": (
        ("kama", "kama", Excel("kama_10_2_30")),
        ("kama", "kama", Spots("Kama", "Kama")),
        ("kama", "kama", School("cs-kama", "kama", 1e-6)),
        ("kama", "kama", TaLib({10: 213.77131601508916, 60: 223.80290860805795, 501: 240.1137540707837})),
    ),
    "vwma": (("vwma_10", "vwma_10", Excel("vwma_10")), ("vwma_10", "vwma_10", Spots("Vwma", "Vwma"))),
    "rsi": (("rsi_14", "rsi_14", Excel("rsi_14")), ("rsi_14", "rsi_14", Spots("Rsi", "Rsi"))),
    "macd": (
        ("macd", "macd", Excel("macd_12_26")),
        ("macd", "macd_signal", Excel("macd_signal_9")),
        ("macd", "macd_histogram", Excel("macd_hist")),
        ("macd", "macd_fast", Spots("Macd", "FastEma")),
        ("macd", "macd_slow", Spots("Macd", "SlowEma")),
    ),
    "roc": (
        ("roc_20", "roc_20", Excel("roc_20")),
        ("roc_20", "roc_20", Spots("Roc", "Roc")),
        ("roc_12", "roc_12", School("cs-roc", "roc", 1e-8)),
    ),
    "ppo": (("ppo", "ppo", TaLib({25: 0.40997152991725544, 60: 0.19825585260105932, 501: -2.470952770377294})),),
    "momentum": (
        ("momentum_20", "momentum_20", Excel("mom_20")),
        ("momentum_20", "momentum_20", Spots("Roc", "Momentum")),
    ),
    "trix": (
        ("trix_20", "trix_20", Excel("trix_20")),
        ("trix_20", "trix_20", Spots("Trix", "Trix")),
        ("trix_20", "trix_20_thrice", Spots("Trix", "Ema3")),
    ),
    "tsi": (
        ("tsi", "tsi", Excel("tsi.TSI")),
        ("tsi", "tsi_signal", Excel("tsi.signal")),
        ("tsi", "tsi", Spots("Tsi", "Tsi")),
        ("tsi", "tsi_signal", Spots("Tsi", "Signal")),
        ("tsi", "tsi", School("cs-tsi", "tsi", 0.02)),  # it rounds the weights to four digits
    ),
    "stochastic": (
        ("stochastic", "stochastic_k", Excel("stoch_k_14_3")),
        ("stochastic", "stochastic_d", Excel("stoch_d_3")),
        ("stochastic", "stochastic_j", Excel("stoch_j")),
        ("stochastic_14_1_3", "stochastic_14_1_3_k", Excel("stoch_raw_k_14")),
        ("stochastic_14_1_3", "stochastic_14_1_3_k", School("cs-soo", "so", 1e-5)),
        ("stochastic_14_1_3", "stochastic_14_1_3_d", School("cs-soo", "so_sig", 1e-5)),
        ("stochastic", "stochastic_k", Spots("Stoch", "Oscillator K")),
        ("stochastic", "stochastic_d", Spots("Stoch", "Signal D")),
        ("stochastic", "stochastic_j", Spots("Stoch", "PercentJ J")),
        *(
            ("stochastic_5_1_10", f"stochastic_5_1_10_{line}", Spots("Stoch", name, test))
            for line, name in (("k", "Oscillator"), ("d", "Signal"))
            for test in ["Fast_WithSmoothPeriodOne_ReturnsFastStochastic"]
        ),
    ),
    "stoch_rsi": (
        ("stoch_rsi", "stoch_rsi_k", Excel("stochrsi_14_14")),
        ("stoch_rsi", "stoch_rsi_d", Excel("stochrsi_sig_3")),
        ("stoch_rsi_14_14_1_3", "stoch_rsi_14_14_1_3_k", Spots("StochRsi", "StochRsi")),
        ("stoch_rsi_14_14_1_3", "stoch_rsi_14_14_1_3_d", Spots("StochRsi", "Signal")),
        (
            "stoch_rsi",
            "stoch_rsi_k",
            Spots("StochRsi", "StochRsi", "SlowRsi_WithLargerSmoothPeriods_ReturnsExpectedResult"),
        ),
        (
            "stoch_rsi",
            "stoch_rsi_d",
            Spots("StochRsi", "Signal", "SlowRsi_WithLargerSmoothPeriods_ReturnsExpectedResult"),
        ),
        (
            "stoch_rsi_14_14_1_3",
            "stoch_rsi_14_14_1_3_k",
            TaLib({29: 100.0, 60: 56.456889322926976, 501: 97.52435126950256}),
        ),
    ),
    "williams_r": (
        ("williams_r_14", "williams_r_14", Excel("willr_14")),
        ("williams_r_14", "williams_r_14", Spots("WilliamsR", "WilliamsR")),
        ("williams_r_14", "williams_r_14", School("cs-percentr", "williams_%r", 1e-5)),
    ),
    "cci": (
        ("cci_20", "cci_20", Spots("Cci", "Cci")),
        ("cci_20", "cci_20", School("cs-cci", "cci", 1e-4)),
        ("cci_20", "cci_20", TaLib({19: 18.39120471093807, 60: 15.264765898919869, 501: -52.994565946990484})),
    ),
    "ultimate_oscillator": (
        ("ultimate_oscillator", "ultimate_oscillator", Excel("uo_7_14_28")),
        ("ultimate_oscillator", "ultimate_oscillator", Spots("Ultimate", "Ultimate")),
        ("ultimate_oscillator", "ultimate_oscillator", School("cs-ultosc", "ult_osc", 1e-6)),
    ),
    "aroon": (
        ("aroon_25", "aroon_25_up", Excel("aroon_up_25")),
        ("aroon_25", "aroon_25_down", Excel("aroon_dn_25")),
        ("aroon_25", "aroon_25_oscillator", Excel("aroon_osc_25")),
    ),
    "awesome_oscillator": (("awesome_oscillator", "awesome_oscillator", Spots("Awesome", "Oscillator")),),
}
"""Family -> what is checked of it."""


def checks_of(families: Iterable[Family]) -> pytest.MarkDecorator:
    """Parametrise with every check of these families."""
    checks = [check for family in families for check in CHECKS.get(family.name, ())]
    ids = [f"{column}-{reference}" for _, column, reference in checks]
    return pytest.mark.parametrize(("name", "column", "reference"), checks, ids=ids)


_IN_TABLES = "test_two_years_of_spy_equal_the_spreadsheet"

ELSEWHERE: dict[str, tuple[str, str]] = {
    "bollinger": ("indicators", _IN_TABLES),
    "atr": ("indicators", _IN_TABLES),
    "vwap": ("indicators", "test_vwap_of_a_session_equals_the_spreadsheet"),
    "bollinger_b": ("volatility", _IN_TABLES),
    "bollinger_width": ("volatility", _IN_TABLES),
    "true_range": ("volatility", _IN_TABLES),
    "natr": ("volatility", _IN_TABLES),
    "donchian": ("volatility", _IN_TABLES),
    "stddev": ("volatility", _IN_TABLES),
    "chop": ("volatility", _IN_TABLES),
    "keltner": ("volatility", "test_keltner_is_made_of_excels_averages_and_equals_the_published_values"),
    "ulcer_index": ("volatility", "test_ulcer_index_equals_the_chartschool_and_the_published_value"),
    "historical_volatility": ("volatility", "test_historical_volatility_equals_hulls_example"),
    "parkinson": ("volatility", "test_volatility_of_spy_equals_numpys_from_the_papers_formulas"),
    "garman_klass": ("volatility", "test_volatility_of_spy_equals_numpys_from_the_papers_formulas"),
    "adx": ("strength", _IN_TABLES),
    "adxr": ("strength", _IN_TABLES),
    "vortex": ("strength", _IN_TABLES),
    "psar": ("strength", "test_psar_of_wilders_own_example"),
    "supertrend": ("strength", "test_supertrend_equals_the_published_values"),
    "ichimoku": ("strength", "test_ichimoku_equals_the_published_values"),
    "obv": ("volume", _IN_TABLES),
    "adl": ("volume", _IN_TABLES),
    "cmf": ("volume", _IN_TABLES),
    "mfi": ("volume", _IN_TABLES),
    "ease_of_movement": ("volume", "test_the_chartschools_sheets"),
    "vpt": ("volume", "test_the_chartschools_sheets"),
    "rolling_vwap": ("volume", "test_the_chartschools_sheets"),
    "anchored_vwap": ("volume", "test_vwap_anchored_at_ten_equals_the_spreadsheet"),
    "force_index": ("volume", "test_force_index_and_chaikin_oscillator_equal_the_published_values"),
    "chaikin_oscillator": ("volume", "test_force_index_and_chaikin_oscillator_equal_the_published_values"),
    "zscore": ("statistics", "test_zscore_equals_excels"),
    "beta": ("statistics", "test_beta_equals_excels"),
    "correlation": ("statistics", "test_correlation_of_prices_equals_excels"),
    "sharpe": ("statistics", "test_sharpe_of_the_textbooks_standard_deviation"),
    "drawdown": ("statistics", "test_drawdown_equals_the_chartschools"),
    "max_drawdown": ("statistics", "test_maximum_drawdown_of_investopedias_example"),
}
"""Family -> the test of tests/golden/test_golden_*.py that compares it with somebody else's values."""


def compared(module: ModuleType, test: str) -> str:
    """The text of a test, and of the tables that it is parametrised with."""
    function = getattr(module, test)
    tables = [mark.args[1] for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    return inspect.getsource(function) + " ".join(f'"{name}"' for table in tables for name in table)

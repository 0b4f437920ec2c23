"""Statistics against other people's numbers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.golden.sheets import bars_of, chartschool, near, quotes, same
from transforms.catalogue import compute
from transforms.indicators import statistics


@pytest.fixture(scope="module")
def pair(sheet: pl.DataFrame, shared: Path) -> pl.DataFrame:
    """The second asset, with SPY as its benchmark: what Excel's beta is of."""
    return bars_of(quotes(shared, "compare")).with_columns(benchmark=sheet["close"])


@pytest.mark.data
def test_zscore_equals_excels(sheet: pl.DataFrame) -> None:
    same(compute(bars_of(sheet), ["zscore_10"])["zscore_10"], sheet["zscore_10"])


@pytest.mark.data
def test_beta_equals_excels(pair: pl.DataFrame, sheet: pl.DataFrame) -> None:
    same(compute(pair, ["beta_20"])["beta_20"], sheet["beta_20_compare_vs_default"])


@pytest.mark.data
def test_correlation_of_prices_equals_excels(pair: pl.DataFrame, sheet: pl.DataFrame) -> None:
    expr = statistics.correlation(pl.col("close"), pl.col("benchmark"), 20)
    same(pair.select(expr).to_series(), sheet["corr_20_compare_vs_default"])


@pytest.mark.data
def test_correlation_and_sharpe_equal_numpys_over_excels_returns(pair: pl.DataFrame, sheet: pl.DataFrame) -> None:
    found = compute(pair, ["correlation_20", "sharpe_10"])
    own, market = (sheet[name].cast(pl.Float64).to_numpy() for name in ("ret_eval", "ret_mkt"))
    for t in (20, 100, 300, 501):
        rows = slice(t - 19, t + 1)
        assert found["correlation_20"][t] == pytest.approx(np.corrcoef(own[rows], market[rows])[0, 1], rel=1e-9)
        last = own[t - 9 : t + 1]
        assert found["sharpe_10"][t] == pytest.approx(last.mean() / last.std(ddof=0), rel=1e-9)
    assert (found["correlation_20"].null_count(), found["sharpe_10"].null_count()) == (20, 10)


def test_sharpe_of_the_textbooks_standard_deviation() -> None:
    """Wikipedia's example of a population deviation: 2, 4, 4, 4, 5, 5, 7, 9 have mean 5 and deviation 2."""
    closes = [100.0]
    for percent in (2, 4, 4, 4, 5, 5, 7, 9):
        closes.append(closes[-1] * (1 + percent / 100))
    found = compute(bars_of({"close": closes}), ["sharpe_8"])["sharpe_8"]
    assert found.to_list() == [None] * 8 + [pytest.approx(2.5)]


@pytest.mark.data
def test_drawdown_equals_the_chartschools(shared: Path) -> None:
    rows = chartschool(shared, "cs-ui")
    found = compute(bars_of(rows), ["drawdown", "max_drawdown"])
    near(found["drawdown"], rows["percent_drawdown"], 1e-9)
    assert found["max_drawdown"][-1] == pytest.approx(rows["percent_drawdown"].cast(pl.Float64).min(), rel=1e-9)


def test_maximum_drawdown_of_investopedias_example() -> None:
    """500,000 grows to 750,000, falls to 400,000, recovers to 600,000, falls to 350,000: 53.33 % below its peak."""
    values = [500.0, 750.0, 400.0, 600.0, 350.0, 800.0]
    found = compute(bars_of({"close": values}), ["drawdown", "max_drawdown"])
    assert found["max_drawdown"].round(2).to_list() == [0, 0, -46.67, -46.67, -53.33, -53.33]
    assert found["drawdown"][-1] == 0


def test_where_nothing_varies() -> None:
    """A flat series, one that grows by the same share each day, and one that rested after it moved."""
    names = ["zscore_20", "beta_20", "correlation_20", "sharpe_20", "drawdown", "max_drawdown"]
    moving = [100.0 + n % 7 for n in range(60)]
    steady = [100 * 1.01**n for n in range(60)]
    for still in ([13.81] * 60, steady, [*moving[:30], *[13.81] * 30]):
        bars = bars_of({"close": still}).with_columns(benchmark=pl.Series(moving))
        last = compute(bars, names).row(-1, named=True)
        assert (last["correlation_20"], last["sharpe_20"]) == (None, None)
        assert last["beta_20"] == pytest.approx(0, abs=1e-12)
        other = bars_of({"close": moving}).with_columns(benchmark=pl.Series(still))
        last = compute(other, names).row(-1, named=True)
        assert (last["beta_20"], last["correlation_20"]) == (None, None)
    last = compute(bars_of({"close": [13.81] * 60}), ["zscore_20", "drawdown", "max_drawdown"]).row(-1, named=True)
    assert (last["zscore_20"], last["drawdown"], last["max_drawdown"]) == (0, 0, 0)


def test_a_series_is_its_own_benchmark() -> None:
    closes = [100.0 + (n * n) % 11 for n in range(60)]
    bars = bars_of({"close": closes}).with_columns(benchmark=pl.Series(closes) * 3)
    found = compute(bars, ["beta_20", "correlation_20"])
    assert found["beta_20"][20:].to_list() == pytest.approx([1.0] * 40, rel=1e-12)
    assert found["correlation_20"][20:].to_list() == pytest.approx([1.0] * 40, rel=1e-12)

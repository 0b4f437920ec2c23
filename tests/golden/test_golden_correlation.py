"""Correlation against SciPy and statsmodels: coefficients, standard errors, adjusted p-values, display order."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from transforms.correlation import benjamini_hochberg, correlation_matrix, display_order
from transforms.correlation.estimate import Estimate, packed, pearson, spearman
from transforms.correlation.inference import bandwidths, infer, long_run_variance


def series(seed: int, n: int = 150, ties: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Autocorrelated sides that are related; about half of x is 0, as half of all scores are."""
    draw = np.random.default_rng(seed)
    shocks = draw.standard_normal((2, n))
    x, y = np.zeros(n), np.zeros(n)
    for t in range(1, n):
        x[t] = 0.6 * x[t - 1] + shocks[0, t]
        y[t] = 0.5 * y[t - 1] + 0.4 * shocks[0, t] + shocks[1, t]
    x[draw.random(n) < ties] = 0.0
    return x, y


def alone(estimate: Estimate) -> np.ndarray:
    return estimate.psi[0]


def row(values: np.ndarray) -> np.ndarray:
    return values[None, :]


@pytest.mark.parametrize("seed", range(5))
def test_coefficients_are_scipys_with_ties(seed: int) -> None:
    x, y = series(seed)
    present = np.ones((1, len(x)), dtype=bool)
    assert pearson(row(x), row(y), present).r[0] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-13)
    assert spearman(row(x), row(y), present).r[0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-13)


@pytest.mark.parametrize("method", [pearson, spearman])
def test_missing_pairs_are_as_if_they_had_never_been(method: object) -> None:
    assert callable(method)
    x, y = series(1)
    holes = np.random.default_rng(0).random(len(x)) < 0.3
    gaps = np.where(holes, np.nan, x)
    found = method(*packed(row(gaps), row(y)))
    n = np.array([(~holes).sum()])
    dense = method(*packed(row(x[~holes]), row(y[~holes])))
    assert found.r == pytest.approx(dense.r, abs=1e-13)
    assert found.psi[0, : n[0]] == pytest.approx(dense.psi[0], abs=1e-13)
    assert infer(found, n).p == pytest.approx(infer(dense, n).p, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_influence_functions_are_the_derivatives_of_the_coefficients(seed: int) -> None:
    """Leave one pair out: (n - 1) * (r - r without it) is its influence, up to terms in 1/n."""
    x, y = series(seed, 400)
    present = np.ones((1, len(x)), dtype=bool)
    for method, scipys in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        found = method(row(x), row(y), present)
        left_out = np.array([scipys(np.delete(x, i), np.delete(y, i)).statistic for i in range(0, len(x), 7)])
        jackknife = (len(x) - 1) * (found.r[0] - left_out)
        assert alone(found)[::7] == pytest.approx(jackknife, abs=0.03 * np.abs(jackknife).max())


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_spearmans_influence_has_the_variance_that_scipys_rho_shows(rho: float) -> None:
    """Over 3,000 samples of 250 normal pairs, against the influence in one of 20,000.

    At 0.8 the influence of Pearson's r of the ranks, as if these were given, would miss it by a tenth.
    """
    draw = np.random.default_rng(11)

    def pairs(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        x, e = draw.standard_normal((2, *shape))
        return x, rho * x + math.sqrt(1 - rho**2) * e

    ranks = [stats.rankdata(side, axis=1) - 125.5 for side in pairs(3_000, 250)]
    found = (ranks[0] * ranks[1]).sum(axis=1) / (ranks[0] ** 2).sum(axis=1)
    x, y = pairs(1, 20_000)
    assert (alone(spearman(x, y, np.ones(x.shape, dtype=bool))) ** 2).mean() == pytest.approx(
        250 * found.var(), rel=0.08
    )


@pytest.mark.parametrize("bandwidth", [0, 1, 4, 12])
def test_long_run_variance_is_statsmodels(bandwidth: int) -> None:
    linear = pytest.importorskip("statsmodels.regression.linear_model")
    x, y = series(2)
    psi = pearson(row(x), row(y), np.ones((1, len(x)), dtype=bool)).psi
    n = np.array([len(x)])
    ours = math.sqrt(long_run_variance(psi, n, np.array([bandwidth]))[0] / len(x))
    fitted = linear.OLS(psi[0], np.ones(len(x))).fit(
        cov_type="HAC", cov_kwds={"maxlags": bandwidth, "use_correction": False}
    )
    assert ours == pytest.approx(fitted.bse[0], rel=1e-10)


def test_the_bandwidth_is_andrews_for_the_first_autocorrelation() -> None:
    tools = pytest.importorskip("statsmodels.tsa.stattools")
    draw = np.random.default_rng(5)
    psi = np.zeros(300)
    for t in range(1, 300):
        psi[t] = 0.7 * psi[t - 1] + draw.standard_normal()
    psi -= psi.mean()
    rho = tools.acf(psi, nlags=1)[1]
    a = 4 * rho**2 / ((1 - rho) ** 2 * (1 + rho) ** 2)
    assert bandwidths(row(psi), np.array([300])).tolist() == [math.floor(1.1447 * (a * 300) ** (1 / 3))]
    assert bandwidths(np.zeros((1, 5)), np.array([5])).tolist() == [0]


def test_without_autocorrelation_the_interval_is_nearly_fishers() -> None:
    """Independent normal pairs: SciPy's interval, and n_effective near n."""
    draw = np.random.default_rng(8)
    for rho in (0.0, 0.6):
        x, e = draw.standard_normal((2, 20_000))
        y = rho * x + math.sqrt(1 - rho**2) * e
        sure = infer(pearson(row(x), row(y), np.ones((1, 20_000), dtype=bool)), np.array([20_000]))
        fisher = stats.pearsonr(x, y).confidence_interval(0.95)
        assert (sure.low[0], sure.high[0]) == (
            pytest.approx(fisher.low, abs=5e-3),
            pytest.approx(fisher.high, abs=5e-3),
        )
        assert sure.n_effective[0] == pytest.approx(20_000, rel=0.08)


def test_moods_that_last_count_for_less() -> None:
    draw = np.random.default_rng(9)
    shocks = draw.standard_normal((2, 1_000))
    sides = np.zeros((2, 1_000))
    for t in range(1, 1_000):
        sides[:, t] = 0.8 * sides[:, t - 1] + shocks[:, t]
    sure = infer(pearson(row(sides[0]), row(sides[1]), np.ones((1, 1_000), dtype=bool)), np.array([1_000]))
    independent = 1_000 * (1 - 0.64) / (1 + 0.64)  # Bartlett's n (1 - ab) / (1 + ab) for two AR(1)
    assert sure.n_effective[0] == pytest.approx(independent, rel=0.35)
    assert sure.p[0] > stats.pearsonr(*sides).pvalue


def test_adjusted_p_values_are_scipys() -> None:
    draw = np.random.default_rng(0)
    p = np.concatenate([draw.random(300), draw.random(40) ** 6, [0.0, 0.0, 1.0], np.full(5, 0.04)])
    draw.shuffle(p)
    found = pl.DataFrame({"p": p}).select(benjamini_hochberg(pl.col("p"))).to_series().to_numpy()
    assert found == pytest.approx(stats.false_discovery_control(p, method="bh"), abs=1e-15)


def test_the_order_of_display_is_scipys_tree() -> None:
    draw = np.random.default_rng(4)
    values = draw.standard_normal((200, 3))[:, np.arange(15) % 3] + draw.standard_normal((200, 15))
    r = correlation_matrix(values, 20)
    distance = squareform(np.round(1 - np.corrcoef(values.T), 12), checks=False)
    tree = hierarchy.linkage(distance, "average", optimal_ordering=True)
    assert display_order(r) == hierarchy.leaves_list(tree).tolist()

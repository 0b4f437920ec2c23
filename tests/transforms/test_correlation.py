"""How sentiment and return move together."""

import random
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import pearsonr, spearmanr

from transforms.correlation import (
    CORRELATIONS,
    LEAST_FOR_INFERENCE,
    ROLLING,
    MissingSentiment,
    benjamini_hochberg,
    correlations,
    daily_pairs,
    daily_returns,
    findings,
    rolling_correlations,
)
from transforms.errors import ConfigurationError

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(60)]
MEASURED = ["n_effective", "p", "ci_low", "ci_high"]


def closes(**symbols: list[float]) -> pl.LazyFrame:
    rows = [(s, day, close) for s, some in symbols.items() for day, close in zip(DAYS, some, strict=False)]
    return pl.LazyFrame(rows, schema={"symbol": pl.String, "session": pl.Date, "close": pl.Float64}, orient="row")


def scores(**symbols: dict[int, float]) -> pl.LazyFrame:
    rows = [(s, DAYS[n], score, 3) for s, some in symbols.items() for n, score in some.items()]
    schema = {"symbol": pl.String, "session": pl.Date, "mean_score": pl.Float64, "count": pl.Int64}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def paired(
    prices: dict[str, list[float]], moods: dict[str, dict[int, float]], missing: MissingSentiment = "leave_out"
) -> pl.LazyFrame:
    return daily_pairs(daily_returns(closes(**prices)), scores(**moods), missing)


def test_returns_start_with_the_second_bar_of_each_symbol() -> None:
    found = daily_returns(closes(A=[100.0, 110.0, 99.0], B=[5.0, 5.0])).collect()["return_1d"].to_list()
    assert found == [None, pytest.approx(0.1), pytest.approx(-0.1), None, 0.0]


@pytest.mark.parametrize(("missing", "mean"), [("leave_out", None), ("zero", 0.0)])
def test_a_session_without_a_mention_has_count_zero(missing: MissingSentiment, mean: float | None) -> None:
    pairs = daily_pairs(daily_returns(closes(A=[1.0, 2.0])), scores(A={1: 0.5}, B={0: 1.0}), missing).collect()
    assert pairs["sentiment_mean"].to_list() == [mean, 0.5]
    assert pairs["sentiment_count"].to_list() == [0, 3]
    assert pairs["return_1d"].to_list() == [None, 1.0]


def test_the_change_is_since_the_newest_session_with_a_mention() -> None:
    moods = {"A": {1: 0.5, 2: 0.75, 5: 0.25}, "B": {0: 1.0, 1: 0.5}}
    prices = {"A": [1.0] * 7, "B": [1.0] * 2}
    assert paired(prices, moods).collect()["sentiment_change"].to_list() == [
        *(None, None, 0.25, None, None, -0.5, None),
        *(None, -0.5),
    ]
    zero = paired(prices, moods, "zero").collect()["sentiment_change"].to_list()
    assert zero == [None, 0.5, 0.25, -0.75, 0.0, 0.25, -0.25, None, -0.5]


def market(seed: int = 1) -> tuple[dict[str, list[float]], dict[str, dict[int, float]]]:
    """Three symbols with many equal scores; the return of A follows its sentiment two sessions later."""
    draw = random.Random(seed)
    mood = {n: round(draw.uniform(-1, 1), 1) for n in range(60) if n % 7}
    prices: dict[str, list[float]] = {"A": [100.0], "B": [50.0], "C": [10.0] * 60}
    for n in range(1, 60):
        prices["A"].append(prices["A"][-1] * (1 + 0.01 * mood.get(n - 2, 0.0)))
        prices["B"].append(prices["B"][-1] * (1 + draw.uniform(-0.02, 0.02)))
    return prices, {"A": mood, "B": {n: draw.choice([0.0, draw.uniform(-1, 1)]) for n in range(0, 60, 2)}, "C": mood}


def by_hand(close: list[float], mood: dict[int, float], lag: int) -> tuple[list[float], list[float], list[int]]:
    """Sentiment, return and the later session of each pair."""
    sample = [n for n in mood if n < len(close) and 1 <= n + lag < len(close)]
    returns = [close[n + lag] / close[n + lag - 1] - 1 for n in sample]
    return [mood[n] for n in sample], returns, [max(n, n + lag) for n in sample]


@pytest.mark.parametrize("missing", ["leave_out", "zero"])
@pytest.mark.parametrize("lag", [-5, -1, 0, 1, 2, 5])
def test_r_is_scipys_on_pairs_joined_by_hand(lag: int, missing: MissingSentiment) -> None:
    prices, moods = market()
    found = correlations(paired(prices, moods, missing), [lag], 3).collect()
    for symbol in ("A", "B"):
        mood = moods[symbol] if missing == "leave_out" else {n: moods[symbol].get(n, 0.0) for n in range(60)}
        change = dict(zip(list(mood)[1:], np.diff(list(mood.values())).tolist(), strict=True))
        for x, series in (("sentiment_mean", mood), ("sentiment_change", change)):
            sides = by_hand(prices[symbol], series, lag)
            for method, scipys in (("pearson", pearsonr), ("spearman", spearmanr)):
                (row,) = found.filter(symbol=symbol, x=x, method=method).rows(named=True)
                assert row["r"] == pytest.approx(scipys(*sides[:2]).statistic, abs=1e-12), (symbol, x, method)
                assert (row["n"], row["session"]) == (len(sides[0]), DAYS[max(sides[2])])


def test_a_planted_lead_of_two_sessions_is_found_at_lag_two() -> None:
    found = correlations(paired(*market()), range(-5, 6), 20).filter(pl.col("symbol") == "A").collect()
    assert found.schema == CORRELATIONS
    surest = found.filter(pl.col("r") > 0.99)
    assert surest.select("x", "lag").unique().rows() == [("sentiment_mean", 2)]
    assert found.select("x", "lag", "method").rows() == [
        (x, lag, method)
        for x in ("sentiment_change", "sentiment_mean")
        for lag in range(-5, 6)
        for method in ("pearson", "spearman")
    ]
    assert found.select("symbol", "y", "window").unique().rows() == [("A", "return_1d", 0)]


def test_where_one_side_never_varies_there_is_no_r_but_a_count() -> None:
    prices, moods = market()
    flat = {"C": [0.1 * 1.5**n for n in range(1, 61)]}  # returns of 0.5, up to rounding
    same = {"C": dict.fromkeys(range(60), 0.1)}
    for close, mood in ((prices, moods), (flat, same)):
        found = correlations(paired({"C": close["C"]}, {"C": mood["C"]}), [0], 3).collect()
        assert found["r"].to_list() == [None] * 4
        assert found["n"].min() > 40  # type: ignore[operator]
        assert found.select(MEASURED).null_count().row(0) == (4, 4, 4, 4)


def test_a_sample_that_is_too_small_gives_no_row() -> None:
    pairs = paired({"A": [1.0, 2.0, 3.0, 5.0]}, {"A": {1: 0.1, 2: 0.2, 3: 0.4}})
    assert correlations(pairs, [0], 3).collect()["n"].to_list() == [3, 3]  # the change has one pair less
    assert correlations(pairs, [0], 4).collect().is_empty()
    for none in (correlations(pairs, [], 3), correlations(pairs.clear(), [0], 3), correlations(pairs, [9], 1)):
        assert none.collect().schema == CORRELATIONS
        assert none.collect().is_empty()


def test_few_pairs_have_an_r_and_nothing_to_say_how_sure_it_is() -> None:
    prices, moods = market(3)
    some = {"B": dict(list(moods["B"].items())[:-9])}
    found = correlations(paired({"B": prices["B"]}, some), range(-3, 4), 3).collect()
    assert found["n"].min() < LEAST_FOR_INFERENCE <= found["n"].max()  # type: ignore[operator]
    for column in MEASURED:
        assert found[column].is_null().to_list() == (found["n"] < LEAST_FOR_INFERENCE).to_list()
    assert found["r"].null_count() == 0


def test_a_perfect_relation_has_no_scatter_to_judge_by() -> None:
    steps = [0.01 * (n % 7 - 3) for n in range(60)]
    prices = {"A": np.cumprod([1 + step for step in steps]).tolist()}
    found = correlations(paired(prices, {"A": dict(enumerate(steps))}), [0], 20).collect()
    (row,) = found.filter(x="sentiment_mean", method="spearman").rows(named=True)
    assert (row["r"], row["p"], row["ci_low"], row["ci_high"], row["n_effective"]) == (1, 0, 1, 1, None)


def test_many_symbols_at_once_equal_one_by_one() -> None:
    pairs = paired(*market(2))
    alone = [correlations(pairs.filter(pl.col("symbol") == s), [0, 3, -2], 3).collect() for s in "ABC"]
    assert_frame_equal(correlations(pairs, [0, 3, -2], 3).collect(), pl.concat(alone))


def test_p_and_the_interval_say_the_same() -> None:
    found = correlations(paired(*market(4)), range(-5, 6), 20).drop_nulls("p").filter(pl.col("r").abs() < 1).collect()
    assert found.filter((pl.col("ci_low") >= pl.col("r")) | (pl.col("r") >= pl.col("ci_high"))).is_empty()
    outside = (found["ci_low"] > 0) | (found["ci_high"] < 0)
    assert (found["p"] < 0.05).to_list() == outside.to_list()
    assert outside.any()
    assert not outside.all()


# ---- rolling


def numpys(pairs: pl.DataFrame, symbol: str, rule: tuple[int, int, int]) -> list[tuple[date, int, float, float]]:
    """Window by window with SciPy: session, n, Pearson's r, Spearman's r."""
    window, lag, min_n = rule
    rows = pairs.filter(symbol=symbol)
    x, y = rows["sentiment_mean"].to_list(), rows["return_1d"].to_list()
    found = []
    for end in range(window - 1, len(x)):
        inside = [(x[t - max(lag, 0)], y[t - max(-lag, 0)]) for t in range(end - window + 1, end + 1) if t >= abs(lag)]
        sample = [(a, b) for a, b in inside if a is not None and b is not None]
        if len(sample) < min_n:
            continue
        a, b = map(np.array, zip(*sample, strict=True))
        varies = np.ptp(a) > 1e-13 and np.ptp(b) > 1e-13
        both = (pearsonr(a, b).statistic, spearmanr(a, b).statistic) if varies else (np.nan, np.nan)
        found.append((rows["session"][end], len(sample), *both))
    return found


@pytest.mark.parametrize("lag", [-2, 0, 1])
@pytest.mark.parametrize("window", [5, 20])
def test_each_window_is_scipys_on_its_pairs(window: int, lag: int) -> None:
    pairs = paired(*market(5))
    found = rolling_correlations(pairs, [lag], [window], 4).collect()
    assert found.schema == ROLLING
    for symbol in "ABC":
        mine = found.filter(symbol=symbol)
        theirs = numpys(pairs.collect(), symbol, (window, lag, 4))
        assert mine.select("session", "n").rows() == [row[:2] for row in theirs]
        assert mine["window"].unique().to_list() in ([window], [])
        for column, place in (("pearson", 2), ("spearman", 3)):
            assert mine[column].fill_null(np.nan).to_list() == pytest.approx(
                [row[place] for row in theirs], abs=1e-12, nan_ok=True
            )
    assert found.filter(symbol="C")["pearson"].null_count() == found.filter(symbol="C").height > 10


VALUES = st.one_of(st.none(), st.integers(-2, 2).map(float), st.floats(-1, 1).map(lambda x: round(x, 9)))
"""Not so close to zero that the product of two of them is none: there scipy and a sum of products part."""


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("AB"), VALUES, VALUES), max_size=40),
    lag=st.integers(-3, 3),
    window=st.integers(3, 8),
)
def test_rolling_windows_agree_with_scipys_whatever_is_missing(
    rows: list[tuple[str, float | None, float | None]], lag: int, window: int
) -> None:
    ordered = [(s, n, x, y) for n, (s, x, y) in enumerate(sorted(rows, key=lambda row: row[0]))]
    schema = {"symbol": pl.String, "session": pl.Date, "sentiment_mean": pl.Float64, "return_1d": pl.Float64}
    pairs = pl.DataFrame([(s, DAYS[n], x, y) for s, n, x, y in ordered], schema=schema, orient="row").with_columns(
        sentiment_change=None
    )
    found = rolling_correlations(pairs.lazy(), [lag], [window], 3).collect()
    for symbol in "AB":
        mine, theirs = found.filter(symbol=symbol), numpys(pairs, symbol, (window, lag, 3))
        assert mine.select("session", "n").rows() == [row[:2] for row in theirs]
        for column, place in (("pearson", 2), ("spearman", 3)):
            for a, b in zip(mine[column], [row[place] for row in theirs], strict=True):
                assert (a is None) == bool(np.isnan(b))
                assert a is None or a == pytest.approx(b, abs=1e-6)


def test_a_window_is_the_same_wherever_the_input_begins() -> None:
    pairs = paired(*market(6)).collect()
    whole = rolling_correlations(pairs.lazy(), [0, 1], [20], 5).collect()
    late = pairs.filter(pl.col("session") >= DAYS[25])
    part = rolling_correlations(late.lazy(), [0, 1], [20], 5).filter(pl.col("session") >= DAYS[50]).collect()
    assert part.height > 20
    assert part.equals(whole.filter(pl.col("session") >= DAYS[50]))


def test_later_sessions_change_no_earlier_window() -> None:
    pairs = paired(*market(7)).collect()
    whole = rolling_correlations(pairs.lazy(), [-1, 0, 1], [20], 5).collect()
    early = rolling_correlations(pairs.filter(pl.col("session") <= DAYS[40]).lazy(), [-1, 0, 1], [20], 5).collect()
    assert early.height > 20
    assert early.equals(whole.filter(pl.col("session") <= DAYS[40]))


def test_a_window_too_short_for_enough_pairs_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="window of 10 sessions never holds 20 pairs"):
        rolling_correlations(paired(*market()), [0], [60, 10], 20)


def test_nothing_rolls_over_no_rows() -> None:
    pairs = paired(*market())
    for none in (pairs.clear(), pairs.filter(pl.col("session") < DAYS[10])):
        assert rolling_correlations(none, [0], [20], 5).collect().equals(pl.DataFrame(schema=ROLLING))
    assert rolling_correlations(pairs, [], [], 5).collect().equals(pl.DataFrame(schema=ROLLING))


# ---- the family


def test_a_family_is_everything_that_was_tested() -> None:
    rows = [("B", 0.01, 0.5), ("A", 0.04, 0.2), ("C", None, 0.1), ("D", 0.03, 0.9), ("E", 0.01, 0.4)]
    tested = pl.LazyFrame(rows, schema=["symbol", "p", "r"], orient="row").with_columns(
        x=pl.lit("x"), lag=0, method=pl.lit("m")
    )
    found = findings(tested).collect()
    assert found["symbol"].to_list() == ["B", "E", "D", "A"]
    assert found["family_size"].to_list() == [4] * 4
    assert found["p_adjusted"].to_list() == pytest.approx([0.02, 0.02, 0.04, 0.04])


def test_adjusting_leaves_nulls_and_empty_frames_alone() -> None:
    frame = pl.DataFrame({"p": [None, 0.5, None, 1.0]}).with_columns(a=benjamini_hochberg(pl.col("p")))
    assert frame["a"].to_list() == [None, 1.0, None, 1.0]
    for empty in ([], [None, None]):
        column = pl.Series("p", empty, dtype=pl.Float64)
        assert column.to_frame().select(benjamini_hochberg(pl.col("p"))).to_series().to_list() == empty

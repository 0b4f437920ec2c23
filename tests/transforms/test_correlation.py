"""How sentiment and return move together."""

import random
from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import pearsonr

from transforms.correlation import MissingSentiment, correlations, daily_pairs, daily_returns

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(60)]


def closes(**symbols: list[float]) -> pl.LazyFrame:
    rows = [(s, day, close) for s, some in symbols.items() for day, close in zip(DAYS, some, strict=False)]
    return pl.LazyFrame(rows, schema={"symbol": pl.String, "session": pl.Date, "close": pl.Float64}, orient="row")


def scores(**symbols: dict[int, float]) -> pl.LazyFrame:
    rows = [(s, DAYS[n], score, 3) for s, some in symbols.items() for n, score in some.items()]
    schema = {"symbol": pl.String, "session": pl.Date, "mean_score": pl.Float64, "count": pl.Int64}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def test_returns_start_with_the_second_bar_of_each_symbol() -> None:
    found = daily_returns(closes(A=[100.0, 110.0, 99.0], B=[5.0, 5.0])).collect()["return_1d"].to_list()
    assert found == [None, pytest.approx(0.1), pytest.approx(-0.1), None, 0.0]


@pytest.mark.parametrize(("missing", "mean"), [("leave_out", None), ("zero", 0.0)])
def test_a_session_without_a_mention_has_count_zero(missing: MissingSentiment, mean: float | None) -> None:
    pairs = daily_pairs(daily_returns(closes(A=[1.0, 2.0])), scores(A={1: 0.5}, B={0: 1.0}), missing)
    assert pairs.collect().rows() == [("A", DAYS[0], None, mean, 0), ("A", DAYS[1], 1.0, 0.5, 3)]


def market(seed: int = 1) -> tuple[dict[str, list[float]], dict[str, dict[int, float]]]:
    """Three symbols; the return of A follows its sentiment two sessions later."""
    draw = random.Random(seed)
    mood = {n: draw.uniform(-1, 1) for n in range(60) if n % 7}
    prices: dict[str, list[float]] = {"A": [100.0], "B": [50.0], "C": [10.0] * 60}
    for n in range(1, 60):
        prices["A"].append(prices["A"][-1] * (1 + 0.01 * mood.get(n - 2, 0.0)))
        prices["B"].append(prices["B"][-1] * (1 + draw.uniform(-0.02, 0.02)))
    return prices, {"A": mood, "B": {n: draw.uniform(-1, 1) for n in range(0, 60, 3)}, "C": mood}


@pytest.mark.parametrize("missing", ["leave_out", "zero"])
@pytest.mark.parametrize("lag", range(-5, 6))
def test_r_is_scipys_on_pairs_joined_by_hand(lag: int, missing: MissingSentiment) -> None:
    prices, moods = market()
    pairs = daily_pairs(daily_returns(closes(**prices)), scores(**moods), missing)
    found = {row["symbol"]: row for row in correlations(pairs, [lag], 3).collect().rows(named=True)}
    for symbol in ("A", "B"):
        close = prices[symbol]
        mood = moods[symbol] if missing == "leave_out" else {n: moods[symbol].get(n, 0.0) for n in range(60)}
        sample = [n for n in mood if 1 <= n + lag < 60]
        returns = [close[n + lag] / close[n + lag - 1] - 1 for n in sample]
        row = found[symbol]
        assert row["r"] == pytest.approx(pearsonr([mood[n] for n in sample], returns)[0], abs=1e-12)
        assert row["n"] == len(sample)
        assert row["session"] == DAYS[max(sample) + max(lag, 0)]


def test_a_planted_lead_of_two_sessions_is_found_at_lag_two() -> None:
    prices, moods = market()
    pairs = daily_pairs(daily_returns(closes(**prices)), scores(**moods))
    found = correlations(pairs, range(-5, 6), 20).filter(pl.col("symbol") == "A").collect()
    assert found.filter(pl.col("r") > 0.99)["lag"].to_list() == [2]
    assert found["lag"].to_list() == list(range(-5, 6))
    assert found.drop("session", "lag", "r", "n").unique().rows() == [
        ("A", "sentiment_mean", "return_1d", 0, "pearson")
    ]


def test_where_one_side_never_varies_there_is_no_r() -> None:
    prices, moods = market()
    flat = {"C": [0.1 * n for n in range(1, 61)]}
    same = {"C": dict.fromkeys(range(60), 0.1)}
    for close, mood in ((prices, moods), (flat, same)):
        pairs = daily_pairs(daily_returns(closes(C=close["C"])), scores(C=mood["C"]))
        assert correlations(pairs, [0], 3).collect()["r"].to_list() == [None]


def test_a_sample_that_is_too_small_gives_no_row() -> None:
    pairs = daily_pairs(daily_returns(closes(A=[1.0, 2.0, 3.0, 5.0])), scores(A={1: 0.1, 2: 0.2, 3: 0.4}))
    assert correlations(pairs, [0], 3).collect()["n"].to_list() == [3]
    assert correlations(pairs, [0], 4).collect().is_empty()
    assert correlations(pairs, [], 3).collect().is_empty()


def test_many_symbols_at_once_equal_one_by_one() -> None:
    prices, moods = market(2)
    pairs = daily_pairs(daily_returns(closes(**prices)), scores(**moods))
    alone = [correlations(pairs.filter(pl.col("symbol") == s), [0, 3, -2], 3).collect() for s in "ABC"]
    assert_frame_equal(correlations(pairs, [0, 3, -2], 3).collect(), pl.concat(alone))

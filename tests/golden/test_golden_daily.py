"""Daily prices: adjustment against a vendor's columns, and sentiment against return with nothing of ours."""

from bisect import bisect_left
from collections import defaultdict
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from scipy.stats import pearsonr

from transforms.adjust import adjustment_factors, choose_actions, split_adjust
from transforms.correlation import correlations, daily_pairs, daily_returns
from transforms.schema import ACTIONS
from transforms.sentiment import sentiment_buckets

pytestmark = pytest.mark.data
LAGS = range(-5, 6)


@pytest.fixture(scope="module")
def daily(shared: Path) -> pl.DataFrame:
    frame = pl.read_parquet(shared / "data/daily.parquet").rename({"date": "session"}).drop_nulls("close")
    return frame.sort("symbol", "timestamp")


@pytest.fixture(scope="module")
def told(shared: Path) -> pl.LazyFrame:
    frame = pl.read_parquet(shared / "data/corporate_actions.parquet")
    return frame.lazy().with_columns(ordinal=pl.lit(0, pl.Int32)).select(ACTIONS.names())


def test_apples_splits_bring_raw_prices_to_todays(shared: Path, told: pl.LazyFrame, daily: pl.DataFrame) -> None:
    """One vendor's raw prices of 2012 times our factors are another vendor's split-adjusted ones."""
    raw = pl.read_parquet(shared / "data/daily_adjusted.parquet").filter(symbol="AAPL").rename({"date": "session"})
    factors = adjustment_factors(choose_actions(told, ["reactstockcharts_splithistory"]))
    ours = split_adjust(raw.sort("session").lazy(), factors).collect()
    both = ours.join(daily, on=["symbol", "session"], suffix="_yahoo")
    assert len(both) == 81
    for column in ("open", "high", "low", "close"):
        assert (both[column] / both[f"{column}_yahoo"] - 1).abs().max() < 2e-3  # type: ignore[operator]
    assert (both["close"] / both["close_yahoo"] - 1).abs().median() < 1e-6  # type: ignore[operator]
    assert (both["volume"] / both["volume_yahoo"] - 1).abs().median() < 1e-3  # type: ignore[operator]


@pytest.mark.parametrize(("symbol", "rounding"), [("AAPL", 1e-6), ("BAC", 1e-3)])
def test_dividends_adjust_as_yahoos_column_does(
    symbol: str, rounding: float, told: pl.LazyFrame, daily: pl.DataFrame
) -> None:
    """No splits in these years; the dividends are another source's, which rounds them (BAC paid a few cents)."""
    prices = daily.filter(pl.col("symbol") == symbol, pl.col("session") >= date(2014, 6, 10))
    last: date = prices["session"][-1]
    paid = told.filter(pl.col("symbol") == symbol, source="lean_factor_file")
    factors = adjustment_factors(paid, closes=prices.lazy(), until=last)
    found = split_adjust(prices.lazy(), factors).collect()
    expected = prices["adjusted_close"] / prices["adjusted_close"][-1] * prices["close"][-1]
    assert (prices["close"] / expected)[0] > 1.04
    assert (found["close"] / expected - 1).abs().max() < rounding


@pytest.fixture(scope="module")
def messages(shared: Path) -> pl.DataFrame:
    return pl.read_parquet(shared / "data/sentiment.parquet")


def scipys(lag: int, closes: dict[date, float], moods: dict[date, float]) -> tuple[float, int]:
    """Pearson's r of the sentiment of each session and the return `lag` sessions later, joined by hand."""
    days = sorted(closes)
    returns = {b: closes[b] / closes[a] - 1 for a, b in zip(days, days[1:], strict=False)}
    later = {day: days[n + lag] for n, day in enumerate(days) if 0 <= n + lag < len(days)}
    sample = [(moods[day], returns[later[day]]) for day in moods if later.get(day) in returns]
    return float(pearsonr(*zip(*sample, strict=True))[0]), len(sample)


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "XOM"])
def test_correlations_are_scipys_on_rows_joined_by_hand(
    symbol: str, daily: pl.DataFrame, messages: pl.DataFrame, nyse: pl.DataFrame
) -> None:
    closes = dict(daily.filter(symbol=symbol).select("session", "close").iter_rows())
    bounds: list[tuple[datetime, date]] = list(nyse.select("close", "session").iter_rows())
    scores: dict[date, list[float]] = defaultdict(list)
    for moment, score in messages.filter(symbol=symbol).select("timestamp", "sentiment_score").iter_rows():
        scores[bounds[bisect_left(bounds, moment, key=lambda bound: bound[0])][1]].append(score)
    moods = {day: sum(some) / len(some) for day, some in scores.items() if day in closes}

    sentiment = sentiment_buckets(messages.lazy(), nyse.lazy(), "1d")
    pairs = daily_pairs(daily_returns(daily.lazy()), sentiment)
    found = correlations(pairs, LAGS, 20).filter(symbol=symbol, x="sentiment_mean", method="pearson").collect()
    assert found["lag"].to_list() == list(LAGS)
    for row in found.rows(named=True):
        r, n = scipys(row["lag"], closes, moods)
        assert row["r"] == pytest.approx(r, abs=1e-12)
        assert row["n"] == n


def test_every_message_is_counted_once(messages: pl.DataFrame, nyse: pl.DataFrame) -> None:
    for per in ("1h", "1d"):
        found = sentiment_buckets(messages.lazy(), nyse.lazy(), per).collect()
        counts = found.group_by("symbol").agg(pl.col("count").sum())
        expected = messages.group_by("symbol").agg(pl.len().cast(pl.Int64).alias("count"))
        assert sorted(counts.rows()) == sorted(expected.rows())
        assert found.filter(pl.col("count") == 1)["std_score"].is_null().all()

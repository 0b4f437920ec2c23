"""Sentiment of real tweets against pandas and numpy, and against days read off the calendar by eye."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from transforms.sentiment import SentimentRules, momentum, sentiment_buckets

pytestmark = pytest.mark.data
RULES = {
    "as they are": SentimentRules(),
    "no retweets": SentimentRules(retweets="drop"),
    "no duplicates": SentimentRules(duplicates="drop"),
    "a quarter to four": SentimentRules("drop", "drop", cutoff_offset=timedelta(minutes=-15)),
    "midnight": SentimentRules(cutoff="midnight"),
}
COLUMNS = ["mean_score", "weighted_score", "mean_confidence", "std_score", "positive_share", "negative_share"]


@pytest.fixture(scope="module")
def tweets(shared: Path) -> pd.DataFrame:
    frame = pd.read_parquet(shared / "data/sentiment.parquet")
    return frame.rename(columns={"is_dup_in_symbol": "is_duplicate"})


@pytest.fixture(scope="module")
def messages(shared: Path) -> pl.LazyFrame:
    return pl.scan_parquet(shared / "data/sentiment.parquet").rename({"is_dup_in_symbol": "is_duplicate"})


def cutoffs(nyse: pl.DataFrame, rules: SentimentRules) -> pd.DatetimeIndex:
    """The calendar's closes, or New York's midnights by pandas."""
    if rules.cutoff == "close":
        ends = pd.DatetimeIndex(nyse["close"].dt.replace_time_zone(None).to_numpy()).tz_localize("UTC")
    else:
        dates = pd.DatetimeIndex(nyse["session"].to_numpy())
        ends = (dates + pd.Timedelta(days=1)).tz_localize("America/New_York").tz_convert("UTC")
    return ends + pd.Timedelta(rules.cutoff_offset)


def kept(tweets: pd.DataFrame, symbol: str, rules: SentimentRules) -> pd.DataFrame:
    some = tweets[tweets["symbol"] == symbol]
    some = some[~some["is_retweet"]] if rules.retweets == "drop" else some
    return some[~some["is_duplicate"]] if rules.duplicates == "drop" else some


def summary(some: pd.DataFrame) -> pd.Series:
    score, confidence = some["sentiment_score"].to_numpy(), some["confidence"].to_numpy()
    numbers = {
        "count": len(some),
        "mean_score": np.mean(score),
        "weighted_score": np.average(score, weights=confidence),
        "mean_confidence": np.mean(confidence),
        "std_score": np.std(score, ddof=1) if len(some) > 1 else np.nan,
        "positive_share": np.count_nonzero(score > 0) / len(some),
        "negative_share": np.count_nonzero(score < 0) / len(some),
    }
    return pd.Series(numbers)


def compare(found: pl.DataFrame, expected: pd.DataFrame) -> None:
    assert found["count"].to_list() == expected["count"].astype(int).to_list()
    for column in COLUMNS:
        ours = found[column].fill_null(float("nan")).to_numpy()
        np.testing.assert_allclose(ours, expected[column].to_numpy(), rtol=0, atol=1e-12, err_msg=column)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("symbol", ["AAPL", "SNP", "AGFS"])
def test_sessions_are_those_of_numpy(
    symbol: str, name: str, tweets: pd.DataFrame, messages: pl.LazyFrame, nyse: pl.DataFrame
) -> None:
    rules = RULES[name]
    some = kept(tweets, symbol, rules)
    number = cutoffs(nyse, rules).searchsorted(some["timestamp"], side="left")
    expected = some.groupby(nyse["session"].to_numpy()[number]).apply(summary)
    found = sentiment_buckets(messages.filter(symbol=symbol), nyse.lazy(), "1d", rules=rules).collect()
    assert found["session"].to_list() == [day.date() for day in pd.DatetimeIndex(expected.index)]
    compare(found, expected)


@pytest.mark.parametrize("name", RULES)
def test_hours_are_those_of_pandas(name: str, tweets: pd.DataFrame, messages: pl.LazyFrame, nyse: pl.DataFrame) -> None:
    rules = RULES[name]
    some = kept(tweets, "MSFT", rules)
    hours = some["timestamp"].dt.floor("h")
    expected = some.groupby(hours).apply(summary)
    found = sentiment_buckets(messages.filter(symbol="MSFT"), nyse.lazy(), "1h", rules=rules).collect()
    assert found["timestamp"].to_list() == [hour.to_pydatetime() for hour in expected.index]
    compare(found, expected)
    ends = expected.index + pd.Timedelta(hours=1)
    sessions = nyse["session"].to_numpy()[cutoffs(nyse, rules).searchsorted(ends, side="left")]
    assert (found["session"].to_numpy() == sessions).all()


@pytest.mark.parametrize("baseline", [5, 20])
def test_momentum_is_pandas_rolling_mean(
    baseline: int, tweets: pd.DataFrame, messages: pl.LazyFrame, nyse: pl.DataFrame
) -> None:
    daily = sentiment_buckets(messages, nyse.lazy(), "1d")
    found = daily.with_columns(momentum=momentum(pl.col("mean_score"), baseline).over("symbol")).collect()
    for symbol in ("AAPL", "XOM", "AGFS"):
        some = tweets[tweets["symbol"] == symbol]
        number = cutoffs(nyse, SentimentRules()).searchsorted(some["timestamp"], side="left")
        means = some.groupby(number)["sentiment_score"].mean()
        expected = means - means.shift(1).rolling(baseline).mean()
        ours = found.filter(symbol=symbol)["momentum"]
        assert ours.null_count() == min(baseline, len(means))
        np.testing.assert_allclose(ours.fill_null(float("nan")).to_numpy(), expected.to_numpy(), rtol=0, atol=1e-12)


AGFS = {
    "close": [
        (date(2015, 8, 19), 1),  # 18 August 16:13 in New York, after the close
        (date(2015, 11, 11), 1),
        (date(2016, 2, 10), 1),
        (date(2016, 3, 1), 1),
        (date(2016, 3, 23), 1),  # 22 March 23:48 in New York
        (date(2016, 3, 28), 1),  # the Saturday of Easter
        (date(2016, 3, 30), 2),
    ],
    "midnight": [
        (date(2015, 8, 18), 1),
        (date(2015, 11, 11), 1),
        (date(2016, 2, 10), 1),
        (date(2016, 3, 1), 1),
        (date(2016, 3, 22), 1),
        (date(2016, 3, 28), 1),
        (date(2016, 3, 30), 2),
    ],
}


@pytest.mark.parametrize("name", AGFS)
def test_a_few_tweets_fall_where_the_calendar_says(name: Any, messages: pl.LazyFrame, nyse: pl.DataFrame) -> None:
    rules = SentimentRules(cutoff=name)
    found = sentiment_buckets(messages.filter(symbol="AGFS"), nyse.lazy(), "1d", rules=rules).collect()
    assert found.select("session", "count").rows() == AGFS[name]
    fewer = SentimentRules("drop", "drop", name)
    found = sentiment_buckets(messages.filter(symbol="AGFS"), nyse.lazy(), "1d", rules=fewer).collect()
    retweets = (AGFS[name][0], AGFS[name][2])
    assert found.select("session", "count").rows() == [(day, 1) for day, _ in AGFS[name] if (day, 1) not in retweets]


def test_dropping_leaves_as_many_tweets_as_are_not_flagged(messages: pl.LazyFrame, nyse: pl.DataFrame) -> None:
    """Of the tweets equal to an earlier one in symbol, second, score and confidence few are duplicates."""
    totals = {
        name: sentiment_buckets(messages, nyse.lazy(), per, rules=RULES[name]).collect()["count"].sum()
        for name, per in (("as they are", "1h"), ("no retweets", "1d"), ("no duplicates", "1d"))
    }
    flags = messages.select(pl.len(), pl.col("is_retweet", "is_duplicate").sum()).collect().row(0)
    assert flags == (80_601, 21_510, 143)
    assert totals == {"as they are": 80_601, "no retweets": 80_601 - 21_510, "no duplicates": 80_601 - 143}
    same = pl.struct("symbol", "timestamp", "sentiment_score", "confidence")
    assert messages.select((~same.is_first_distinct()).sum()).collect().item() == 817

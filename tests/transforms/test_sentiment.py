"""Scored messages per hour and per session."""

import random
from datetime import UTC, date, datetime, timedelta
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from storage.settings import Settings
from tests.strategies import SYMBOLS, cases, instants, sessions_of
from tests.transforms.by_hand import ZONES
from transforms.schema import SENTIMENT
from transforms.sentiment import SentimentRules, momentum, sentiment_buckets
from transforms.sessions import BucketRules

Per = Literal["1h", "1d"]
Message = tuple[str, datetime, float, float, bool | None, bool | None]
CLOSE = SentimentRules()
RULES = [
    CLOSE,
    SentimentRules("drop", "keep", cutoff_offset=timedelta(minutes=-15)),
    SentimentRules("keep", "drop", "midnight"),
    SentimentRules("drop", "drop", "midnight", timedelta(hours=-9, minutes=-30)),
    SentimentRules(cutoff_offset=timedelta(hours=2)),
]


def messages(*rows: Message) -> pl.LazyFrame:
    made = [(s, moment, "feed", str(n), 0, *rest) for n, (s, moment, *rest) in enumerate(rows)]
    return pl.LazyFrame(made, schema=SENTIMENT, orient="row")


def message(moment: str, score: float = 0.5, confidence: float = 1.0) -> Message:
    return "A", at(moment), score, confidence, None, None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def collects(moment: datetime, case: str, rules: SentimentRules = CLOSE) -> dict[str, Any] | None:
    """The first session whose cutoff has not passed."""
    end = {"close": "close", "midnight": "day_end"}[rules.cutoff]
    rows = sessions_of(case).rows(named=True)
    return next((row for row in rows if row[end] + rules.cutoff_offset >= moment), None)


def counts(row: Message, rules: SentimentRules) -> bool:
    *_, retweet, duplicate = row
    return not (retweet and rules.retweets == "drop") and not (duplicate and rules.duplicates == "drop")


def summary(some: list[Message]) -> dict[str, float | None]:
    scores, confidences = [row[2] for row in some], [row[3] for row in some]
    mean = sum(scores) / len(scores)
    spread = sum((score - mean) ** 2 for score in scores)
    weighted = sum(score * sure for score, sure in zip(scores, confidences, strict=True))
    return {
        "mean_score": mean,
        "weighted_score": weighted / sum(confidences) if sum(confidences) else None,
        "count": len(scores),
        "mean_confidence": sum(confidences) / len(scores),
        "std_score": sqrt(spread / (len(scores) - 1)) if len(scores) > 1 else None,
        "positive_share": len([score for score in scores if score > 0]) / len(scores),
        "negative_share": len([score for score in scores if score < 0]) / len(scores),
    }


@st.composite
def mentions(draw: st.DrawFn, case: str) -> list[Message]:
    score, sure = st.sampled_from([-1.0, -0.4, 0.0, 0.0, 0.7]), st.sampled_from([0.0, 0.5, 1.0])
    flag = st.sampled_from([None, False, True])
    return draw(st.lists(st.tuples(st.sampled_from(SYMBOLS), instants(case), score, sure, flag, flag), max_size=25))


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]), st.sampled_from(RULES))
def test_buckets_are_those_counted_one_by_one(data: st.DataObject, case: str, per: Per, rules: SentimentRules) -> None:
    rows = data.draw(mentions(case))
    zone = ZoneInfo(ZONES[case.split()[0]])
    expected: dict[tuple[str, datetime], tuple[object, list[Message]]] = {}
    for row in [row for row in rows if counts(row, rules)]:
        session = collects(row[1], case, rules)
        start = session["open"] if session else None
        if per == "1h":
            local = row[1].astimezone(zone)
            start = row[1] - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            session = collects(start + timedelta(hours=1), case, rules)
        if session:
            assert isinstance(start, datetime)
            expected.setdefault((row[0], start), (session["session"], []))[1].append(row)
    wanted = [
        {"symbol": symbol, "timestamp": start, "session": session, **summary(some)}
        for (symbol, start), (session, some) in sorted(expected.items())
    ]
    found = sentiment_buckets(messages(*rows), sessions_of(case).lazy(), per, rules=rules).collect()
    assert_frame_equal(found, pl.DataFrame(wanted, schema=found.schema), check_exact=False, abs_tol=1e-14)


def labels(per: Per, case: str, *moments: str, **how: Any) -> list[tuple[Any, ...]]:
    rows = messages(*map(message, moments))
    found = sentiment_buckets(rows, sessions_of(case).lazy(), per, **how).collect()
    assert found["count"].sum() == len(moments)
    return found.select("timestamp", "session").rows()


def days(case: str, *moments: str, rules: SentimentRules = CLOSE) -> list[date]:
    return [day for _, day in labels("1d", case, *moments, rules=rules)]


def test_a_message_at_the_close_is_still_todays_and_one_after_it_the_next_sessions() -> None:
    opens = [(at("2024-11-27T14:30"), date(2024, 11, 27)), (at("2024-11-29T14:30"), date(2024, 11, 29))]
    assert labels("1d", "XNYS", "2024-11-27T21:00:00", "2024-11-27T21:00:00.000001") == opens


def test_holidays_and_weekends_belong_to_the_session_after_them() -> None:
    thanksgiving, saturday = "2024-11-28T15:00", "2024-11-30T15:00"
    assert days("XNYS", thanksgiving, saturday) == [date(2024, 11, 29), date(2024, 12, 2)]


def test_a_cutoff_before_the_close_follows_a_half_day() -> None:
    early = SentimentRules(cutoff_offset=timedelta(minutes=-15))
    assert days("XNYS", "2024-11-27T20:45", "2024-11-27T20:45:01", rules=early) == [
        date(2024, 11, 27),
        date(2024, 11, 29),
    ]
    assert days("XNYS", "2024-11-29T17:45", "2024-11-29T17:45:01", rules=early) == [
        date(2024, 11, 29),
        date(2024, 12, 2),
    ]


def test_at_midnight_a_session_has_collected_its_date_and_the_days_off_before_it() -> None:
    midnight = SentimentRules(cutoff="midnight")
    evening, new_york_midnight = "2024-11-27T23:00", "2024-11-28T05:00:00"
    assert days("XNYS", evening, new_york_midnight, rules=midnight) == [date(2024, 11, 27)]
    assert days("XNYS", "2024-11-28T05:00:01", "2024-11-29T20:00", rules=midnight) == [date(2024, 11, 29)]


def test_days_are_labelled_like_their_bars_in_all_hours() -> None:
    found = labels("1d", "XNYS", "2024-11-27T15:00", hours=BucketRules(trading_hours="all"))
    assert found == [(at("2024-11-27T05:00"), date(2024, 11, 27))]


def test_hours_lie_on_the_local_clock_of_a_half_hour_zone() -> None:
    assert labels("1h", "XBOM", "2024-01-19T04:29:59", "2024-01-19T04:30") == [
        (at("2024-01-19T03:30"), date(2024, 1, 19)),
        (at("2024-01-19T04:30"), date(2024, 1, 19)),
    ]


def test_a_cutoff_inside_an_hour_moves_the_hour_not_its_bounds() -> None:
    early = SentimentRules(cutoff_offset=timedelta(minutes=-15))
    two = ("2024-11-27T20:10", "2024-11-27T20:50")
    assert labels("1h", "XNYS", *two) == [(at("2024-11-27T20:00"), date(2024, 11, 27))]
    assert labels("1h", "XNYS", *two, rules=early) == [(at("2024-11-27T20:00"), date(2024, 11, 29))]


@pytest.mark.parametrize("per", ["1h", "1d"])
def test_no_messages_make_no_buckets(per: Per) -> None:
    found = sentiment_buckets(messages(), sessions_of("XNYS").lazy(), per).collect()
    assert found.is_empty()
    numbers = ["mean_score", "weighted_score", "count", "mean_confidence", "std_score", *SHARES]
    assert found.columns == ["symbol", "timestamp", "session", *numbers]
    assert [found[name].dtype for name in numbers] == [pl.Int64 if n == "count" else pl.Float64 for n in numbers]


SHARES = ["positive_share", "negative_share"]


def only(*rows: Message, rules: SentimentRules = CLOSE) -> dict[str, Any]:
    (bucket,) = (
        sentiment_buckets(messages(*rows), sessions_of("XNYS").lazy(), "1d", rules=rules).collect().rows(named=True)
    )
    return bucket


def test_one_message_is_its_own_mean_and_has_no_deviation() -> None:
    found = only(message("2024-11-27T15:00", -0.4, 0.3))
    assert (found["mean_score"], found["count"], found["std_score"]) == (-0.4, 1, None)
    assert found["weighted_score"] == pytest.approx(-0.4, abs=1e-15)
    assert [found[share] for share in SHARES] == [0, 1]


def test_messages_that_nobody_is_sure_of_have_a_plain_mean_only() -> None:
    found = only(message("2024-11-27T15:00", 0.8, 0), message("2024-11-27T16:00", 0.2, 0))
    assert (found["mean_score"], found["weighted_score"], found["mean_confidence"]) == (0.5, None, 0)


def test_messages_equal_in_everything_are_two_messages() -> None:
    twice = [message("2024-11-27T15:00", 0)] * 2
    assert only(*twice, rules=SentimentRules("drop", "drop"))["count"] == 2


@pytest.mark.parametrize("rules", RULES)
def test_a_flag_nobody_knows_counts_as_no(rules: SentimentRules) -> None:
    sessions = sessions_of("XNYS").lazy()
    unknown = messages(message("2024-11-27T15:00"), message("2024-11-27T16:00", -1))
    known = unknown.with_columns(is_retweet=pl.lit(value=False), is_duplicate=pl.lit(value=False))
    found = [sentiment_buckets(rows, sessions, "1d", rules=rules).collect() for rows in (unknown, known)]
    assert_frame_equal(*found)
    assert found[0]["count"].to_list() == [2]


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]), st.sampled_from(RULES))
def test_dropping_is_filtering_before(data: st.DataObject, case: str, per: Per, rules: SentimentRules) -> None:
    rows, sessions = data.draw(mentions(case)), sessions_of(case).lazy()
    keep = SentimentRules(cutoff=rules.cutoff, cutoff_offset=rules.cutoff_offset)
    kept = [row for row in rows if counts(row, rules)]
    found = sentiment_buckets(messages(*rows), sessions, per, rules=rules).collect()
    assert_frame_equal(found, sentiment_buckets(messages(*kept), sessions, per, rules=keep).collect(), abs_tol=1e-12)


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]), st.sampled_from(RULES))
def test_every_message_that_counts_is_counted_once(
    data: st.DataObject, case: str, per: Per, rules: SentimentRules
) -> None:
    rows = data.draw(mentions(case))
    found = sentiment_buckets(messages(*rows), sessions_of(case).lazy(), per, rules=rules).collect()
    last = timedelta(hours=1) if per == "1h" else timedelta(0)  # the hour of the last cutoff may be no session's yet
    sure = [row for row in rows if counts(row, rules) and collects(row[1] + last, case, rules)]
    most = [row for row in rows if counts(row, rules) and collects(row[1], case, rules)]
    assert len(sure) <= found["count"].sum() <= len(most)
    assert per == "1h" or len(sure) == len(most)


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]), st.randoms(use_true_random=False))
def test_the_order_of_messages_is_of_no_account(data: st.DataObject, case: str, per: Per, draw: random.Random) -> None:
    rows, sessions = data.draw(mentions(case)), sessions_of(case).lazy()
    found = sentiment_buckets(messages(*rows), sessions, per).collect()
    draw.shuffle(rows)
    assert_frame_equal(found, sentiment_buckets(messages(*rows), sessions, per).collect(), rel_tol=0, abs_tol=1e-12)


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]), st.sampled_from(RULES))
def test_later_messages_change_no_closed_bucket(
    data: st.DataObject, case: str, per: Per, rules: SentimentRules
) -> None:
    rows, as_of = data.draw(mentions(case)), data.draw(instants(case))
    sessions = sessions_of(case).lazy()
    name = {"close": "close", "midnight": "day_end"}[rules.cutoff]
    ends = sessions.select("session", _end=pl.col(name) + rules.cutoff_offset)

    def known(some: list[Message]) -> pl.DataFrame:
        buckets = sentiment_buckets(messages(*some), sessions, per, rules=rules).join(ends, on="session")
        end = pl.col("_end") if per == "1d" else pl.col("timestamp") + timedelta(hours=1)
        return buckets.filter(end <= as_of).sort("symbol", "timestamp").collect()

    assert_frame_equal(known([row for row in rows if row[1] <= as_of]), known(rows))


def test_the_page_names_every_column_and_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sentiment.md").read_text(encoding="utf-8")
    columns = sentiment_buckets(messages(), sessions_of("XNYS").lazy(), "1d").collect_schema().names()
    settings = [name for name in Settings.model_fields if name.startswith("sentiment_")]
    assert [name for name in (*columns[3:], "momentum", *settings) if f"`{name}`" not in page] == []
    assert f"`sentiment_baseline` ({Settings.model_fields['sentiment_baseline'].default})" in page


SCORES = st.lists(st.sampled_from([-1.0, -0.3, 0.0, 0.1, 0.9]), max_size=12)


@given(st.lists(SCORES, min_size=1, max_size=3), st.integers(1, 4))
def test_momentum_is_the_mean_less_that_of_the_sessions_before(series: list[list[float]], baseline: int) -> None:
    expected = [
        score - fmean(scores[n - baseline : n]) if n >= baseline else None
        for scores in series
        for n, score in enumerate(scores)
    ]
    rows = [(name, score) for name, scores in zip(SYMBOLS, series, strict=False) for score in scores]
    frame = pl.DataFrame(rows, schema={"symbol": pl.String, "mean_score": pl.Float64}, orient="row")
    found = frame.select(momentum(pl.col("mean_score"), baseline).over("symbol")).to_series()
    assert found.to_list() == [None if value is None else pytest.approx(value, abs=1e-12) for value in expected]


@given(SCORES, SCORES, st.integers(1, 4))
def test_later_sessions_change_no_momentum(past: list[float], future: list[float], baseline: int) -> None:
    before, after = (
        pl.DataFrame({"x": scores}, schema={"x": pl.Float64}).select(momentum(pl.col("x"), baseline))
        for scores in (past, past + future)
    )
    assert_frame_equal(before, after.head(len(past)))

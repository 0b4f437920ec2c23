"""Scored messages per hour and per session."""

from datetime import UTC, date, datetime, timedelta
from math import sqrt
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import SYMBOLS, cases, instants, sessions_of
from tests.transforms.by_hand import ZONES
from transforms.schema import SENTIMENT
from transforms.sentiment import sentiment_buckets
from transforms.sessions import BucketRules

Message = tuple[str, datetime, float, float]


def messages(*rows: Message) -> pl.LazyFrame:
    made = [(s, moment, "feed", str(n), 0, score, sure) for n, (s, moment, score, sure) in enumerate(rows)]
    return pl.LazyFrame(made, schema=SENTIMENT, orient="row")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def collects(moment: datetime, case: str) -> dict[str, object] | None:
    """The first session whose close has not passed."""
    sessions = sessions_of(case).rows(named=True)
    return next((row for row in sessions if row["close"] >= moment), None)


def summary(some: list[Message]) -> tuple[float, int, float, float | None]:
    scores = [score for _, _, score, _ in some]
    mean = sum(scores) / len(scores)
    spread = sum((score - mean) ** 2 for score in scores)
    deviation = sqrt(spread / (len(scores) - 1)) if len(scores) > 1 else None
    return mean, len(scores), sum(sure for *_, sure in some) / len(some), deviation


@st.composite
def mentions(draw: st.DrawFn, case: str) -> list[Message]:
    score, sure = st.sampled_from([-1.0, -0.4, 0.0, 0.0, 0.7]), st.sampled_from([0.5, 1.0])
    return draw(st.lists(st.tuples(st.sampled_from(SYMBOLS), instants(case), score, sure), max_size=25))


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]))
def test_buckets_are_those_counted_one_by_one(data: st.DataObject, case: str, per: Literal["1h", "1d"]) -> None:
    rows = data.draw(mentions(case))
    zone = ZoneInfo(ZONES[case.split()[0]])
    expected: dict[tuple[str, datetime], tuple[object, list[Message]]] = {}
    for row in rows:
        session = collects(row[1], case)
        if per == "1h":
            local = row[1].astimezone(zone)
            label = row[1] - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            hour_end = collects(label + timedelta(hours=1), case)
            session = hour_end if session else None
        if session:
            start = label if per == "1h" else session["open"]
            assert isinstance(start, datetime)
            expected.setdefault((row[0], start), (session["session"], []))[1].append(row)
    wanted = [(*key, session, *summary(some)) for key, (session, some) in sorted(expected.items())]
    found = sentiment_buckets(messages(*rows), sessions_of(case).lazy(), per).collect()
    assert_frame_equal(found, pl.DataFrame(wanted, schema=found.schema, orient="row"), check_exact=False, abs_tol=1e-14)


def labels(per: Literal["1h", "1d"], case: str, *moments: str, how: BucketRules | None = None) -> list[tuple[Any, ...]]:
    rows = messages(*[("A", at(moment), 0.5, 1.0) for moment in moments])
    found = sentiment_buckets(rows, sessions_of(case).lazy(), per, how).collect()
    assert found["count"].sum() == len(moments)
    return found.select("timestamp", "session").rows()


def test_a_message_at_the_close_is_still_todays_and_one_after_it_the_next_sessions() -> None:
    opens = [(at("2024-11-27T14:30"), date(2024, 11, 27)), (at("2024-11-29T14:30"), date(2024, 11, 29))]
    assert labels("1d", "XNYS", "2024-11-27T21:00:00", "2024-11-27T21:00:00.000001") == opens


def test_holidays_and_weekends_belong_to_the_session_after_them() -> None:
    thanksgiving, saturday = "2024-11-28T15:00", "2024-11-30T15:00"
    assert [day for _, day in labels("1d", "XNYS", thanksgiving, saturday)] == [
        date(2024, 11, 29),
        date(2024, 12, 2),
    ]


def test_days_are_labelled_like_their_bars_in_all_hours() -> None:
    found = labels("1d", "XNYS", "2024-11-27T15:00", how=BucketRules(trading_hours="all"))
    assert found == [(at("2024-11-27T05:00"), date(2024, 11, 27))]


def test_hours_lie_on_the_local_clock_of_a_half_hour_zone() -> None:
    assert labels("1h", "XBOM", "2024-01-19T04:29:59", "2024-01-19T04:30") == [
        (at("2024-01-19T03:30"), date(2024, 1, 19)),
        (at("2024-01-19T04:30"), date(2024, 1, 19)),
    ]


@pytest.mark.parametrize("per", ["1h", "1d"])
def test_no_messages_make_no_buckets(per: Literal["1h", "1d"]) -> None:
    found = sentiment_buckets(messages(), sessions_of("XNYS").lazy(), per).collect()
    assert found.is_empty()
    names = ["symbol", "timestamp", "session", "mean_score", "count", "mean_confidence", "std_score"]
    assert found.columns == names
    assert found["std_score"].dtype == pl.Float64


@given(st.data(), cases(), st.sampled_from(["1h", "1d"]))
def test_later_messages_change_no_closed_bucket(data: st.DataObject, case: str, per: Literal["1h", "1d"]) -> None:
    rows, as_of = data.draw(mentions(case)), data.draw(instants(case))
    sessions = sessions_of(case).lazy()
    ends = sessions.select("session", _end="close")

    def known(some: list[Message]) -> pl.DataFrame:
        buckets = sentiment_buckets(messages(*some), sessions, per).join(ends, on="session")
        end = pl.col("_end") if per == "1d" else pl.col("timestamp") + timedelta(hours=1)
        return buckets.filter(end <= as_of).sort("symbol", "timestamp").collect()

    assert_frame_equal(known([row for row in rows if row[1] <= as_of]), known(rows))

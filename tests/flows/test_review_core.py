"""What a refresh must neither read nor forget: sessions beside those planned, series without days, rows of silence."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flows import retention, steps
from flows.plan import plan_windows
from flows.wiring import wire
from storage.market.raw import Rows
from storage.settings import Settings
from tests.flows.stories import (
    AS_OF,
    CHOSEN,
    DAY,
    OPEN,
    assert_alike,
    bodies,
    bring_up_to_date,
    stored,
    tell,
    whole_story,
)
from tests.storage.market.rows import bar_rows, minutes
from transforms.calendars import calendar_sessions
from transforms.schema import ACTIONS, UTC_US
from transforms.sentiment import SentimentRules

FAR = datetime(2100, 1, 1, tzinfo=UTC)


def test_spans_hold_the_planned_sessions_and_no_other() -> None:
    calendar = calendar_sessions("XNYS", date(2024, 1, 1), date(2024, 1, 31))
    days = [date(2024, 1, n) for n in (2, 4, 5, 8, 10)]  # the 5th is a Friday
    windows = pl.DataFrame(
        [(s, "bars", OPEN + DAY * (d.day - 2), OPEN + DAY * (d.day - 2)) for s in ("A", "B") for d in days],
        schema={"symbol": pl.String, "dataset": pl.String, "starts_at": UTC_US, "ends_at": UTC_US},
        orient="row",
    ).with_columns(pl.col("ends_at") + timedelta(microseconds=1))
    plan = plan_windows(windows, calendar, windows.clear().drop("dataset"), [], SentimentRules())
    found = plan.price_spans().filter(symbol="B").select(pl.col("lo", "hi").dt.day()).rows()
    assert found == [(2, 3), (4, 9), (10, 11)]
    assert (
        plan.price_spans()
        .filter(symbol="A")
        .drop("symbol")
        .equals(plan.price_spans().filter(symbol="B").drop("symbol"))
    )


@pytest.mark.postgres
@pytest.mark.redis
def test_a_day_between_two_held_ones_stays_as_it_is(settings: Settings) -> None:
    kept = {name: timedelta(days=14) for name in ("ticks", "bars", "sentiment")}
    with wire(settings.model_copy(update={**CHOSEN, "retention": kept})) as deps:
        story = whole_story("AAA")
        tell(deps, story)
        bring_up_to_date(deps)
        retention.apply(deps, AS_OF)
        tables = ("bars_1m", "bars_1d_rollup", "indicators_1d", "rolling_correlations")
        before = {table: stored(deps, table, "AAA") for table in tables}
        brought = [date(2024, 1, 2), date(2024, 1, 4)]
        for day in brought:
            retention.hold(deps, ["ticks", "bars"], day, day, "two days again", FAR)
        tell(
            deps, {name: story[name].filter(pl.col("timestamp").dt.date().is_in(brought)) for name in ("ticks", "bars")}
        )
        bring_up_to_date(deps)
        for table, rows in before.items():
            assert stored(deps, table, "AAA").equals(rows), table


@pytest.mark.postgres
@pytest.mark.redis
def test_a_change_between_two_planned_sessions_that_lands_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(settings.model_copy(update={**CHOSEN, "indicators": ("sma_3",)})) as deps:
        days = [OPEN + n * DAY for n in range(3)]
        first = minutes(1, start=days[0] + timedelta(minutes=54), price=30.0)
        without_effect = minutes(60, start=days[2]).with_columns(adjusted_close=9.0)
        outer = [first, without_effect]
        between = minutes(1, start=days[1] + timedelta(minutes=54), price=40.0)

        def named(frames: list[pl.DataFrame], symbol: str) -> pl.DataFrame:
            return pl.concat(frames).with_columns(symbol=pl.lit(symbol))

        def correct(symbol: str, *frames: pl.DataFrame) -> None:
            deps.raw.upsert(bar_rows(named([*frames], symbol)))

        for symbol in ("AAA", "TWIN"):
            correct(symbol, *(minutes(60, start=at) for at in days))
        bring_up_to_date(deps)
        correct("TWIN", *outer, between)
        bring_up_to_date(deps)
        for frame in outer:
            correct("AAA", frame)
        landed: list[str] = []
        read = type(deps.derived).raw

        def raw(store: object, table: str, spans: pl.DataFrame) -> pl.DataFrame:
            if not landed:
                landed.append(table)
                correct("AAA", between)
            return read(deps.derived, table, spans)

        monkeypatch.setattr(type(deps.derived), "raw", raw)
        steps.refresh(deps, AS_OF)
        steps.publish(deps, AS_OF)
        assert landed
        assert_alike(deps, "AAA", "TWIN")


@pytest.mark.postgres
@pytest.mark.redis
def test_a_series_that_ends_on_the_evening_before_a_split_passes_it_the_next_day(settings: Settings) -> None:
    """In UTC its newest minute is of the day of the split already."""
    with wire(settings) as deps:
        tell(deps, {"actions": split_of(date(2024, 1, 3))})
        day = minutes(1, start=OPEN).with_columns(granularity=pl.lit("1d"))
        evening = minutes(1, start=OPEN + timedelta(hours=10))
        deps.raw.upsert(Rows("bars", pl.concat([day, evening]), "split", "XNYS", 1))
        steps.refresh(deps, OPEN + DAY + timedelta(hours=1))  # the split holds, of what the vendor has yet to tell
        after = day.with_columns(pl.col("timestamp") + DAY)
        deps.raw.upsert(Rows("bars", after, "split", "XNYS", 1))
        steps.refresh(deps, AS_OF)
        assert stored(deps, "bars_1d_fill", "AAA")["close"].to_list() == [20.0, 10.0]


def split_of(day: date) -> pl.DataFrame:
    return pl.DataFrame([("AAA", day, "split", "news", 0, 2.0)], schema=ACTIONS, orient="row")


@pytest.mark.postgres
@pytest.mark.redis
def test_hours_make_a_quote_when_their_day_closes_though_days_are_not_kept(settings: Settings) -> None:
    with wire(settings.model_copy(update={"intervals": ("1m", "1h")})) as deps:
        hours = [
            minutes(1, start=OPEN + n * DAY, price=10.0 + n).with_columns(granularity=pl.lit("1h")) for n in (0, 1)
        ]
        deps.raw.upsert(bar_rows(hours[0]))
        steps.refresh(deps, OPEN + timedelta(hours=8))
        deps.raw.upsert(bar_rows(hours[1]))
        steps.refresh(deps, OPEN + DAY + timedelta(hours=1))
        assert stored(deps, "bars_1h_fill", "AAA").height == 2
        assert stored(deps, "quotes", "AAA")["last"].to_list() == [10.0]
        steps.refresh(deps, OPEN + DAY + timedelta(hours=8))
        assert stored(deps, "quotes", "AAA").select("last", "previous_close").rows() == [(11.0, 10.0)]
        assert deps.derived.pending() == (0, None)


@pytest.mark.postgres
@pytest.mark.redis
def test_rolling_correlations_alone_go_when_silence_counts_no_longer(settings: Settings) -> None:
    chosen = {**CHOSEN, "correlation_lags": (), "missing_sentiment": "zero"}
    story = {"bars": whole_story("AAA")["bars"].filter(granularity="1d")}
    with wire(settings.model_copy(update=chosen)) as deps:
        tell(deps, story)
        steps.refresh(deps, AS_OF)
        assert stored(deps, "rolling_correlations", "AAA").height > 0
    with wire(settings.model_copy(update={**chosen, "missing_sentiment": "leave_out"})) as deps:
        steps.refresh(deps, AS_OF)
        assert stored(deps, "rolling_correlations", "AAA").is_empty()


@pytest.mark.postgres
@pytest.mark.redis
def test_fewer_rolling_correlations_are_published_of_symbols_without_a_message_too(settings: Settings) -> None:
    chosen = {**CHOSEN, "missing_sentiment": "zero"}
    story = {"bars": whole_story("AAA")["bars"].filter(granularity="1d")}
    with wire(settings.model_copy(update=chosen)) as deps:
        tell(deps, story)
        bring_up_to_date(deps)
        before = bodies(deps, "AAA")
    with wire(settings.model_copy(update={**chosen, "published_rolling": 2})) as deps:
        bring_up_to_date(deps)
        after = bodies(deps, "AAA")
    assert {name for name, body in after.items() if body != before[name]} == {"correlation:rolling"}

"""The simulated market keeps its promises: honest rows, a stable past, and the relation that was planted."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.sources import Batch, FileSource, Markets, SimulatedSource, Wrongs, open_source
from flows.sources.noise import Purpose, normal, uniform
from flows.sources.simulated import LATE_BY, MINUTE_SESSIONS, TICK_SESSIONS, symbol_names
from flows.sources.simulated_days import PLANTED_CORRELATION, PLANTED_LAG, simulate_days
from flows.sources.simulated_messages import messages_of
from storage.settings import SourceSettings
from transforms.schema import is_symbol
from transforms.validate import KEYS

NOON = datetime(2023, 11, 28, 17, 0, tzinfo=UTC)
"""A Tuesday during the session, three sessions after the half day that follows Thanksgiving."""
MESSAGES = ["4000000", "1000000"]
OHLCV = ["open", "high", "low", "close", "volume"]

Rows = dict[str, pl.DataFrame]


def simulate(
    markets: Markets,
    as_of: datetime = NOON,
    wrongs: Wrongs | None = None,
    batch_rows: int = 1_000_000,
    **settings: object,
) -> Rows:
    """Every dataset's good rows; none may be rejected."""
    chosen = SourceSettings.model_validate({"kind": "simulated", **settings})
    rows: dict[str, list[pl.DataFrame]] = {}
    for batch in SimulatedSource("simulated", chosen, markets, wrongs).batches(as_of, batch_rows, Path()):
        assert isinstance(batch, Batch)
        good, rejected = batch.checked(as_of, timedelta(0))
        assert rejected.is_empty()
        assert batch.frame.equals(batch.frame.sort(KEYS[batch.dataset]))
        rows.setdefault(batch.dataset, []).append(good)
    return {dataset: pl.concat(parts) for dataset, parts in rows.items()}


@pytest.fixture(scope="module")
def rows(markets: Markets) -> Rows:
    return simulate(markets)


@pytest.fixture(scope="module")
def sessions(markets: Markets) -> pl.DataFrame:
    return markets.sessions_of("XNYS").filter(pl.col("open") <= NOON).tail(60)


def test_five_symbols_over_sixty_sessions(rows: Rows, sessions: pl.DataFrame) -> None:
    days = rows["bars"].filter(granularity="1d")
    assert days["symbol"].unique().sort().to_list() == ["ASHE", "EMBR", "GLOW", "KILN", "WARM"]
    known = sessions.filter(pl.col("close") < NOON)["open"]
    for _, own in days.group_by("symbol"):
        assert own["timestamp"].to_list() == known.to_list()
    minutes = rows["bars"].filter(granularity="1m")
    assert minutes["timestamp"].min() == sessions["open"][-MINUTE_SESSIONS]
    assert rows["ticks"]["timestamp"].min() == sessions["open"][-TICK_SESSIONS]
    assert rows["actions"].height >= 1


def test_the_same_seed_gives_the_same_and_another_something_else(markets: Markets, rows: Rows) -> None:
    again, other = simulate(markets), simulate(markets, seed=8)
    for dataset in rows:
        assert_frame_equal(again[dataset], rows[dataset])
        assert dataset == "actions" or not other[dataset].equals(rows[dataset])  # splits go by the calendar


def test_small_batches_hold_the_same_rows(markets: Markets, rows: Rows) -> None:
    small = simulate(markets, batch_rows=1_000)
    for dataset in ("ticks", "bars", "sentiment", "actions"):
        assert_frame_equal(small[dataset].sort(KEYS[dataset]), rows[dataset])


@pytest.mark.parametrize("market", ["XNYS", "XTKS", "24/7", "CMES"])
@pytest.mark.parametrize("later", [timedelta(minutes=7), timedelta(hours=20), timedelta(days=8)])
def test_a_later_moment_only_adds_rows(market: str, later: timedelta, markets: Markets) -> None:
    now = simulate(markets, NOON, market=market, symbols=3, sessions=12)
    then = simulate(markets, NOON + later, market=market, symbols=3, sessions=12)
    assert set(now) - set(then) <= {"actions"}  # the window may have left the last split behind
    for dataset in set(now) & set(then):
        time = "ex_date" if dataset == "actions" else "timestamp"
        key = list(KEYS[dataset])  # type: ignore[index]
        kept = now[dataset].filter(pl.col(time) >= then[dataset][time].min())
        assert_frame_equal(then[dataset].join(kept, on=key, how="semi", maintain_order="left"), kept)


@pytest.mark.parametrize("market", ["XNYS", "CMES"])
def test_replaced_days_are_whole(market: str, markets: Markets) -> None:
    """A day handed out once is handed out with the same rows as long as it is handed out."""
    zone = markets.time_zone_of(market)
    day = pl.col("timestamp").dt.convert_time_zone(zone).dt.date().alias("day")
    seen: dict[date, pl.DataFrame] = {}
    for number in range(4):
        ticks = simulate(markets, NOON + timedelta(days=number), market=market, symbols=1, sessions=8)["ticks"]
        days = ticks.with_columns(day).partition_by("day", as_dict=True)
        for (own,), part in list(days.items())[:-1]:
            assert isinstance(own, date)
            assert_frame_equal(seen.setdefault(own, part), part)
    assert len(seen) >= 4


def test_nothing_lies_after_the_moment(markets: Markets) -> None:
    for as_of in (NOON, NOON + timedelta(hours=4, minutes=1, seconds=30), datetime(2023, 11, 25, tzinfo=UTC)):
        found = simulate(markets, as_of, symbols=2)
        assert found["ticks"]["timestamp"].max() <= as_of  # type: ignore[operator]
        assert found["sentiment"]["timestamp"].max() <= as_of  # type: ignore[operator]
        minutes = found["bars"].filter(granularity="1m")["timestamp"] + timedelta(minutes=1)
        assert minutes.max() <= as_of  # type: ignore[operator]
        newest = found["ticks"]["timestamp"].max()
        assert isinstance(newest, datetime)
        if as_of == NOON:
            assert as_of - newest < timedelta(minutes=2)


def test_sessions_are_those_of_the_exchange_half_days_and_summer_time_included(
    rows: Rows, sessions: pl.DataFrame
) -> None:
    minutes = rows["bars"].filter(granularity="1m").sort("timestamp")
    placed = minutes.join_asof(sessions.sort("open"), left_on="timestamp", right_on="open", coalesce=False)
    assert (placed["timestamp"] <= placed["close_right"]).all()
    halves = sessions.filter(pl.col("close") - pl.col("open") < timedelta(hours=6))
    assert halves["session"].to_list() == [date(2023, 11, 24)]
    firsts = placed.group_by("session").agg(pl.col("timestamp").min(), pl.col("open_right").first())
    assert firsts["timestamp"].equals(firsts["open_right"].alias("timestamp"))
    assert {t.hour for t in firsts["timestamp"].to_list()} == {13, 14}


def test_minutes_are_sparse_but_their_days_are_whole(rows: Rows) -> None:
    minutes = rows["bars"].filter(granularity="1m").with_columns(day=pl.col("timestamp").dt.date())
    days = rows["bars"].filter(granularity="1d").with_columns(day=pl.col("timestamp").dt.date())
    folded = minutes.group_by("symbol", "day").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
        count=pl.len(),
    )
    both = folded.join(days, on=["symbol", "day"], suffix="_day")
    assert both.height == 5 * (MINUTE_SESSIONS - 1)
    for column in OHLCV:
        assert (both[column] == both[f"{column}_day"]).all()
    counts = both.filter(pl.col("day") != date(2023, 11, 24))["count"]
    assert counts.min() < 385  # type: ignore[operator]
    assert counts.max() <= 391  # type: ignore[operator]


def test_trades_fold_into_the_minutes_exactly(rows: Rows) -> None:
    trades = rows["ticks"].filter(~pl.col("condition").is_in(MESSAGES))
    folded = trades.group_by("symbol", pl.col("timestamp").dt.truncate("1m"), maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("size").sum(),
    )
    both = folded.join(rows["bars"].filter(granularity="1m"), on=["symbol", "timestamp"], suffix="_bar")
    assert folded.height - both.height <= 5  # the minute that runs is no bar yet
    for column in OHLCV:
        assert (both[column] == both[f"{column}_bar"]).all()


def test_trades_share_timestamps_and_auctions_come_with_their_messages(rows: Rows) -> None:
    ticks = rows["ticks"]
    trades = ticks.filter(~pl.col("condition").is_in(MESSAGES))
    assert 0.1 < trades.select("symbol", "timestamp").is_duplicated().mean() < 0.9  # type: ignore[operator]
    assert (ticks["price"] * 100 - (ticks["price"] * 100).round()).abs().max() < 1e-9  # type: ignore[operator]
    assert (ticks["size"] == ticks["size"].round()).all()
    for auction, message, count in (("40", "4000000", 15), ("80", "1000000", 10)):
        prints, told = (
            ticks.filter(condition=c).select("symbol", "timestamp", "price", "size") for c in (auction, message)
        )
        assert prints.height == count
        assert prints.equals(told)
    closes = ticks.filter(condition="80")["timestamp"].dt
    assert (closes.minute() == 0).all()
    assert (closes.second() > 0).all()


def test_a_price_lies_on_a_cent_to_the_last_bit(rows: Rows) -> None:
    prices = rows["bars"]["close"].to_numpy()
    assert (prices == np.array([float(f"{price:.2f}") for price in prices])).all()


def test_a_split_makes_raw_prices_jump(rows: Rows) -> None:
    action = rows["actions"].row(0, named=True)
    own = rows["bars"].filter(granularity="1d", symbol=action["symbol"])
    before, after = (
        own.filter(pl.col("timestamp").dt.date() < action["ex_date"]).tail(1),
        own.filter(pl.col("timestamp").dt.date() >= action["ex_date"]).head(1),
    )
    assert action["value"] in (0.5, 2.0)
    assert before["close"][0] / after["close"][0] == pytest.approx(action["value"], rel=0.15)


def test_messages_come_round_the_clock_half_of_them_neutral(rows: Rows) -> None:
    messages = rows["sentiment"]
    assert set(messages["timestamp"].dt.weekday().unique()) == set(range(1, 8))
    assert set(messages["timestamp"].dt.hour().unique()) == set(range(24))
    assert (messages["sentiment_score"] == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (messages.filter(sentiment_score=0)["confidence"] == 1).all()
    assert messages["external_id"].is_unique().all()
    assert messages["timestamp"].max() > sessions_end(NOON)  # type: ignore[operator]


def test_the_mean_of_a_sessions_messages_is_its_mood(sessions: pl.DataFrame) -> None:
    known = sessions.with_columns(after=pl.col("close").shift(1), auction=pl.lit(value=True))
    days = simulate_days(7, 3, known, 50)
    means = messages_of(7, days).group_by("symbol", "date").agg(pl.col("sentiment_score").mean()).sort("symbol", "date")
    expected = np.clip(0.1 * days.mood, -0.4, 0.4).ravel()
    assert means["sentiment_score"].to_numpy() == pytest.approx(expected, abs=1e-4)


def sessions_end(moment: datetime) -> datetime:
    """The close before the moment."""
    return moment.replace(hour=21) - timedelta(days=1)


def planted(rows: Rows, sessions: pl.DataFrame, lag: int) -> list[float]:
    """Correlation of mean sentiment with the return `lag` sessions later, per symbol, by plain numpy."""
    closes = sessions["close"].dt.epoch("s").to_numpy()
    days = [str(d) for d in sessions["session"]]
    found = []
    for symbol in rows["bars"]["symbol"].unique().sort():
        messages = rows["sentiment"].filter(symbol=symbol)
        number = np.searchsorted(closes, messages["timestamp"].dt.epoch("us").to_numpy() / 1e6, side="left")
        total = np.bincount(number, messages["sentiment_score"].to_numpy(), len(closes) + 1)
        mean = total / np.maximum(np.bincount(number, minlength=len(closes) + 1), 1)
        bars = rows["bars"].filter(symbol=symbol, granularity="1d")
        price = dict(zip((str(t.date()) for t in bars["timestamp"].to_list()), bars["close"], strict=True))
        split = {str(d): v for d, v in rows["actions"].filter(symbol=symbol).select("ex_date", "value").rows()}
        pairs = [
            (mean[n - lag], price[days[n]] * split.get(days[n], 1.0) / price[days[n - 1]] - 1)
            for n in range(max(lag, 1), len(days))
            if days[n] in price and days[n - 1] in price and 0 <= n - lag < len(days)
        ]
        found.append(float(np.corrcoef(np.array(pairs).T)[0, 1]))
    return found


def test_the_planted_relation_is_there_at_its_lag_only(markets: Markets) -> None:
    long = simulate(markets, sessions=1_000)
    sessions = markets.sessions_of("XNYS").filter(pl.col("open") <= NOON).tail(1_000)
    assert planted(long, sessions, PLANTED_LAG) == pytest.approx([PLANTED_CORRELATION] * 5, abs=0.08)
    for lag in (-2, -1, 0, 2, 3):
        assert planted(long, sessions, lag) == pytest.approx([0.0] * 5, abs=0.12)


def test_sixty_sessions_are_enough_to_find_it(rows: Rows, sessions: pl.DataFrame) -> None:
    strength = {lag: np.mean(planted(rows, sessions, lag)) for lag in range(-3, 4)}
    assert max(strength, key=lambda lag: abs(strength[lag])) == PLANTED_LAG


def test_late_rows_arrive_later_and_change_nothing_else(markets: Markets, rows: Rows) -> None:
    late = simulate(markets, wrongs=Wrongs(late=0.1))
    for dataset in ("ticks", "bars", "sentiment"):
        key = list(KEYS[dataset])
        assert_frame_equal(late[dataset], rows[dataset].join(late[dataset], on=key, how="semi"))
        missing = rows[dataset].join(late[dataset], on=key, how="anti")
        assert missing.height > 0
        assert missing["timestamp"].min() > NOON - LATE_BY - timedelta(hours=8)  # type: ignore[operator]
    arrived = simulate(markets, NOON + LATE_BY, Wrongs(late=0.1))
    missing = rows["ticks"].join(late["ticks"], on=list(KEYS["ticks"]), how="anti")
    recent = missing.filter(pl.col("timestamp") >= arrived["ticks"]["timestamp"].min())
    assert recent.height > 0
    assert recent.join(arrived["ticks"], on=list(KEYS["ticks"]), how="semi").height == recent.height


def test_wrong_prices_are_corrected_a_day_later(markets: Markets, rows: Rows) -> None:
    wrong = simulate(markets, wrongs=Wrongs(corrected=0.1))
    for dataset, price in (("ticks", "price"), ("bars", "close")):
        off = (wrong[dataset][price] - rows[dataset][price]).round(6)
        assert set(off.unique()) == {0.0, 0.05}
        times = rows[dataset].filter(off > 0)["timestamp"]
        assert times.min() > NOON - LATE_BY - timedelta(hours=8)  # type: ignore[operator]
    then = simulate(markets, NOON + LATE_BY, Wrongs(corrected=0.1))["ticks"]
    right = simulate(markets, NOON + LATE_BY)["ticks"]
    old = pl.col("timestamp") <= NOON
    assert_frame_equal(then.filter(old), right.filter(old))


def test_a_market_too_young_has_no_rows(markets: Markets) -> None:
    assert simulate(markets, datetime(2010, 1, 4, 12, tzinfo=UTC)) == {}
    few = simulate(markets, datetime(2010, 1, 12, 22, tzinfo=UTC))
    assert few["bars"].filter(granularity="1d", symbol="WARM").height == 6


def test_a_thousand_names_are_all_different_and_allowed() -> None:
    names = symbol_names(1_000)
    assert len(set(names)) == 1_000
    assert all(map(is_symbol, names))
    assert symbol_names(5) == names[:5]


def test_a_source_is_opened_by_its_kind(markets: Markets) -> None:
    assert isinstance(open_source("s", SourceSettings(kind="simulated"), markets), SimulatedSource)
    assert isinstance(open_source("s", SourceSettings(path="x"), markets), FileSource)


def test_noise_is_even_normal_and_a_function_of_its_coordinates() -> None:
    draws = uniform(7, Purpose.PATH, np.arange(100_000))
    assert draws.min() > 0
    assert draws.max() < 1
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.05)
    bell = normal(7, Purpose.PATH, np.arange(100_000))
    assert (bell.mean(), bell.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert abs(np.corrcoef(bell[1:], bell[:-1])[0, 1]) < 0.02
    assert (uniform(7, Purpose.PATH, np.arange(50, 60)) == draws[50:60]).all()
    assert (uniform(8, Purpose.PATH, np.arange(10)) != draws[:10]).all()
    assert (uniform(7, Purpose.LATE, np.arange(10)) != draws[:10]).all()

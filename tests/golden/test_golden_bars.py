"""Bars of real trades and vendors' real bars; expectations are counted in plain Python from the raw rows."""

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from transforms.resample import bars_from_minutes, fill_bars, resample
from transforms.schema import BARS, RAW_BARS, TICKS
from transforms.sessions import BucketRules
from transforms.ticks import bars_from_ticks

pytestmark = pytest.mark.data

REGULAR = BucketRules()
MESSAGES, CLOSING_PRINT = 0x5000000, 0x80
MINUTE = timedelta(minutes=1)
WEEK = [date(2013, 10, day) for day in range(7, 12)]
OPEN, CLOSE = timedelta(hours=13, minutes=30), timedelta(hours=20)  # 09:30 and 16:00 in New York that week, in UTC
DAY_END = timedelta(hours=28)
Trade = tuple[str, datetime, float, float, int, str]


@pytest.fixture(scope="module")
def raw_ticks(shared: Path) -> pl.DataFrame:
    """In file order, which is the order of trading."""
    return pl.read_parquet(shared / "data/ticks.parquet")


@pytest.fixture(scope="module")
def trades(raw_ticks: pl.DataFrame) -> list[Trade]:
    """Every row that is a trade: symbol, time, price, size, condition bits, exchange."""
    columns = ("symbol", "timestamp", "price", "size", "condition_hex", "exchange")
    rows = raw_ticks.select(columns).iter_rows()
    every = [(s, t, price, float(size), int(bits, 16), exchange) for s, t, price, size, bits, exchange in rows]
    return [trade for trade in every if not trade[4] & MESSAGES]


@pytest.fixture(scope="module")
def minutes(raw_ticks: pl.DataFrame, nyse: pl.DataFrame) -> pl.DataFrame:
    number = pl.int_range(pl.len(), dtype=pl.Int32).over("symbol", "timestamp")
    ticks = raw_ticks.lazy().select(
        "symbol",
        "timestamp",
        pl.lit("lean").alias("source"),
        number.alias("sequence"),
        "price",
        pl.col("size").cast(pl.Float64),
        pl.col("condition_hex").alias("condition"),
    )
    assert ticks.collect_schema() == TICKS
    ordered = ticks.sort("symbol", "timestamp", "sequence")
    return bars_from_ticks(ordered, nyse.lazy(), REGULAR).collect()


def minute_of(trade: Trade) -> datetime | None:
    """The minute a trade counts in, by hand: New York's regular hours, and the closing print in the last one."""
    _, moment, _, _, bits, _ = trade
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if OPEN <= moment - midnight < CLOSE:
        return moment.replace(second=0, microsecond=0)
    if CLOSE <= moment - midnight < DAY_END and bits & CLOSING_PRINT:
        return midnight + CLOSE - MINUTE
    return None


def test_minute_bars_are_the_fold_of_the_trades(trades: list[Trade], minutes: pl.DataFrame) -> None:
    folded: dict[tuple[str, datetime], list[Trade]] = defaultdict(list)
    for trade in trades:
        minute = minute_of(trade)
        if minute:
            folded[trade[0], minute].append(trade)
    expected = [
        (
            *key,
            key[1].date(),
            some[0][2],
            max(trade[2] for trade in some),
            min(trade[2] for trade in some),
            some[-1][2],
            sum(trade[3] for trade in some),
        )
        for key, some in sorted(folded.items())
    ]
    assert minutes.rows() == expected


def test_minute_volumes_are_the_vendors_but_for_a_few(shared: Path, minutes: pl.DataFrame) -> None:
    """The vendor's own bars: 99.45 % of minutes agree exactly (its README); never deduplicate."""
    vendor = pl.read_parquet(shared / "data/minute_bars.parquet").filter(
        (pl.col("source") == "lean") & pl.col("symbol").is_in(["BAC", "IBM"]) & (pl.col("close") > 0)
    )
    both = minutes.join(vendor, on=["symbol", "timestamp"], suffix="_vendor")
    last = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.time() == time(15, 59)
    inside = both.filter(~last)  # there the closing print is ours, and a row of its own at the vendor's
    assert len(inside) > 3500
    assert (inside["volume"] == inside["volume_vendor"]).mean() > 0.99  # type: ignore[operator]


def test_the_week_has_five_daily_bars_that_close_with_the_closing_print(
    trades: list[Trade], minutes: pl.DataFrame, nyse: pl.DataFrame, shared: Path
) -> None:
    daily = resample(minutes.lazy(), "1d", nyse.lazy(), REGULAR).collect()
    assert daily.select("symbol", "session").rows() == [(s, day) for s in ("BAC", "IBM") for day in WEEK]
    official = {(t[0], t[1].date()): t for t in trades if t[4] & CLOSING_PRINT and t[5] == "N"}
    assert len(official) == 10
    traded: dict[tuple[str, date], float] = defaultdict(float)
    for trade in trades:
        if minute_of(trade):
            traded[trade[0], trade[1].date()] += trade[3]
    for bar in daily.rows(named=True):
        auction = official[bar["symbol"], bar["session"]]
        assert bar["close"] == auction[2]
        assert bar["volume"] == traded[bar["symbol"], bar["session"]]
        assert 0.02 < auction[3] / bar["volume"] < 0.15
        assert auction[1] > datetime.combine(bar["session"], datetime.min.time(), UTC) + CLOSE
    yahoo = pl.read_parquet(shared / "data/daily.parquet").rename({"date": "session"})
    both = daily.join(yahoo, on=["symbol", "session"], suffix="_yahoo")
    assert both["symbol"].unique().to_list() == ["BAC"]  # the file has no IBM
    assert both["close"].round(2).to_list() == both["close_yahoo"].round(2).to_list()
    assert both["open"].to_list() == pytest.approx(both["open_yahoo"].to_list(), abs=1e-6)
    ratio = (both["volume"] / both["volume_yahoo"]).to_list()
    assert all(0.95 < r < 1 for r in ratio)  # theirs has the trades outside regular hours


def as_rows(frame: pl.DataFrame, granularity: str, shift: timedelta = timedelta(0)) -> pl.LazyFrame:
    return (
        frame.lazy()
        .with_columns(
            pl.col("timestamp") - shift,
            pl.col("volume").cast(pl.Float64),
            granularity=pl.lit(granularity),
            source=pl.lit("vendor"),
            adjusted_close=pl.lit(None, dtype=pl.Float64),
        )
        .select(RAW_BARS.names())
        .sort("symbol", "timestamp")
    )


def spans(bars: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """First and last label of each session beside its bounds."""
    ends = bars.group_by("session").agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
    return ends.join(sessions, on="session").sort("session")


def test_spy_minutes_begin_at_the_open_and_end_at_the_close_across_the_clock_change(
    shared: Path, nyse: pl.DataFrame
) -> None:
    spy = pl.read_parquet(shared / "data/minute_bars.parquet").filter(source="pyalgotrade_ninjatrader")
    assert set(spy["bar_label"]) == {"end"}
    bars = bars_from_minutes(as_rows(spy, "1m", MINUTE), nyse.lazy(), REGULAR).collect()
    found = spans(bars, nyse)
    march = found.filter(pl.col("session") >= date(2011, 3, 1))
    assert set(march["open"].dt.hour()) == {13, 14}
    assert march["session"].n_unique() == 23
    assert found["first"].to_list() == found["open"].to_list()
    assert found["last"].to_list() == [close - MINUTE for close in found["close"]]


@pytest.fixture(scope="module")
def hours(shared: Path) -> pl.DataFrame:
    return pl.read_parquet(shared / "data/hour_bars.parquet")


def test_23_years_of_hours_begin_at_the_open_and_none_crosses_an_early_close(
    hours: pl.DataFrame, nyse: pl.DataFrame
) -> None:
    how, nothing = BucketRules(align="clock"), pl.LazyFrame(schema=BARS)
    bars = fill_bars(as_rows(hours, "1h"), "1h", nyse.lazy(), how, nothing).collect()
    for symbol in ("BAC", "IBM"):
        found = spans(bars.filter(symbol=symbol), nyse)
        assert len(found) > 5_800
        late = found.filter(pl.col("first") != pl.col("open"))["session"].to_list()
        assert set(late) <= {date(2001, 6, 8), date(2002, 9, 11)}  # the exchange itself opened late
        assert (found["last"] < found["close"]).all()
        assert (found["last"] >= found["close"] - timedelta(hours=1)).all()
    kept = bars.select("symbol", pl.col("timestamp").dt.truncate("1h"))
    gone = hours.join(kept, on=["symbol", "timestamp"], how="anti")
    closes = dict(nyse.select("session", "close").iter_rows())
    assert len(gone) == 64
    assert all(moment >= closes[moment.date()] for moment in gone["timestamp"])  # all after an early close


def test_hours_fold_into_the_days_they_are_of(hours: pl.DataFrame, nyse: pl.DataFrame) -> None:
    bars = fill_bars(as_rows(hours, "1h"), "1d", nyse.lazy(), REGULAR, pl.LazyFrame(schema=BARS)).collect()
    closes = dict(nyse.select("session", "close").iter_rows())
    days: dict[tuple[str, date], list[dict[str, Any]]] = defaultdict(list)
    for row in hours.sort("symbol", "timestamp").iter_rows(named=True):
        if row["timestamp"] < closes[row["timestamp"].date()]:
            days[row["symbol"], row["timestamp"].date()].append(row)
    expected = pl.DataFrame(
        {
            "symbol": [symbol for symbol, _ in days],
            "session": [day for _, day in days],
            "open": [some[0]["open"] for some in days.values()],
            "high": [max(row["high"] for row in some) for some in days.values()],
            "low": [min(row["low"] for row in some) for some in days.values()],
            "close": [some[-1]["close"] for some in days.values()],
            "volume": [float(sum(row["volume"] for row in some)) for some in days.values()],
        }
    )
    assert_frame_equal(bars.drop("timestamp"), expected)

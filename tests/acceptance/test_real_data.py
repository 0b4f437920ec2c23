"""What the pipeline makes of real data, against numbers that none of our code computed."""

import statistics
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import exchange_calendars
import polars as pl
import psycopg
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr

from flows.wiring import Deps
from storage.embedded import running

pytestmark = [pytest.mark.data, pytest.mark.postgres, pytest.mark.redis]
NEW_YORK = ZoneInfo("America/New_York")
WEEK = [date(2013, 10, day) for day in range(7, 12)]
MESSAGES, AUCTION = 0x5000000, 0x80


def query(deps: Deps, text: str, *values: object) -> list[tuple[object, ...]]:
    """Rows by psycopg, on a connection that is none of ours."""
    servers = running(deps.settings.home)
    assert servers is not None
    with psycopg.connect(servers.reader_url) as connection:
        connection.execute("SET search_path = warmbars")
        connection.execute("SET TIME ZONE 'UTC'")
        return connection.execute(text, values).fetchall()


def trades(shared: Path, symbol: str) -> list[dict[str, object]]:
    """The trades of the tick file in its order, messages left out, that fall into a regular session of XNYS.

    One after the close counts if it carries the condition of the closing auction.
    """
    table = pq.read_table(shared / "data" / "ticks.parquet", filters=[("symbol", "=", symbol)])
    found = []
    for row in table.to_pylist():
        bits = int(row["condition_hex"], 16)
        local = row["timestamp"].astimezone(NEW_YORK)
        minutes = local.hour * 60 + local.minute
        late = minutes >= 16 * 60
        if bits & MESSAGES or minutes < 9 * 60 + 30 or (late and not bits & AUCTION):
            continue
        found.append({**row, "local": local, "late": late})
    return found


@pytest.mark.parametrize("symbol", ["BAC", "IBM"])
def test_minute_volumes_are_the_sums_of_tick_sizes(real: Deps, shared: Path, symbol: str) -> None:
    sums: dict[datetime, float] = defaultdict(float)
    for trade in trades(shared, symbol):
        local = trade["local"]
        assert isinstance(local, datetime)
        minute = local.replace(hour=15, minute=59) if trade["late"] else local
        sums[minute.replace(second=0, microsecond=0).astimezone(UTC)] += trade["size"]  # type: ignore[operator]
    stored = query(real, "SELECT timestamp, volume FROM bars_1m WHERE symbol = %s AND session = ANY(%s)", symbol, WEEK)
    assert dict(stored) == dict(sums)  # type: ignore[arg-type]
    assert len(stored) > 1900


@pytest.mark.parametrize("symbol", ["BAC", "IBM"])
def test_five_days_close_with_the_auction_of_the_listing_exchange(real: Deps, shared: Path, symbol: str) -> None:
    """The official close of the New York Stock Exchange is its auction's price.

    The file's "official close" messages come from Nasdaq (Q) and Arca (P) and tell their own last prices, up to
    0.08 away: on 2013-10-07 Nasdaq says 13.80 for BAC where the auction made 13.81, as the daily vendor has it.
    """
    stored = query(
        real,
        "SELECT session, close, volume FROM bars_1d WHERE symbol = %s AND session = ANY(%s) ORDER BY 1",
        symbol,
        WEEK,
    )
    assert [row[0] for row in stored] == WEEK
    regular = trades(shared, symbol)
    for session, close, volume in stored:
        day = [t for t in regular if t["local"].date() == session]  # type: ignore[attr-defined]
        auction = [t for t in day if t["late"] and t["exchange"] == "N"]
        assert len(auction) == 1
        assert close == auction[0]["price"]
        assert volume == sum(t["size"] for t in day)  # type: ignore[misc]
        assert auction[0]["size"] > 0.02 * volume  # type: ignore[operator]


def test_closes_and_volumes_are_near_the_daily_vendors(real: Deps, shared: Path) -> None:
    """The vendor's close is the auction's; its volume also counts trades before the open and after the close."""
    vendor = {
        row["date"]: row
        for row in pq.read_table(shared / "data" / "daily.parquet", filters=[("symbol", "=", "BAC")]).to_pylist()
    }
    stored = query(real, "SELECT session, close, volume FROM bars_1d WHERE symbol = 'BAC' AND session = ANY(%s)", WEEK)
    for session, close, volume in stored:
        assert close == pytest.approx(vendor[session]["close"], abs=1e-6)
        assert 0.94 < volume / vendor[session]["volume"] <= 1  # type: ignore[operator]


def test_spy_minutes_begin_and_end_with_the_session_across_the_clock_change(real: Deps, shared: Path) -> None:
    table = pq.read_table(shared / "data" / "minute_bars.parquet", filters=[("symbol", "=", "SPY")])
    dates = {t.astimezone(NEW_YORK).date() for t in table["timestamp"].to_pylist()}
    calendar = exchange_calendars.get_calendar("XNYS", start="2011-01-01", end="2011-12-31")
    stored = query(
        real,
        "SELECT session, min(timestamp), max(timestamp) FROM bars_1m"
        " WHERE symbol = 'SPY' AND session BETWEEN '2011-01-01' AND '2011-12-31' GROUP BY 1 ORDER BY 1",
    )
    assert {row[0] for row in stored} == {d for d in dates if d.year == 2011 and calendar.is_session(str(d))}
    assert {row[0] for row in stored} >= {date(2011, 3, 11), date(2011, 3, 14)}
    for session, first, last in stored:
        assert first == calendar.session_open(str(session))
        assert last == calendar.session_close(str(session)) - timedelta(minutes=1)  # type: ignore[operator]


@pytest.mark.parametrize("symbol", ["IBM", "BAC"])
def test_hours_of_23_years_make_days_that_begin_and_end_with_the_session(real: Deps, shared: Path, symbol: str) -> None:
    """Half days and clock changes included: a day made of hours opens with the first and closes with the last.

    The vendor stamps clock hours (the first says 09:00 and covers 09:30 to 10:00), so in New York dates a day's
    hours must lie between its open and its close, and the day bar is their fold.
    """
    table = pq.read_table(shared / "data" / "hour_bars.parquet", filters=[("symbol", "=", symbol)])
    days: dict[date, list[dict[str, object]]] = defaultdict(list)
    for row in sorted(table.to_pylist(), key=lambda row: row["timestamp"]):
        days[row["timestamp"].astimezone(NEW_YORK).date()].append(row)
    calendar = exchange_calendars.get_calendar("XNYS", start="1998-01-01", end="2021-12-31")
    finer = {row[0] for row in query(real, "SELECT session FROM bars_1d_rollup WHERE symbol = %s", symbol)}
    exact = {row[0] for row in query(real, _VENDOR_DAYS, symbol)}
    stored = {row[0]: row[1:] for row in query(real, _DAY_BARS, symbol)}
    half_days = checked = 0
    for session, hours in days.items():
        if session in finer or session in exact or not calendar.is_session(str(session)):
            continue
        opened, closed = calendar.session_open(str(session)), calendar.session_close(str(session))
        inside = [h for h in hours if opened - timedelta(minutes=30) <= h["timestamp"] < closed]
        half_days += closed.astimezone(NEW_YORK).hour == 13
        volume = sum(h["volume"] for h in inside)  # type: ignore[misc]
        highs, lows = [h["high"] for h in inside], [h["low"] for h in inside]
        expected = (opened, inside[0]["open"], max(highs), min(lows), inside[-1]["close"], volume)  # type: ignore[type-var]
        assert stored[session] == expected, session
        checked += 1
    assert checked > 4000
    assert half_days > 20


_VENDOR_DAYS = "SELECT DISTINCT timestamp::date FROM stock_data WHERE symbol = %s AND granularity = '1d'"
_DAY_BARS = "SELECT session, timestamp, open, high, low, close, volume FROM bars_1d WHERE symbol = %s"


def test_sentiment_and_return_of_apple_correlate_as_scipy_says(real: Deps, shared: Path) -> None:
    """Joined by hand: closes of the daily file, sentiment by the session whose close it came before."""
    stored = query(real, _APPLES)
    assert [row[0] for row in stored] == list(range(-5, 6))
    sessions, returns = _returns(real)
    means = _means(shared, sessions)
    for lag, r, n in stored:
        pairs = [
            (means[session], returns[i + lag])  # type: ignore[operator]
            for i, session in enumerate(sessions)
            if session in means and 0 <= i + lag < len(returns) and returns[i + lag] is not None  # type: ignore[operator]
        ]
        assert n == len(pairs)
        assert r == pytest.approx(float(pearsonr(*zip(*pairs, strict=True)).statistic), abs=1e-12)


_APPLES = (
    "SELECT lag, r, n FROM correlations WHERE symbol = 'AAPL' AND x = 'sentiment_mean' AND method = 'pearson'"
    " ORDER BY lag"
)


def _returns(deps: Deps) -> tuple[list[date], list[float | None]]:
    """Sessions of Apple's bars and the change of the close since the bar before, splits made up for by hand."""
    bars = query(deps, "SELECT session, close FROM bars_1d WHERE symbol = 'AAPL' ORDER BY 1")
    splits = {date(2014, 6, 9): 7.0}
    returns: list[float | None] = [None]
    for (before, old), (session, new) in zip(bars, bars[1:], strict=False):
        split = 1.0
        for ex_date, ratio in splits.items():
            if before < ex_date <= session:  # type: ignore[operator]
                split *= ratio
        returns.append(new * split / old - 1)  # type: ignore[operator]
    return [row[0] for row in bars], returns  # type: ignore[misc]


def _means(shared: Path, sessions: list[date]) -> dict[date, float]:
    """Mean score of the messages that came up to each session's close and after the one before."""
    calendar = exchange_calendars.get_calendar("XNYS", start="2012-01-01", end="2018-12-31")
    closes = [(row.close.to_pydatetime(), day.date()) for day, row in calendar.schedule.iterrows()]
    table = pq.read_table(shared / "data" / "sentiment.parquet", filters=[("symbol", "=", "AAPL")])
    messages = sorted(zip(table["timestamp"].to_pylist(), table["sentiment_score"].to_pylist(), strict=True))
    scores: dict[date, list[float]] = defaultdict(list)
    place = 0
    for moment, score in messages:
        while closes[place][0] < moment:
            place += 1
        scores[closes[place][1]].append(score)
    return {session: statistics.fmean(found) for session, found in scores.items() if session in set(sessions)}


def test_rows_that_are_no_bars_are_set_aside_with_their_reason(real: Deps) -> None:
    rejected = query(real, "SELECT origin, rule, count(*) FROM rejected_rows GROUP BY 1, 2")
    assert rejected == [("daily.parquet", "null_value", 2)]


def test_a_symbol_published_is_there_for_the_dashboards(real: Deps) -> None:
    catalogue = real.reader().catalogue().value
    assert set(catalogue["symbol"]) >= {"AAPL", "BAC", "IBM", "SPY", "^GSPC"}
    assert isinstance(catalogue, pl.DataFrame)

"""`warmbars verify`: what differs is found, told with its lineage, marked, and made again by a refresh."""

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows import steps
from flows.cli import app
from flows.verify import Asked, Verified, verify
from flows.verify_read import stretches
from flows.wiring import Deps, wire
from storage.cache.codec import body_of
from storage.market.database import statement
from storage.market.raw import Rows
from storage.market.retention import RetentionStore
from storage.settings import Settings
from tests.flows.conftest import Cli
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.errors import ConfigurationError, UnknownSymbol
from transforms.schema import ACTIONS, MARKET_SYMBOL, RAW_BARS, SENTIMENT, TICKS

NEW_YORK = "America/New_York"
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {
    "indicators": ("sma_3", "ema_3", "obv"),
    "correlation_min_n": 3,
    "correlation_lags": (0,),
    "correlation_windows": (4,),
    "rolling_lags": (0,),
    "sentiment_baseline": 2,
}


@pytest.fixture
def made(settings: Settings) -> Iterator[Deps]:
    with wire(settings.model_copy(update=SETTINGS)) as deps:
        yield deps


def days() -> list[datetime]:
    """The opens of 24 sessions."""
    dates = [date(2024, 1, 3) + timedelta(days=n) for n in range(35)]
    kept = [d for d in dates if d.weekday() < 5 and d != date(2024, 1, 15)]
    return [datetime(d.year, d.month, d.day, 14, 30, tzinfo=UTC) for d in kept]


def ingest(deps: Deps) -> None:
    """Two symbols of minutes, one of trades, messages, a split and a vendor's day; refreshed and published."""
    for symbol in ("AAA", "BBB"):
        for number, start in enumerate(days()):
            price = 10.0 + (number * 7 % 5) + (symbol == "BBB") * (number**2 % 11)
            deps.raw.upsert(bar_rows(minutes(6, symbol=symbol, start=start, price=price)))
    deps.raw.upsert(bar_rows(vendors_day(days()[0] - timedelta(days=1))))
    list(deps.raw.replace(tick_rows(ticks(300, symbol="CCC", start=OPEN)), NEW_YORK))
    deps.raw.upsert(Rows("sentiment", messages(), "raw", "XNYS", 1))
    deps.raw.upsert(Rows("actions", split(), "raw", "XNYS", 1))
    steps.refresh(deps, AS_OF)
    steps.publish(deps, AS_OF)


def vendors_day(at: datetime) -> pl.DataFrame:
    return minutes(1, start=at).with_columns(granularity=pl.lit("1d"), source=pl.lit("days"))


def messages() -> pl.DataFrame:
    rows = [
        ("AAA", start + timedelta(hours=2), "words", "", 0, (number * 3 % 7) / 10 - 0.3, 0.5, None, None)
        for number, start in enumerate(days())
    ]
    return pl.DataFrame(rows, schema=SENTIMENT, orient="row")


def split() -> pl.DataFrame:
    return pl.DataFrame([("AAA", date(2024, 1, 10), "split", "news", 0, 2.0)], schema=ACTIONS, orient="row")


def execute(deps: Deps, *statements: str) -> None:
    with deps.database.transaction() as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount > 0, statement


def check(deps: Deps, *symbols: str, **asked: Any) -> Verified:
    return verify(deps, Asked(symbols=symbols, **asked), AS_OF)


def mended(deps: Deps) -> Verified:
    steps.refresh(deps, AS_OF)
    steps.publish(deps, AS_OF)
    return check(deps, sql=True)


BROKEN = {
    "bars_1m": "UPDATE bars_1m SET close = close + 1 WHERE symbol = 'AAA' AND timestamp = '2024-01-04 14:33+00'",
    "bars_5m_rollup": "DELETE FROM bars_5m_rollup WHERE symbol = 'AAA' AND timestamp = '2024-01-05 14:30+00'",
    "bars_15m_rollup": "UPDATE bars_15m_rollup SET volume = 1 WHERE symbol = 'BBB'",
    "bars_1h_rollup": "INSERT INTO bars_1h_rollup SELECT symbol, timestamp + interval '3 hours', session, open, high,"
    " low, close, volume, run_id FROM bars_1h_rollup WHERE symbol = 'CCC'",
    "bars_1d_rollup": "UPDATE bars_1d_rollup SET session = session + 1 WHERE symbol = 'BBB' AND session = '2024-01-08'",
    "bars_1d_fill": "DELETE FROM bars_1d_fill WHERE symbol = 'AAA'",
    "indicators_5m": "UPDATE indicators_5m SET ema_3 = ema_3 * 1.00000001 WHERE symbol = 'AAA'"
    " AND timestamp = '2024-01-05 14:35+00'",
    "indicators_1d": "UPDATE indicators_1d SET obv = NULL WHERE symbol = 'BBB' AND session = '2024-01-17'",
    "adjustment_factors": "UPDATE adjustment_factors SET price = 0.25 WHERE symbol = 'AAA' AND price < 1",
    "quotes": "UPDATE quotes SET last = last + 1 WHERE symbol = 'CCC'",
    "sentiment_1h": "UPDATE sentiment_1h SET count = 7 WHERE symbol = 'AAA' AND session = '2024-01-09'",
    "sentiment_1d": "UPDATE sentiment_1d SET momentum = momentum + 0.1 WHERE symbol = 'AAA' AND session = '2024-01-11'",
    "correlations": "UPDATE correlations SET r = -r WHERE symbol = 'AAA' AND method = 'pearson'"
    " AND x = 'sentiment_mean'",
    "rolling_correlations": "DELETE FROM rolling_correlations WHERE symbol = 'AAA' AND session = '2024-01-17'",
}


@pytest.mark.postgres
@pytest.mark.redis
def test_a_broken_row_of_every_table_is_found_told_and_made_again(made: Deps) -> None:
    ingest(made)
    first = check(made, sql=True)
    assert first.equal, first.told
    assert first.rows["bars_1m"] == 2 * 24 * 6 + 5
    assert {name for name, n in first.rows.items() if n} >= BROKEN.keys()
    assert first.keys.keys > 20
    execute(made, *BROKEN.values())
    found = check(made, repair=True)
    assert found.wrong.keys() == BROKEN.keys()
    assert found.pending.keys() == {MARKET_SYMBOL}  # it is made of what is broken
    told = {t.difference.table: t for t in found.told if t.difference.symbol != "CCC" or t.difference.table == "quotes"}
    bar = told["bars_1m"].difference
    assert (bar.symbol, bar.kind, bar.column, bar.at) == (
        "AAA",
        "different",
        "close",
        datetime(2024, 1, 4, 14, 33, tzinfo=UTC),
    )
    assert bar.stored == bar.recomputed + 1
    assert told["bars_1m"].run is not None
    assert told["bars_1m"].run["kind"] == "refresh"
    assert [(r.table, r.source, r.granularity, r.rows) for r in told["bars_1m"].raw] == [
        ("stock_data", "test", "1m", 1)
    ]
    assert told["bars_5m_rollup"].difference.kind == "missing"
    assert told["bars_5m_rollup"].raw[0].rows == 5
    assert told["bars_15m_rollup"].difference.rows == {"different": 24}
    assert told["sentiment_1h"].raw[0].table == "sentiment_data"
    assert told["adjustment_factors"].actions == 1
    assert found.marked > 0
    waiting = check(made)
    assert {*waiting.pending} == {"AAA", "BBB", "CCC", MARKET_SYMBOL}
    assert waiting.equal
    after = mended(made)
    assert after.equal, [t.difference for t in after.told]
    assert not after.pending


@pytest.mark.postgres
@pytest.mark.redis
def test_what_is_made_of_all_symbols_is_compared_and_made_again(made: Deps) -> None:
    ingest(made)
    execute(
        made,
        "UPDATE correlation_findings SET p_adjusted = 0.5",
        "UPDATE return_matrix SET r[2] = 0.123 WHERE position = 0",
    )
    found = check(made, repair=True)
    assert found.wrong.keys() == {"correlation_findings", "return_matrix"}
    matrix = next(t.difference for t in found.told if t.difference.table == "return_matrix")
    assert (matrix.column, matrix.stored) == ("r", 0.123)
    assert found.marked == 3  # correlations, returns, and the keys, which show the stored rows
    assert mended(made).equal


@pytest.mark.postgres
@pytest.mark.redis
def test_keys_that_are_lost_altered_or_nobodys_are_found_and_put_right(made: Deps) -> None:
    ingest(made)
    key = made.keys.of
    content = made.client.hget(key("AAA", "bars:5m"), "body")
    assert isinstance(content, bytes)
    other = content.replace(b"null", b"1.0") if b"null" in content else content.replace(b"1", b"2", 1)
    made.client.hset(key("AAA", "bars:5m"), "body", other)
    forged = body_of(b'{"schema":{},"columns":{}}')
    made.client.hset(key("AAA", "quote"), mapping={"body": forged.content, "etag": forged.etag, "version": "1-1"})
    made.client.delete(key("AAA", "bars:1h"))
    made.client.hset(key("AAA", "bars:7m"), "body", "x")
    made.client.delete(key("BBB", "bars:15m"))
    made.client.set(key("BBB", "bars:15m"), "a string")
    made.client.delete(made.keys.head("CCC"))
    made.client.hset(made.keys.head("NOBODY"), mapping={"epoch": 1, "version": 1})
    found = check(made, repair=True)
    assert not found.wrong
    faults = {(f.symbol, f.name): f.fault for f in found.keys.faults}
    left = {name for symbol, name in faults if symbol == "CCC"} - {"head"}
    assert {pair: fault for pair, fault in faults.items() if pair[0] != "CCC"} == {
        ("AAA", "bars:5m"): "altered",
        ("AAA", "quote"): "altered",
        ("AAA", "bars:1h"): "missing",
        ("AAA", "bars:7m"): "unlisted",
        ("BBB", "bars:15m"): "unreadable",
        ("NOBODY", "head"): "unlisted",
    }
    assert faults["CCC", "head"] == "missing"
    assert "bars:5m" in left  # without a head nothing lists them
    assert mended(made).equal
    assert made.client.hget(key("AAA", "bars:5m"), "body") == content
    made.client.flushall()
    lost = check(made)
    assert {(f.name, f.fault) for f in lost.keys.faults} == {("head", "missing")}
    assert {f.symbol for f in lost.keys.faults} == {"AAA", "BBB", "CCC", MARKET_SYMBOL}
    steps.sweep(made)
    assert check(made).equal


@pytest.mark.postgres
@pytest.mark.redis
def test_a_version_that_waits_to_be_published_is_pending_and_one_from_the_future_is_told(made: Deps) -> None:
    ingest(made)
    list(made.raw.replace(tick_rows(ticks(200, symbol="CCC", start=OPEN)), NEW_YORK))
    before = check(made)
    assert before.equal
    assert before.pending == {"CCC": "1 dirty window"}
    steps.refresh(made, AS_OF)
    waiting = check(made)
    assert waiting.equal
    assert not waiting.pending
    assert waiting.keys.pending == [MARKET_SYMBOL, "CCC"]
    steps.publish(made, AS_OF)
    execute(made, "UPDATE publications SET version = version - 1, published_version = version - 1 WHERE symbol = 'CCC'")
    ahead = check(made, "CCC", repair=True)
    assert [(f.name, f.fault) for f in ahead.keys.faults] == [("head", "ahead")]
    assert ahead.marked == 0


@pytest.mark.postgres
@pytest.mark.redis
def test_rows_of_symbols_that_do_not_exist_are_found(made: Deps) -> None:
    ingest(made)
    columns = "timestamp, session, last, open, high, low, volume, run_id"
    execute(made, f"INSERT INTO quotes (symbol, {columns}) SELECT 'ZZZ', {columns} FROM quotes WHERE symbol = 'AAA'")
    found = check(made, keys=False, repair=True)
    assert (found.wrong, found.unmarked, found.marked) == ({"quotes": 1}, ["ZZZ"], 0)
    assert found.told[0].difference.kind == "unexpected"


@pytest.mark.postgres
@pytest.mark.redis
def test_a_symbol_with_more_rows_than_memory_is_read_in_stretches(made: Deps) -> None:
    ingest(made)
    whole = check(made, "AAA", sql=True)
    with wire(made.settings.model_copy(update={"refresh_batch_rows": 1_000})) as few:
        few_rows = few.settings.model_copy(update={"refresh_batch_rows": 20})
        object.__setattr__(few, "settings", few_rows)
        again = check(few, "AAA", sql=True)
        assert again.rows == whole.rows
        assert again.equal
        days_read = [b - a for a, b in cut(few)]
    assert len(days_read) > 5


def cut(deps: Deps) -> list[tuple[datetime, datetime]]:
    counted = deps.database.frame(
        statement("SELECT timestamp::date AS day, count(*) AS rows FROM stock_data GROUP BY 1 ORDER BY 1")
    )
    return list(stretches(counted, deps.market("XNYS", AS_OF), 20))


@pytest.mark.postgres
@pytest.mark.redis
def test_what_retention_has_frozen_stands_and_the_rest_is_compared(made: Deps) -> None:
    ingest(made)
    before = check(made, sql=True)
    retention = RetentionStore(made.database)
    for dataset in ("bars", "ticks", "sentiment"):
        retention.advance(dataset, datetime(2024, 1, 12, 17, tzinfo=UTC))
        assert sum(rows for _, rows in retention.expire(dataset)) > 0
    assert retention.frozen(["AAA"])
    after = check(made, sql=True)
    assert after.equal, [t.difference for t in after.told]
    assert after.rows == before.rows
    assert sum(after.sql.rows.values()) < sum(before.sql.rows.values())
    assert after.raw_rows < before.raw_rows
    execute(
        made,
        "UPDATE bars_1m SET high = 99 WHERE symbol = 'AAA' AND timestamp < '2024-01-10'",
        "UPDATE sentiment_1h SET count = 9 WHERE symbol = 'AAA' AND timestamp < '2024-01-09'",
    )
    assert check(made, keys=False).equal  # there is nothing to hold them against
    execute(
        made,
        "UPDATE bars_5m_rollup SET high = 99 WHERE symbol = 'AAA' AND timestamp > '2024-01-20'",
        "UPDATE sentiment_1d SET count = 9 WHERE symbol = 'AAA' AND timestamp > '2024-01-20'",
    )
    assert check(made, keys=False).wrong.keys() == {"bars_5m_rollup", "sentiment_1d"}


@pytest.mark.postgres
@pytest.mark.redis
def test_nothing_differs_while_others_ingest_refresh_and_publish(made: Deps) -> None:
    ingest(made)
    stop, errors = threading.Event(), list[Exception]()

    def others() -> None:
        for number in itertools.count():
            symbol = ("AAA", "BBB", "CCC")[number % 3]
            try:
                made.raw.upsert(bar_rows(minutes(3, symbol=symbol, start=days()[number % 5], price=50.0 + number)))
                steps.refresh(made, AS_OF)
                steps.publish(made, AS_OF)
            except Exception as exc:  # noqa: BLE001, the test fails with it
                errors.append(exc)
            if stop.is_set() or errors:
                return

    thread = threading.Thread(target=others)
    thread.start()
    try:
        found = [check(made, sql=True) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert not errors
    for done in found:
        assert done.equal, (done.told, done.keys.faults, done.sql.differences)
    assert check(made, sql=True).equal
    assert made.outbox.versions()["AAA"][1] > 2


@pytest.mark.postgres
@pytest.mark.redis
def test_what_cannot_be_answered_is_an_error(made: Deps) -> None:
    with pytest.raises(UnknownSymbol, match="ZZZ"):
        check(made, "ZZZ")
    empty = check(made)
    assert (empty.equal, empty.known, empty.symbols) == (True, 0, [])
    ingest(made)
    with (
        wire(made.settings.model_copy(update={"indicators": ("sma_3",)})) as other,
        pytest.raises(ConfigurationError, match="indicators.*warmbars refresh"),
    ):
        check(other)


@pytest.fixture
def cli(program: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program on the session's servers."""
    monkeypatch.setenv("COLUMNS", "140")
    return program


@pytest.mark.postgres
@pytest.mark.redis
def test_the_command_says_it_in_its_exit_code(deps: Deps, cli: Cli) -> None:
    for symbol in ("AAA", "BBB", "CCC"):
        deps.raw.upsert(bar_rows(minutes(30, symbol=symbol, start=OPEN)))
    steps.refresh(deps, AS_OF)
    steps.publish(deps, AS_OF)
    equal = cli("verify", "--sql")
    assert (equal.exit_code, equal.stderr) == (0, "")
    assert "equal" in equal.stdout
    assert "bars_5m_rollup (SQL)" in equal.stdout
    execute(deps, "UPDATE bars_5m_rollup SET high = 99 WHERE symbol = 'BBB' AND timestamp = '2024-01-03 14:40+00'")
    some = cli("verify", "AAA", "CCC", "--json")
    assert (some.exit_code, json.loads(some.stdout)["symbols"]) == (0, ["AAA", "CCC"])
    wrong = cli("verify", "--all", "--no-keys", "--repair")
    assert wrong.exit_code == 1
    for words in ("BBB  bars_5m_rollup", "first at 2024-01-03 14:40:00 UTC", "stored 99.0", "5 rows of 1m stock_data"):
        assert words in wrong.stdout, wrong.stdout
    assert "Next: warmbars refresh" in wrong.stdout or "refresh, then" in wrong.stdout
    assert cli("refresh").exit_code == 0
    assert cli("publish").exit_code == 0
    told = json.loads(cli("verify", "--sample", "34%", "--seed", "3", "--json").stdout)
    assert (told["equal"], told["known"], told["wrong"], told["keys"]["faults"]) == (True, 3, {}, [])
    assert len(told["symbols"]) == 2
    again = json.loads(cli("verify", "--sample", "2", "--seed", "3", "--json").stdout)
    assert again["symbols"] == told["symbols"]


@pytest.mark.parametrize(
    "args",
    [
        ["AAA", "--all"],
        ["AAA", "--sample", "3"],
        ["--all", "--seed", "1"],
        ["--sample", "0"],
        ["--sample", "many"],
        ["--sample", "120%"],
        ["--sample", "-1"],
    ],
)
def test_wrong_usage_has_its_own_exit_code(args: list[str]) -> None:
    assert CliRunner().invoke(app, ["verify", *args]).exit_code == 2


@pytest.mark.data
@pytest.mark.postgres
@pytest.mark.redis
def test_real_trades_and_minutes_are_the_same_three_times(shared: Path, deps: Deps) -> None:
    """IBM in October 2013: the trades of days, and a vendor's minutes; Polars in pieces, Polars at once, SQL."""
    trades = (
        pl.read_parquet(shared / "data/ticks.parquet")
        .filter(pl.col("symbol") == "IBM", ~pl.col("suspicious"), pl.col("timestamp").dt.day().is_between(10, 11))
        .with_columns(sequence=pl.int_range(pl.len()), source=pl.lit("tape"), condition="condition_hex")
        .select(pl.col(name).cast(kind) for name, kind in TICKS.items())
    )
    rows = pl.read_parquet(shared / "data/minute_bars.parquet").filter(symbol="IBM", source="lean")
    bars = rows.with_columns(
        pl.col("volume").cast(pl.Float64), granularity=pl.lit("1m"), adjusted_close=pl.lit(None, pl.Float64)
    ).select(RAW_BARS.names())
    now = rows["timestamp"].max()
    assert isinstance(now, datetime)
    now += timedelta(days=30)
    deps.raw.upsert(bar_rows(bars.head(2_000)))
    list(deps.raw.replace(tick_rows(trades), NEW_YORK))
    steps.refresh(deps, now)
    deps.raw.upsert(bar_rows(bars))
    steps.refresh(deps, now)
    steps.publish(deps, now)
    done = verify(deps, Asked(sql=True), now)
    assert done.equal, (done.told, done.sql.differences)
    assert done.sql.sessions == 2
    assert done.sql.rows["1m"] == 2 * 390 - 1  # nobody traded at 12:46 on the Friday
    assert done.sql.rows["1h"] > 0

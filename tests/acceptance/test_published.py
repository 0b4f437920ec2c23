"""Every published key against the database, read by other means than those that published it."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg.rows import dict_row

from flows import steps
from flows.wiring import Deps
from storage.cache.codec import decode
from storage.embedded import running
from storage.market.raw import Rows, Written
from tests.acceptance.market import build
from transforms.schema import TICKS

pytestmark = [pytest.mark.data, pytest.mark.postgres, pytest.mark.redis]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FACTOR = "LEFT JOIN adjustment_factors f ON f.symbol = b.symbol AND b.session >= from_date AND b.session < to_date"
PRICES = ", ".join(f"b.{c} * coalesce(f.price, 1) AS {c}" for c in ("open", "high", "low", "close"))
SHOWN = (
    "sma_20, sma_50, sma_200, ema_12, ema_26, rsi_14, macd, macd_signal, macd_histogram, bollinger_upper,"
    " bollinger_middle, bollinger_lower, atr_14, vwap, obv"
)
NEWEST = " WHERE b.symbol = %s ORDER BY b.timestamp DESC LIMIT 500"


def statements() -> dict[str, str]:
    """Key -> the query for what it should hold, newest first."""
    found = {"quote": "SELECT * FROM quotes b" + NEWEST, "correlation": _CORRELATION}
    found |= {"correlation:rolling": _ROLLING, "correlations": _FINDINGS, "matrix": _MATRIX}
    for interval in ("1m", "5m", "15m", "1h", "1d"):
        dated = "b.session, " if interval == "1d" else ""
        volume = "b.volume * coalesce(f.volume, 1) AS volume"
        found[f"bars:{interval}"] = (
            f"SELECT b.timestamp, {dated}{PRICES}, {volume} FROM bars_{interval} b {FACTOR}{NEWEST}"
        )
        if interval != "1m":
            found[f"indicators:{interval}"] = f"SELECT b.timestamp, {dated}{SHOWN} FROM indicators_{interval} b{NEWEST}"
    for interval in ("1h", "1d"):
        found[f"sentiment:{interval}"] = (
            "SELECT timestamp, session, count, mean_score, weighted_score, mean_confidence, std_score,"
            f" positive_share, negative_share{', momentum' if interval == '1d' else ''}"
            f" FROM sentiment_{interval} b{NEWEST}"
        )
    return found


_CORRELATION = (
    "SELECT x, y, session, window_sessions, lag, method, r, n, n_effective, p, ci_low, ci_high FROM correlations"
    " WHERE symbol = %s ORDER BY x DESC, y DESC, window_sessions DESC, lag DESC, method DESC"
)
_ROLLING = (
    "SELECT session, window_sessions, lag, n, pearson, spearman FROM rolling_correlations c WHERE symbol = %s AND"
    " session >= (SELECT min(session) FROM (SELECT session FROM bars_1d b WHERE b.symbol = c.symbol"
    " ORDER BY session DESC LIMIT 500) AS newest) ORDER BY window_sessions DESC, lag DESC, session DESC"
)
_FINDINGS = (
    "SELECT symbol, x, y, lag, method, r, n, p, p_adjusted, family_size, ci_low, ci_high FROM correlation_findings"
    " WHERE '@market' = %s ORDER BY p_adjusted DESC, p DESC, symbol DESC, x DESC, y DESC, lag DESC, method DESC"
)
_MATRIX = "SELECT symbol, n, r FROM return_matrix WHERE '@market' = %s ORDER BY position DESC"


def as_json(value: object) -> object:
    """A database value as the cache contract writes it."""
    if isinstance(value, datetime):
        micros = (value - EPOCH) // timedelta(microseconds=1)
        return micros // 1000 if micros % 1000 == 0 else micros / 1000
    return value.isoformat() if isinstance(value, date) else value


def test_every_key_of_every_symbol_reads_back_as_the_database_holds_it(real: Deps) -> None:
    servers = running(real.settings.home)
    assert servers is not None
    seen: dict[str, int] = {}
    with psycopg.connect(servers.reader_url, row_factory=dict_row) as connection:
        connection.execute("SET search_path = warmbars")
        for symbol in real.outbox.versions():
            head = real.reader().head(symbol)
            assert head is not None
            for name in head.listed:
                if name in statements():
                    _compare(real, connection, symbol, name)
                    seen[name] = seen.get(name, 0) + 1
    assert set(seen) == set(statements())
    assert seen["bars:1d"] > 60


def _compare(deps: Deps, connection: psycopg.Connection[dict[str, object]], symbol: str, name: str) -> None:
    raw = deps.client.hget(f"wb:1:{deps.settings.namespace}:{{{symbol}}}:{name}", "body")
    columns = json.loads(raw)["columns"]
    stored = connection.execute(statements()[name], [symbol]).fetchall()[::-1]
    assert len(stored) == len(next(iter(columns.values())))
    for column, values in columns.items():
        assert values == [as_json(row[column]) for row in stored], (symbol, name, column)


def test_no_key_is_missing(real: Deps) -> None:
    """Whatever has rows is published, and nothing else."""
    for table, name in {"bars_1d": "bars:1d", "indicators_5m": "indicators:5m", "sentiment_1d": "sentiment:1d"}.items():
        with real.database.transaction() as connection:
            stored = {row[0] for row in connection.execute(f"SELECT DISTINCT symbol FROM {table}")}
        published = {s for s in real.outbox.versions() if (h := real.reader().head(s)) and name in h.listed}
        assert published == stored


def test_a_second_run_changes_no_version(real: Deps, shared: Path) -> None:
    before, heads = real.outbox.versions(), real.cache.heads(list(real.outbox.versions()))
    report = steps.run(real, build(real, shared), datetime.now(UTC))
    written = sum((file.written for file in report.ingested.files), Written())
    assert (written.inserted, written.changed, written.removed, written.windows) == (0, 0, 0, 0)
    assert real.outbox.versions() == before
    assert real.cache.heads(list(before)) == heads


def test_one_late_tick_changes_only_its_symbol_and_the_market(real: Deps) -> None:
    """The keys of every other symbol keep their content version; the board is of the market, and may change."""
    before, bodies = contents(real), decoded(real, "IBM")
    late = pl.DataFrame(
        {
            "symbol": "IBM",
            "timestamp": datetime(2013, 10, 8, 17, 31, 2, tzinfo=UTC),
            "source": "lean",
            "sequence": 99,
            "price": 250.0,
            "size": 1.0,
            "condition": "1",
        },
        schema=TICKS,
    )
    real.raw.upsert(Rows("ticks", late, "raw", "XNYS", 0))
    _refresh_and_publish(real)
    changed = {key for key, version in contents(real).items() if before[key] != version}
    assert {symbol for symbol, _ in changed} <= {"IBM", "@market"}
    assert ("IBM", "indicators:5m") in changed
    assert ("IBM", "sentiment:1d") not in changed
    with real.database.transaction() as connection:
        connection.execute("DELETE FROM stock_ticks WHERE symbol = 'IBM' AND price = 250")
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id) VALUES"
            " ('IBM', 'ticks', '2013-10-08 17:31Z', '2013-10-08 17:32Z', '2013-10-08Z', 1, 0)"
        )
    _refresh_and_publish(real)
    restored = {key: etag for key, (_, etag) in contents(real).items()}
    assert restored.keys() == before.keys()
    assert {key for key, etag in restored.items() if key[0] != "IBM" and before[key][1] != etag} == set()
    for name, body in decoded(real, "IBM").items():  # a window read anew may differ in its last digits
        assert_frame_equal(body, bodies[name], rel_tol=1e-9, abs_tol=1e-9)


def decoded(deps: Deps, symbol: str) -> dict[str, pl.DataFrame]:
    """Every key of a symbol as a frame."""
    head = deps.reader().head(symbol)
    assert head is not None
    return {name: decode(deps.client.hget(deps.keys.of(symbol, name), "body")) for name in head.listed}


def _refresh_and_publish(deps: Deps) -> None:
    now = datetime.now(UTC)
    steps.refresh(deps, now)
    steps.publish(deps, now)


def contents(deps: Deps) -> dict[tuple[str, str], tuple[object, str]]:
    """Every key's content version and etag."""
    found = {}
    for symbol in deps.outbox.versions():
        head = deps.reader().head(symbol)
        assert head is not None
        found |= {(symbol, name): (listed.version, listed.etag) for name, listed in head.listed.items()}
    return found

"""A changed setting: what depends on it is computed again and nothing else, once, whoever interferes."""

import io
import os
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from pydantic import SecretStr
from rich.console import Console

from flows import changed_settings, steps
from flows.changed_settings import DEPENDS, INDEPENDENT
from flows.status_page import Status, status_page
from flows.wiring import Deps, wire
from storage.embedded import Servers
from storage.market import applied, schema
from storage.market.database import Database, statement, table_name
from storage.market.derived import Claim
from storage.market.raw import Rows
from storage.market.tables import metadata
from storage.settings import Settings
from tests.conftest import truncate
from tests.storage.market.rows import bar_rows, tick_rows, ticks
from transforms.errors import ConfigurationError, StoreUnavailable
from transforms.schema import ACTIONS, MARKET_SYMBOL, RAW_BARS, SENTIMENT, UTC_US

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SEEDS = range(int(os.environ.get("WARMBARS_TEST_SEEDS", "1")))
EVENING = datetime(2024, 2, 1, 23, tzinfo=UTC)
FIRST, LAST = date(2023, 11, 24), date(2024, 1, 31)
BASE: dict[str, Any] = {
    "indicators": ("sma_3", "rsi_3"),
    "intervals": ("1m", "5m", "1h", "1d"),
    "correlation_min_n": 12,
    "correlation_windows": (12,),
    "correlation_lags": (-1, 0, 1),
    "matrix_window": 30,
    "source_rank": ("near", "far"),
}
BARS = {f"bars_{interval}_{kind}" for interval in ("5m", "15m", "1h", "1d") for kind in ("rollup", "fill")} | {
    "bars_1m"
}
DERIVED = sorted(
    {table.name for table in metadata.sorted_tables if table.name.startswith(("bars_", "indicators_", "sentiment_1"))}
    | {"correlations", "rolling_correlations", "correlation_findings", "return_matrix", "quotes", "adjustment_factors"}
)


# ---- a small market: two symbols with prices and messages, one with messages alone


def days(market_days: pl.DataFrame) -> list[dict[str, Any]]:
    return market_days.filter(pl.col("session").is_between(FIRST, LAST)).rows(named=True)


def daily(symbol: str, source: str, sessions: list[dict[str, Any]], price: float) -> pl.DataFrame:
    closes = [price + (n * 7 % 11) / 4 for n in range(len(sessions))]
    bars = {"open": closes, "high": [c + 1 for c in closes], "low": [c - 1 for c in closes], "close": closes}
    return pl.DataFrame(
        {"timestamp": [s["open"] for s in sessions], **bars, "volume": [1e6 + n for n in range(len(sessions))]}
    ).select(
        pl.lit(symbol).alias("symbol"),
        pl.lit("1d").alias("granularity"),
        pl.col("timestamp").cast(UTC_US),
        pl.lit(source).alias("source"),
        *("open", "high", "low", "close", "volume"),
        pl.lit(None, pl.Float64).alias("adjusted_close"),
    )


def minute_bars(symbol: str, opened: datetime, price: float) -> pl.DataFrame:
    """From ten minutes before the open to twenty after it, and one long after the close."""
    starts = [opened + timedelta(minutes=n) for n in (*range(-10, 20), 460)]
    closes = [price + (n * 5 % 9) / 8 for n in range(len(starts))]
    bars = {"open": closes, "high": [c + 0.5 for c in closes], "low": [c - 0.5 for c in closes], "close": closes}
    return pl.DataFrame({"timestamp": starts, **bars}).select(
        pl.lit(symbol).alias("symbol"),
        pl.lit("1m").alias("granularity"),
        pl.col("timestamp").cast(UTC_US),
        pl.lit("near").alias("source"),
        *("open", "high", "low", "close"),
        pl.lit(100.0).alias("volume"),
        pl.lit(None, pl.Float64).alias("adjusted_close"),
    )


def messages(symbol: str, sessions: list[dict[str, Any]]) -> pl.DataFrame:
    """Three a session: in the morning, minutes before the close, in the night; every fourth is a retweet."""
    rows = [
        {
            "symbol": symbol,
            "timestamp": s["close"] + timedelta(minutes=at),
            "source": "posts",
            "external_id": f"{symbol}{n}{at}",
            "ordinal": 0,
            "sentiment_score": ((n * 13 + at) % 17) / 17 - 0.5,
            "confidence": 0.5 + (n % 5) / 10,
            "is_retweet": (n + at) % 4 == 0,
            "is_duplicate": (n + at) % 6 == 0,
        }
        for n, s in enumerate(sessions)
        for at in (-300, -10, 240)
    ]
    return pl.DataFrame(rows, schema=dict(SENTIMENT))


def splits(symbol: str) -> pl.DataFrame:
    """Two sources that do not agree."""
    rows = [(symbol, date(2024, 1, 10), "split", source, 0, ratio) for source, ratio in (("near", 2.0), ("far", 4.0))]
    return pl.DataFrame(rows, schema=dict(ACTIONS), orient="row")


def conditioned(frame: pl.DataFrame) -> pl.DataFrame:
    """Of trades a second apart: some with conditions that the settings may read."""
    return frame.with_columns(condition=pl.when(pl.int_range(pl.len()) % 3 == 2).then(pl.lit("4000")))


def ingest(deps: Deps) -> None:
    sessions = days(deps.market("XNYS", EVENING).sessions.collect())
    bars = []
    for symbol, price, traded in (("AAA", 40.0, sessions[-2:]), ("BBB", 90.0, sessions[-3:-1])):
        bars += [daily(symbol, "near", sessions, price), daily(symbol, "far", sessions, price + 1)]
        bars += [minute_bars(symbol, s["open"], price) for s in (sessions[20], *traded)]
    deps.raw.upsert(bar_rows(pl.concat(bars).select(RAW_BARS.names())))
    late = ticks(60, start=sessions[-1]["close"] - timedelta(seconds=30), price=41.0)
    deps.raw.upsert(tick_rows(conditioned(late)))
    deps.raw.upsert(Rows("actions", splits("AAA"), "raw", "XNYS", 1))
    said = pl.concat([messages(symbol, sessions) for symbol in ("AAA", "BBB", "CCC")])
    deps.raw.upsert(Rows("sentiment", said, "raw", "XNYS", 1))


@contextmanager
def under(settings: Settings, **change: object) -> Iterator[Deps]:
    """Another process: wired anew under other settings."""
    with wire(Settings(**{**settings.model_dump(include={"home", "namespace"}), **BASE, **change})) as deps:
        yield deps


@pytest.fixture(scope="module")
def saved(servers: Servers) -> Iterator[list[str]]:
    """Tables of a store computed under BASE and not published yet, kept aside: to fill them again is quicker."""
    truncate(servers)
    with under(Settings(home=servers.home, namespace="saved")) as deps:
        ingest(deps)
        steps.refresh(deps, EVENING)
    tables = [table.name for table in metadata.sorted_tables if table.name not in {"markets", "sessions"}]
    with psycopg.connect(servers.owner_url, autocommit=True) as connection:
        filled = [
            name
            for name in tables
            if connection.execute(f"SELECT EXISTS (SELECT FROM warmbars.{name})").fetchone() == (True,)
        ]
        connection.execute("CREATE SCHEMA saved")
        for name in filled:
            connection.execute(f"CREATE TABLE saved.{name} AS TABLE warmbars.{name}")
        yield filled
        connection.execute("DROP SCHEMA saved CASCADE")


@pytest.fixture
def base(servers: Servers, saved: list[str], settings: Settings) -> Settings:
    """A store computed and published under BASE."""
    with psycopg.connect(servers.owner_url) as connection:
        for name in saved:
            columns = ", ".join(
                row[0] for row in connection.execute(f"SELECT * FROM saved.{name} LIMIT 0").description or ()
            )
            connection.execute(
                f"INSERT INTO warmbars.{name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM saved.{name}"
            )
        connection.execute("SELECT setval(pg_get_serial_sequence('warmbars.runs', 'id'), max(id)) FROM warmbars.runs")
    with under(settings) as deps:
        steps.publish(deps, EVENING)
    return settings


Content = dict[str, pl.DataFrame]


def content(deps: Deps) -> Content:
    """Every derived row, in order, with the run that wrote it."""
    found = {}
    for name in DERIVED:
        frame = deps.database.frame(statement("SELECT * FROM {table}", table=table_name(name)))
        found[name] = frame.sort([c.name for c in metadata.tables[f"{metadata.schema}.{name}"].primary_key])
    return found


def changed(before: Content, after: Content) -> set[str]:
    """Tables in which a row was written or deleted."""
    return {name for name in before if not before[name].equals(after[name])}


def etags(deps: Deps) -> dict[str, dict[str, str]]:
    heads = {symbol: deps.reader().head(symbol) for symbol in deps.outbox.versions()}
    return {s: {name: listed.etag for name, listed in head.listed.items()} for s, head in heads.items() if head}


def windows(deps: Deps) -> list[tuple[Any, ...]]:
    return deps.database.frame(
        statement("SELECT symbol, dataset, starts_at, ends_at, rows, due_at FROM dirty_windows ORDER BY 1, 2, 3")
    ).rows()


def marked(deps: Deps) -> dict[str, set[str]]:
    """Symbols with dirty windows, by dataset."""
    found: dict[str, set[str]] = {}
    for symbol, dataset, *_ in windows(deps):
        found.setdefault(dataset, set()).add(symbol)
    return found


def assert_same(left: Content, right: Content, settings: Settings) -> None:
    """Equal but for the runs that wrote it, and for columns of indicators that are not kept."""
    kept = {column for _, names in changed_settings.wanted(settings)["indicators"]["indicators"] for column in names}
    for name, frame in left.items():
        fixed = [c.name for c in metadata.tables[f"{metadata.schema}.{name}"].columns if c.name != "run_id"]
        shown = [*fixed, *sorted(kept)] if name.startswith("indicators_") else fixed
        try:
            assert_frame_equal(frame.select(shown), right[name].select(shown), rel_tol=1e-9, abs_tol=1e-9)
        except AssertionError as exc:
            raise AssertionError(f"{name}: {exc}") from exc


# ---- the declaration


def test_every_setting_is_declared() -> None:
    depended = {name for rules in DEPENDS.values() for name in rules} - {"definition"}
    assert depended | {*INDEPENDENT} == {*Settings.model_fields}
    assert not depended & {*INDEPENDENT}
    assert {*changed_settings.DEFINITIONS} == {*DEPENDS}
    assert all("definition" in rules for rules in DEPENDS.values())


def test_every_setting_that_matters_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "changed-settings.md").read_text(encoding="utf-8")
    table = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert table == {name for rules in DEPENDS.values() for name in rules} - {"definition"}


# ---- every kind of change

ONE, TWO, ALL, MARKET = {"AAA"}, {"AAA", "BBB"}, {"AAA", "BBB", "CCC"}, {MARKET_SYMBOL}
EFFECTS: dict[str, tuple[dict[str, Any], dict[str, set[str]], set[str]]] = {
    # the change; the windows it opens, by dataset and symbol; the tables in which rows change
    "trading hours": (
        {"trading_hours": "all"},
        {"prices": TWO, "scores": ALL},
        {
            *{
                "bars_1m",
                "bars_5m_rollup",
                "bars_1h_rollup",
                "bars_1d_rollup",
                "bars_1d_fill",
                "quotes",
                "sentiment_1d",
            },
            *{"indicators_5m", "indicators_1h", "indicators_1d", "correlations", "rolling_correlations"},
            *{"correlation_findings", "return_matrix"},
        },
    ),
    "buckets": ({"align": "clock"}, {"prices": TWO}, {"bars_1h_rollup", "indicators_1h"}),
    "conditions": (
        {"auction_conditions": ("0x4000",)},
        {"prices": ONE},
        {
            *{"bars_1m", "bars_5m_rollup", "bars_1h_rollup", "bars_1d_rollup", "quotes"},
            *{"indicators_5m", "indicators_1h", "indicators_1d"},
            *{"correlations", "rolling_correlations", "correlation_findings"},
        },
    ),
    "rank": (
        {"source_rank": ("far", "near")},
        {"prices": TWO, "actions": ONE},
        {
            *{"bars_1d_fill", "indicators_5m", "indicators_1h", "indicators_1d", "quotes", "adjustment_factors"},
            *{"correlations", "rolling_correlations", "correlation_findings", "return_matrix"},
        },
    ),
    "an interval more": (
        {"intervals": ("1m", "5m", "15m", "1h", "1d")},
        {"prices": TWO},
        {"bars_15m_rollup", "indicators_15m"},
    ),
    "an interval less": (
        {"intervals": ("1m", "1h", "1d")},
        {"keys": TWO},
        {"bars_5m_rollup", "indicators_5m"},
    ),
    "days no more": (
        {"intervals": ("1m", "5m", "1h")},
        {"keys": TWO, "prices": TWO},
        {
            *{"bars_1d_rollup", "bars_1d_fill", "indicators_1d", "correlations", "rolling_correlations"},
            *{"correlation_findings", "return_matrix", "quotes"},
        },
    ),
    "an indicator more": (
        {"indicators": ("sma_3", "rsi_3", "ema_4")},
        {"indicators": TWO, "keys": TWO},
        {"indicators_5m", "indicators_1h", "indicators_1d"},
    ),
    "an indicator less": ({"indicators": ("sma_3",)}, {"keys": TWO}, set()),
    "other parameters": (
        {"indicators": ("sma_4", "rsi_3")},
        {"indicators": TWO, "keys": TWO},
        {"indicators_5m", "indicators_1h", "indicators_1d"},
    ),
    "retweets": (
        {"sentiment_retweets": "drop"},
        {"scores": ALL},
        {"sentiment_1h", "sentiment_1d", "correlations", "rolling_correlations", "correlation_findings"},
    ),
    "cutoff": (
        {"sentiment_cutoff_offset": timedelta(minutes=-15)},
        {"scores": ALL},
        {"sentiment_1h", "sentiment_1d", "correlations", "rolling_correlations", "correlation_findings"},
    ),
    "cutoff at midnight": (  # messages of a night leave the session after it
        {"sentiment_cutoff": "midnight"},
        {"scores": ALL},
        {"sentiment_1h", "sentiment_1d", "correlations", "rolling_correlations", "correlation_findings"},
    ),
    "baseline": ({"sentiment_baseline": 5}, {"scores": ALL}, {"sentiment_1d"}),
    "lags": (
        {"correlation_lags": (0, 1, 2), "rolling_lags": (0, 2)},
        {"correlations": ALL},
        {"correlations", "rolling_correlations", "correlation_findings"},
    ),
    "fewest pairs": (
        {"correlation_min_n": 20, "correlation_windows": (20,)},
        {"correlations": ALL, "returns": MARKET},
        {"rolling_correlations"},
    ),
    "matrix": ({"matrix_window": 20}, {"returns": MARKET}, {"return_matrix"}),
    "shorter keys": ({"published_bars": 7}, {"keys": TWO}, set()),
}


@pytest.mark.parametrize(("change", "opened", "tables"), EFFECTS.values(), ids=EFFECTS.keys())
def test_what_depends_on_a_setting_is_computed_again(
    base: Settings, servers: Servers, change: dict[str, Any], opened: dict[str, set[str]], tables: set[str]
) -> None:
    with under(base, **change) as deps:
        before = content(deps)
        told = changed_settings.pending(deps)
        assert {c.setting for c in told} == {*change}
        assert all(c.symbols or c.market for c in told)

        changed_settings.apply(deps, EVENING)
        assert marked(deps) == opened
        assert changed_settings.pending(deps) == []

        steps.refresh(deps, EVENING)
        steps.publish(deps, EVENING)
        after, keys = content(deps), etags(deps)
        assert changed(before, after) == tables
        assert windows(deps) == []
        again = steps.refresh(deps, EVENING)
        assert (again.windows, again.rows) == (0, {})

    truncate(servers)
    with under(base, **change, namespace=f"{base.namespace}fresh") as deps:
        ingest(deps)
        steps.refresh(deps, EVENING)
        steps.publish(deps, EVENING)
        assert_same(after, content(deps), deps.settings)
        assert keys == etags(deps)


CHOICES: dict[str, tuple[Any, ...]] = {
    "intervals": (("1m", "5m", "1h", "1d"), ("1m", "1h", "1d"), ("1m", "5m", "15m"), ("1m", "5m", "15m", "1h", "1d")),
    "indicators": (("sma_3", "rsi_3"), ("rsi_3",), ("ema_4", "rsi_3"), ("sma_3", "macd_2_4_2", "obv")),
    "trading_hours": ("regular", "all"),
    "align": ("session", "clock"),
    "auction_conditions": (("0x80",), ("0x4000",)),
    "source_rank": (("near", "far"), ("far", "near")),
    "sentiment_retweets": ("keep", "drop"),
    "sentiment_cutoff": ("close", "midnight"),
    "sentiment_baseline": (20, 5),
    "missing_sentiment": ("leave_out", "zero"),
    "correlation_windows": ((12,), (15, 20)),
    "rolling_lags": ((0, 1), (0, 2)),
    "matrix_symbols": (500, 2),
    "published_bars": (500, 9),
}


def late_rows(draw: random.Random, sessions: list[dict[str, Any]]) -> Rows:
    """A correction, rows of a day that had none, or messages more."""
    symbol, session = draw.choice(("AAA", "BBB")), draw.choice(sessions)
    price = draw.randrange(200, 900) / 8
    kind = draw.randrange(3)
    if kind == 0:
        return bar_rows(daily(symbol, draw.choice(("near", "far")), [session], price).select(RAW_BARS.names()))
    if kind == 1:
        return bar_rows(minute_bars(symbol, session["open"], price).select(RAW_BARS.names()))
    said = messages(symbol, [session]).with_columns(
        pl.lit(f"late {draw.randrange(99)}").alias("external_id"), sentiment_score=pl.lit(draw.random())
    )
    return Rows("sentiment", said, "raw", "XNYS", 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_changes_when_ends_like_a_new_store(base: Settings, servers: Servers, seed: int) -> None:
    """Settings and raw rows change in turn, with or without a refresh between."""
    draw = random.Random(seed)
    change: dict[str, Any] = {}
    written: list[Rows] = []
    for _ in range(6):
        name = draw.choice(list(CHOICES))
        change[name] = draw.choice(CHOICES[name])
        with under(base, **change) as deps:
            sessions = days(deps.market("XNYS", EVENING).sessions.collect())
            for _ in range(draw.choice((0, 1, 2))):
                written.append(late_rows(draw, sessions))
                deps.raw.upsert(written[-1])
            if draw.random() < 0.6:
                steps.refresh(deps, EVENING)
    with under(base, **change) as deps:
        steps.refresh(deps, EVENING)
        steps.publish(deps, EVENING)
        assert windows(deps) == []
        found, keys = content(deps), etags(deps)
    truncate(servers)
    with under(base, **change, namespace=f"{base.namespace}fresh") as deps:
        ingest(deps)
        for rows in written:
            deps.raw.upsert(rows)
        steps.refresh(deps, EVENING)
        steps.publish(deps, EVENING)
        assert_same(found, content(deps), deps.settings)
        assert {s: set(names) for s, names in keys.items()} == {s: set(names) for s, names in etags(deps).items()}


def test_a_new_store_and_one_of_before_record_their_settings_and_compute_nothing(deps: Deps) -> None:
    assert (changed_settings.pending(deps), changed_settings.apply(deps, EVENING), windows(deps)) == ([], 0, [])
    assert {*deps.applied.stored()} == {*DEPENDS}
    with deps.database.transaction() as connection:  # as a migration leaves it
        connection.execute("DELETE FROM applied_settings")
    changed = replace(deps, settings=deps.settings.model_copy(update={"trading_hours": "all"}))
    assert (changed_settings.pending(changed), changed_settings.apply(changed, EVENING)) == ([], 0)
    assert deps.applied.stored()["prices"].now["trading_hours"] == "all"


def test_windows_of_prices_and_scores_are_split_by_year_and_say_how_many_rows(base: Settings) -> None:
    with under(base, trading_hours="all") as deps:
        changed_settings.apply(deps, EVENING)
        found = [(*row[:2], row[2].year, row[4]) for row in windows(deps)]
        counts = deps.database.frame(
            statement(
                "SELECT symbol, dataset, extract(year FROM timestamp)::int AS year, count(*) FROM ("
                "SELECT symbol, timestamp, 'prices' AS dataset FROM stock_data"
                " UNION ALL SELECT symbol, timestamp, 'prices' FROM stock_ticks"
                " UNION ALL SELECT symbol, timestamp, 'scores' FROM sentiment_data) AS raw"
                " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            )
        )
        assert found == counts.rows()
        limits = {row[2:4] for row in windows(deps) if row[:2] == ("BBB", "prices")}
        newyear = datetime(2024, 1, 1, tzinfo=UTC)
        assert {end for _, end in limits} - {newyear} == {datetime(2024, 1, 31, 14, 30, 0, 1, tzinfo=UTC)}
        assert {start for start, _ in limits} - {newyear} == {datetime(2023, 11, 24, 14, 30, tzinfo=UTC)}
        assert all(row[5] == EVENING for row in windows(deps))


def test_a_sample_of_a_large_table_is_scaled_up_and_misses_no_symbol(
    base: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applied, "_SAMPLED", 1)
    with under(base, sentiment_baseline=5) as deps:
        changed_settings.apply(deps, EVENING)
        assert marked(deps) == {"scores": ALL}


def test_there_and_back_is_nothing_unless_it_was_applied(base: Settings) -> None:
    with under(base) as deps:
        before, keys = content(deps), etags(deps)
    with under(base, trading_hours="all") as deps:
        assert [c.change for c in changed_settings.pending(deps)] == ["regular → all"] * 2
    with under(base) as deps:
        assert changed_settings.pending(deps) == []
        assert steps.refresh(deps, EVENING).windows == 0
    with under(base, trading_hours="all", indicators=("rsi_3",)) as deps:
        steps.refresh(deps, EVENING)
    with under(base) as deps:
        assert steps.refresh(deps, EVENING).windows > 0
        steps.publish(deps, EVENING)
        assert_same(before, content(deps), deps.settings)
        assert keys == etags(deps)


@pytest.mark.parametrize("dies_in", ["_windows", "_announce"])
def test_a_refresh_that_dies_while_it_marks_loses_nothing(
    base: Settings, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with under(base, sentiment_retweets="drop") as deps:
        with monkeypatch.context() as patched:
            patched.setattr(applied, dies_in, die)
            with pytest.raises(RuntimeError, match="killed"):
                steps.refresh(deps, EVENING)
        assert windows(deps) == []
        assert [c.setting for c in changed_settings.pending(deps)] == ["sentiment_retweets"]
    with under(base, sentiment_retweets="drop") as deps:
        before = content(deps)
        steps.refresh(deps, EVENING)
        assert "sentiment_1h" in changed(before, content(deps))


def test_an_announcement_that_was_taken_back_marks_nothing(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with under(base, trading_hours="all") as deps, monkeypatch.context() as patched:
        patched.setattr(applied, "_open_windows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            changed_settings.apply(deps, EVENING)
    with under(base) as deps:
        assert (changed_settings.pending(deps), changed_settings.apply(deps, EVENING), windows(deps)) == ([], 0, [])


def test_a_refresh_that_dies_after_marking_loses_nothing(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with under(base, indicators=("sma_3", "rsi_3", "ema_5")) as deps:
        with monkeypatch.context() as patched:
            patched.setattr("storage.market.derived.Claim.publish", die)
            with pytest.raises(RuntimeError, match="killed"):
                steps.refresh(deps, EVENING)
        assert marked(deps) == {"indicators": TWO, "keys": TWO}
        steps.refresh(deps, EVENING)
        values = deps.database.frame(statement("SELECT count(*) FROM indicators_1d WHERE ema_5 IS NOT NULL"))
        assert values.item() > 50


def test_refreshers_at_once_mark_once(base: Settings) -> None:
    opened: list[int] = []
    start = threading.Barrier(3)

    def mark() -> None:
        with under(base, trading_hours="all") as deps:
            start.wait(30)
            opened.append(changed_settings.apply(deps, EVENING))

    threads = [threading.Thread(target=mark) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with under(base) as deps:
        assert sum(opened) == len(windows(deps)) == 10
    assert sorted(opened) == [0, 0, 10]


def test_a_process_under_older_settings_gives_up_and_loses_nothing(base: Settings) -> None:
    with under(base) as old, under(base, sentiment_retweets="drop") as new:
        assert steps.refresh(old, EVENING).windows == 0
        changed_settings.apply(new, EVENING)
        with old.derived.claim(["AAA"], EVENING, 10**6, 0) as claim:  # it was in the middle of a refresh
            assert claim.windows.height > 0
            with pytest.raises(ConfigurationError, match="restart this one"):
                changed_settings.confirm(old, claim)
        with pytest.raises(ConfigurationError, match="settings of scores since this one started"):
            steps.refresh(old, EVENING)
        assert marked(old) == {"scores": ALL}
        assert steps.refresh(new, EVENING).symbols >= {"AAA"}
        with pytest.raises(ConfigurationError):
            steps.refresh(old, EVENING)


def test_a_change_is_announced_before_its_windows_are_opened(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what an older refresh takes up after the windows were looked for, nobody else would know."""
    open_windows = applied._open_windows
    refused = []
    with under(base) as old, under(base, trading_hours="all") as new:

        def meanwhile(*arguments: Any) -> int:
            with old.derived.claim(["AAA"], EVENING, 10**6, 0) as claim, pytest.raises(ConfigurationError) as told:
                changed_settings.confirm(old, claim)
            refused.append(told)
            return open_windows(*arguments)

        monkeypatch.setattr(applied, "_open_windows", meanwhile)
        assert changed_settings.apply(new, EVENING) == 10
        assert len(refused) == 1
        with new.derived.claim(["AAA"], EVENING, 10**6, 0) as claim:
            changed_settings.confirm(new, claim)


def test_what_an_older_refresh_was_computing_meanwhile_is_marked(
    base: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is older than the announcement; it commits after the windows were opened."""
    with under(base) as old, under(base, intervals=("1m", "1h", "1d")) as new:
        fresh = minute_bars("DDD", datetime(2024, 1, 31, 14, 30, tzinfo=UTC), 7.0)
        old.raw.upsert(bar_rows(fresh.select(RAW_BARS.names())))
        confirm = changed_settings.confirm

        def confirm_in_time(deps: Deps, claim: Claim) -> None:
            confirm(deps, claim)
            changed_settings.apply(new, EVENING)

        with monkeypatch.context() as patched:
            patched.setattr(changed_settings, "confirm", confirm_in_time)
            with pytest.raises(ConfigurationError):
                steps.refresh(old, EVENING)  # DDD's first windows, then those of the change, which are not its own
        kept = statement("SELECT count(*) FROM bars_5m WHERE symbol = 'DDD'")
        assert new.database.frame(kept).item() > 0
        steps.refresh(new, EVENING)
        assert new.database.frame(kept).item() == 0


def test_status_tells_what_changed_and_whom_it_reaches(base: Settings) -> None:
    from flows.cli.status import _as_json, gather

    with under(base, indicators=("sma_3", "rsi_3", "ema_4"), matrix_window=20) as deps:
        found = gather(deps, EVENING)
        page = shown(found)
        assert "indicators (indicators: added ema_4): 2 symbols to compute again" in page
        assert "matrix_window (market: 30 → 20): the market to compute again" in page
        told = {c["setting"]: (c["change"], c["symbols"], c["market"]) for c in _as_json(found)["changed"]}
        assert told == {"indicators": ("added ema_4", 2, False), "matrix_window": ("30 → 20", 0, True)}
        changed_settings.apply(deps, EVENING)
        found = gather(deps, EVENING)
        assert _as_json(found)["changed"] == []
        assert found.dirty.datasets == {"indicators": 2, "keys": 2, "returns": 1}
        assert "2 of indicators, 2 of keys, 1 of returns" in shown(found)


def shown(found: Status) -> str:
    """A page as text, on a terminal that is wide enough."""
    console = Console(width=200, file=io.StringIO())
    console.print(status_page(found))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_definitions_raised_by_an_upgrade_compute_their_dataset_again(
    base: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed_settings, "DEFINITIONS", {**changed_settings.DEFINITIONS, "scores": 2})
    with under(base) as deps:
        told = changed_settings.pending(deps)
        assert [(c.dataset, c.setting, c.change, c.symbols) for c in told] == [("scores", "definition", "1 → 2", 3)]
        before = content(deps)
        assert steps.refresh(deps, EVENING).windows == 6
        assert changed(before, content(deps)) == set()


def test_a_setting_that_a_later_release_adds_is_taken_to_have_been_so(base: Settings) -> None:
    with under(base) as deps:
        with deps.database.transaction() as connection:
            connection.execute("UPDATE applied_settings SET chosen = chosen #- '{now,align}' WHERE dataset = 'prices'")
        assert (changed_settings.pending(deps), changed_settings.apply(deps, EVENING), windows(deps)) == ([], 0, [])
        assert deps.applied.stored()["prices"].now["align"] == "session"


# ---- columns of indicators


def test_a_table_in_use_gets_no_column_and_says_so(empty: Servers, deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_LOCK_SECONDS", 0.1)
    with Database(empty.owner_url, deps.settings) as owner, deps.database.transaction() as reader:
        reader.execute("SELECT count(*) FROM indicators_5m")
        with pytest.raises(StoreUnavailable, match=r"indicators_5m lacks columns \(never_there\)"):
            schema.add_indicator_columns(owner, ["never_there"])
        assert schema.lacking_indicator_columns(deps.database, ["never_there", "sma_20"]) == ["never_there"]


def test_your_own_database_is_told_to_make_room_first(empty: Servers, settings: Settings) -> None:
    own = settings.model_copy(update={"database_url": SecretStr(empty.owner_url), "indicators": ("sma_777",)})
    with pytest.raises(ConfigurationError, match=r"lacks \(sma_777\); run: warmbars init"), wire(own):
        pass

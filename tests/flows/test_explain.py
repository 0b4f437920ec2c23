"""`warmbars explain`: what is told of a row is what it is made of, and what a raw row reaches is all that changes."""

import json
import os
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl
import pytest

from flows import derive, steps
from flows.explain import RowStory, explain_row, raw_prices
from flows.explain_key import KeyStory, explain_key
from flows.explain_raw import RawRow, explain_raw
from flows.explain_sources import Bucket, parts_of_bar
from flows.explain_target import KeyTarget, RowTarget, target_of
from flows.graph import GRAPH, tables_of
from flows.wiring import Deps, wire
from storage.market.database import statement, table_name
from storage.market.lineage import LineageStore
from storage.market.raw import Rows, Written
from storage.market.tables import RAW_TABLES
from storage.settings import Settings
from tests.flows.conftest import Cli
from tests.flows.story import DAYS, OPEN, Story
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.errors import PermanentError
from transforms.schema import ACTIONS, BARS, INTERVALS, MARKET_SYMBOL, RAW_BARS, RAW_SCHEMAS, TICKS, Dataset

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
START = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
AS_OF = datetime(2024, 1, 5, tzinfo=UTC)
SEEDS = range(int(os.environ.get("WARMBARS_TEST_SEEDS", "1")))
ZONE = "America/New_York"


def rows_of(deps: Deps, table: str, symbol: str) -> pl.DataFrame:
    query = statement("SELECT * FROM {table} WHERE symbol = {symbol}", table=table_name(table), symbol=symbol)
    return deps.database.frame(query)


def told(deps: Deps, *words: str) -> RowStory:
    target = target_of(deps, list(words))
    assert isinstance(target, RowTarget)
    return explain_row(deps, target, AS_OF)


def key_of(deps: Deps, *words: str) -> KeyStory:
    target = target_of(deps, list(words))
    assert isinstance(target, KeyTarget)
    return explain_key(deps, target, AS_OF)


def fed(deps: Deps, seed: int) -> Story:
    """A symbol with trades of two feeds, minutes of two vendors, hours and days, after every session has ended."""
    story = Story(deps, seed)
    story.now = OPEN[DAYS[-1]]
    for tell in (story.bars, story.trades, story.mentions, story.happen) * 5:
        tell()
    story.now += timedelta(days=3)
    story.refresh()
    return story


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_that_count_make_the_bar_and_the_others_do_not(deps: Deps, seed: int) -> None:
    story = fed(deps, seed)
    market = deps.market("XNYS", story.now)
    lineage = LineageStore(deps.database)
    actions, adjusted = deps.derived.actions([story.symbol]), deps.derived.vendor_adjusted([story.symbol])
    checked = 0
    for interval in INTERVALS:
        for bar in (
            rows_of(deps, f"bars_{interval}", story.symbol)
            .sort("timestamp")
            .sample(fraction=1, shuffle=True, seed=seed)
            .head(6)
            .rows(named=True)
        ):
            story_of = explain_row(deps, RowTarget(story.symbol, f"bars:{interval}", bar["timestamp"]), story.now)
            raw = raw_prices(lineage, story.symbol, story_of.session["day_start"], story_of.session["day_end"])
            parts = parts_of_bar(raw, Bucket(interval, story_of.start, story_of.end), market)
            used = parts.filter("used").select("source", "timestamp", "granularity", "price_basis")
            ticks = raw.ticks.join(used, on=["source", "timestamp"], how="semi").select(TICKS.names())
            rows = raw.rows.join(used, on=["source", "timestamp", "granularity"], how="semi")
            rows = derive.raw_prices(rows.select(*RAW_BARS, "price_basis"), actions, adjusted, market)
            covered = raw.coverage.select("symbol", starts_at="start", ends_at="end")
            alone = derive.bars(derive.Prices(ticks, rows, covered), market, story.now)
            every = [frames[interval] for frames in (alone.rollups, alone.fills) if interval in frames]
            found = pl.concat(every).filter(pl.col("timestamp") == bar["timestamp"])
            assert found.to_dicts() == [{name: bar[name] for name in BARS}]
            assert sum(part["rows"] for part in story_of.parts if part["used"]) == len(used)
            checked += len(parts) > len(used)
    assert checked  # of some bars there were rows that do not count


def test_who_wins_and_why(deps: Deps) -> None:
    other = minutes(10, start=START, price=50.0).with_columns(source=pl.lit("alpha"))
    deps.raw.upsert(bar_rows(pl.concat([minutes(10, start=START), other])))
    hour = minutes(1, start=START).with_columns(granularity=pl.lit("1h"))
    deps.raw.upsert(bar_rows(hour))
    steps.refresh(deps, AS_OF)
    parts = told(deps, "AAA", "bars:5m", "2024-01-03T14:33Z").parts
    assert [(part["source"], part["rows"], part["used"], part["why"]) for part in parts] == [
        ("alpha", 5, True, None),
        ("test", 5, False, "alpha comes first (by name)"),
    ]
    hourly = {part["granularity"]: part["why"] for part in told(deps, "AAA", "bars:1h", "2024-01-03T14:30Z").parts[1:]}
    assert hourly == {"1h": "finer rows reach this bucket", "1m": "alpha comes first (by name)"}
    sum(deps.raw.replace(tick_rows(ticks(600, start=START)), ZONE), Written())
    steps.refresh(deps, AS_OF)
    story = told(deps, "AAA", "1d", "2024-01-03")
    assert [(p["table"], p["rows"]) for p in story.parts if p["used"]] == [("stock_ticks", 600)]
    assert "trades were declared complete here, so only they count" in {part["why"] for part in story.parts}
    assert [row["dataset"] for row in story.coverage] == ["ticks"]


def test_a_row_names_its_run_its_past_and_its_adjustment(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=START), run_id=41))
    steps.refresh(deps, AS_OF)
    deps.raw.upsert(bar_rows(minutes(10, start=START).head(3).with_columns(close=pl.lit(10.5)), run_id=42))
    split = {"symbol": "AAA", "ex_date": date(2024, 1, 4), "action": "split", "source": "news", "ordinal": 0}
    deps.raw.upsert(Rows("actions", pl.DataFrame([{**split, "value": 2.0}], schema=ACTIONS), "raw", "XNYS", 43))
    assert {window["dataset"] for window in told(deps, "AAA", "bars:5m", "2024-01-03T14:30Z").pending} == {
        "bars",
        "actions",
    }
    steps.refresh(deps, AS_OF)
    story = told(deps, "AAA", "bars:5m", "2024-01-03T14:30Z")
    (run,) = story.runs
    assert (run["kind"], run["state"], run["as_of"]) == ("refresh", "finished", AS_OF)
    (part,) = story.parts
    assert (part["runs"], part["rows"]) == ([41, 42], 5)
    (before,) = story.superseded
    assert (before.table, before.versions) == ("stock_data", 3)
    assert {row["close"] for row in before.newest} == {10.0, 10.01, 10.02}
    assert story.adjustment is not None
    assert (story.adjustment.price, story.adjustment.volume) == (0.5, 2.0)
    assert [row["ex_date"] for row in story.adjustment.splits] == [date(2024, 1, 4)]
    assert (story.table, story.start, story.end) == ("bars_5m_rollup", START, START + timedelta(minutes=5))
    assert story.key == deps.keys.bars("AAA", "5m")
    with deps.database.transaction() as connection:
        connection.execute("DELETE FROM runs")
    assert told(deps, "AAA", "bars:5m", "2024-01-03T14:30Z").runs == [{"id": run["id"], "gone": True}]


def test_an_indicator_names_the_bars_it_reads(settings: Settings) -> None:
    chosen = settings.model_copy(update={"indicators": ("sma_3", "ema_3", "vwap"), "published_bars": 4})
    with wire(chosen) as deps:
        deps.raw.upsert(bar_rows(pl.concat([minutes(30, start=START), minutes(30, start=START + timedelta(days=1))])))
        steps.refresh(deps, AS_OF)
        story = told(deps, "AAA", "indicators:5m", "2024-01-04T14:40Z")
        reads = {reading.what: reading for reading in story.reads}
        assert (reads["sma_3"].rows, reads["vwap"].rows, reads["ema_3"].rows) == (3, 3, 9)
        assert reads["sma_3"].first == START + timedelta(days=1)
        before = told(deps, "AAA", "indicators:5m", "2024-01-04T14:35Z").values[0]
        assert reads["ema_3"].state == {"ema_3": before["ema_3"]}
        assert story.key is not None
        assert told(deps, "AAA", "indicators:5m", "2024-01-04T14:35Z").key is None  # older than what is published


def test_sentiment_and_correlations(deps: Deps) -> None:
    story = fed(deps, 1)
    scored = rows_of(deps, "sentiment_1d", story.symbol).sort("timestamp")
    for row in scored.iter_rows(named=True):
        found = told(deps, story.symbol, "sentiment:1d", str(row["session"]))
        assert sum(part["rows"] for part in found.parts if part["used"]) == row["count"]
    hour = rows_of(deps, "sentiment_1h", story.symbol).row(0, named=True)
    found = told(deps, story.symbol, "sentiment:1h", hour["timestamp"].isoformat())
    assert sum(part["rows"] for part in found.parts if part["used"]) == hour["count"]
    key = key_of(deps, story.symbol, "correlation")
    assert [reading.rows for reading in key.reads] == [
        len(rows_of(deps, "bars_1d", story.symbol)),
        len(scored.filter(pl.col("session").is_in(rows_of(deps, "bars_1d", story.symbol)["session"].implode()))),
    ]


def test_a_key_is_compared_with_the_database(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=START)))
    assert key_of(deps, "AAA:bars:5m").state == "unpublished"
    steps.refresh(deps, AS_OF)
    assert key_of(deps, "AAA:bars:5m").state == "unpublished"
    steps.publish(deps, AS_OF)
    story = key_of(deps, deps.keys.bars("AAA", "5m"))
    assert (story.state, story.rows, story.first) == ("equal", 2, START)
    assert story.cached is not None
    assert story.cached.etag == story.database_etag
    assert [(part.table, part.rows) for part in story.written] == [("bars_5m_rollup", 2)]
    assert [(part.table, part.source, part.granularity, part.rows) for part in story.raw] == [
        ("stock_data", "test", "1m", 10)
    ]
    assert key_of(deps, "AAA", "correlation").state == "absent"
    assert key_of(deps, "@market:quotes").state == "equal"
    deps.raw.upsert(bar_rows(minutes(10, start=START, price=11.0)))
    steps.refresh(deps, AS_OF)
    assert key_of(deps, "AAA:bars:5m").state == "behind"
    steps.publish(deps, AS_OF)
    deps.client.delete(deps.keys.bars("AAA", "5m"))
    assert key_of(deps, "AAA:bars:5m").state == "lost"
    deps.client.set(deps.keys.bars("AAA", "5m"), b"mine")
    assert key_of(deps, "AAA:bars:5m").state == "corrupt"


def everything(deps: Deps, symbol: str) -> dict[str, pl.DataFrame]:
    """Every derived row of a symbol."""
    names = [name for node in GRAPH.values() for name in tables_of(node, INTERVALS) if not node.of_market]
    return {name: rows_of(deps, name, symbol).drop("run_id") for name in names}


def etags(deps: Deps, symbol: str) -> dict[str, str]:
    head = deps.reader().head(symbol)
    assert head is not None
    return {deps.keys.of(symbol, name): listed.etag for name, listed in head.listed.items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dataset", ["ticks", "bars", "sentiment", "actions"])
def test_a_raw_row_reaches_all_that_a_change_of_it_changes(deps: Deps, dataset: Dataset, seed: int) -> None:
    story = fed(deps, seed + 10)
    if dataset == "actions":
        story.split()
        story.refresh()
    steps.publish(deps, story.now)
    raw = rows_of(deps, RAW_TABLES[dataset].name, story.symbol)
    row = raw.row(story.draw.randrange(len(raw)), named=True)
    at = row["ex_date"] if dataset == "actions" else row["timestamp"]
    answer = explain_raw(deps, RawRow(story.symbol, dataset, at, row["source"]), story.now)
    assert [found["source"] for found in answer.rows] == [row["source"]] * len(answer.rows) != []
    rows, keys, of_market = everything(deps, story.symbol), etags(deps, story.symbol), etags(deps, MARKET_SYMBOL)

    change(deps, dataset, row)
    story.refresh()
    steps.publish(deps, story.now)
    changed = {key for key, etag in etags(deps, story.symbol).items() if keys.get(key) != etag}
    assert changed | (keys.keys() - etags(deps, story.symbol).keys()) <= set(answer.keys)
    after = etags(deps, MARKET_SYMBOL)
    assert {key for key in after.keys() | of_market.keys() if after.get(key) != of_market.get(key)} <= set(
        answer.market_keys
    )
    for table, now in everything(deps, story.symbol).items():
        differing = pl.concat([now, rows[table]]).filter(~pl.struct(pl.all()).is_duplicated())
        if differing.is_empty():
            continue
        name = table.removesuffix("_fill").removesuffix("_rollup")  # a bar may move from one to the other
        parts = [part for part in answer.reaches if part.table.startswith(name)]
        assert parts, f"{table} was not said to change"
        starts = [part.first for part in parts if isinstance(part.first, datetime)]
        if starts and "timestamp" in differing.columns:
            assert differing["timestamp"].sort()[0] >= min(starts), table


def change(deps: Deps, dataset: Dataset, row: dict[str, Any]) -> None:
    """Correct one value of a raw row."""
    column = {"ticks": "price", "bars": "close", "sentiment": "sentiment_score", "actions": "value"}[dataset]
    corrected = {**row, column: row[column] / 2 + 0.25}
    if dataset == "bars":
        corrected["low"] = min(corrected["low"], corrected["close"])
    schema = RAW_SCHEMAS[dataset]
    frame = pl.DataFrame([{name: corrected[name] for name in schema}], schema=schema)
    deps.raw.upsert(Rows(dataset, frame, row["price_basis"], "XNYS", 1))


def test_what_falls_into_no_bar_reaches_nothing(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=START)))
    steps.refresh(deps, AS_OF)
    night = explain_raw(deps, RawRow("AAA", "ticks", START - timedelta(hours=3)), AS_OF)
    assert (night.keys, night.reaches, night.buckets) == ([], [], {})
    assert night.note is not None
    assert "into no bucket" in night.note
    dividend = {"symbol": "AAA", "ex_date": date(2024, 1, 3), "action": "dividend", "source": "news", "ordinal": 0}
    deps.raw.upsert(Rows("actions", pl.DataFrame([{**dividend, "value": 0.2}], schema=ACTIONS), "raw", "XNYS", 1))
    assert explain_raw(deps, RawRow("AAA", "actions", date(2024, 1, 3)), AS_OF).keys == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("AAB", "quote"), "did you mean AAA"),
        (("AAA:bar:5m",), "did you mean bars:5m"),
        (("AAA",), "names no key and no row"),
        (("AAA", "head"), "explain one of its keys"),
        (("wb:1:other:{AAA}:quote",), "namespace 'other'"),
        (("AAA", "quote", "2024-01-03"), "no rows told apart by time"),
        (("AAA", "bars:5m", "2024-01-03"), "told by an instant"),
        (("AAA", "bars:5m", "2024-01-03T14:30"), "could be any zone's"),
        (("AAA", "bars:5m", "noon"), "is no time"),
        (("AAA", "bars:5m", "2024-01-03T18:30Z"), "the nearest are of 2024-01-03 14:35Z"),
        (("AAA", "1d", "2024-01-06"), "the nearest are of 2024-01-03"),
    ],
)
def test_a_target_that_is_none_is_told_what_would_be(deps: Deps, words: tuple[str, ...], complaint: str) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=START)))
    steps.refresh(deps, AS_OF)
    with pytest.raises(PermanentError, match=complaint):
        told(deps, *words)


@pytest.fixture
def cli(program: Cli, deps: Deps, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program on the session's servers, with a morning of AAA."""
    deps.raw.upsert(bar_rows(minutes(30, start=START)))
    deps.raw.upsert(bar_rows(minutes(30, start=START, price=11.0)))
    steps.refresh(deps, AS_OF)
    steps.publish(deps, AS_OF)
    monkeypatch.setenv("COLUMNS", "160")
    return partial(program, "explain")


@pytest.mark.parametrize(
    ("arguments", "kind", "shown"),
    [
        (("AAA:bars:5m",), "key", ["equal", "bars_5m_rollup", "stock_data"]),
        (("@market:quotes",), "key", ["equal", "quotes"]),
        (("AAA", "bars:5m", "2024-01-03T14:36Z"), "row", ["14:35 to 2024-01-03 14:40", "made of", "superseded"]),
        (("AAA", "indicators:1d", "2024-01-03"), "row", ["sma_200", "a window of 200 rows"]),
        (("--raw", "AAA", "bars", "2024-01-03T14:36Z"), "raw", ["its 5m", "bars_5m_rollup", ":bars:5m", "@market"]),
        (("--raw", "AAA", "actions", "2024-01-04"), "raw", ["no row is stored here", "all of the adjusted series"]),
    ],
)
def test_the_command(cli: Cli, arguments: tuple[str, ...], kind: str, shown: list[str]) -> None:
    page = cli(*arguments)
    assert page.exit_code == 0, page.stderr
    assert [text for text in shown if text not in page.stdout] == []
    assert json.loads(cli(*arguments, "--json").stdout)["kind"] == kind


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--raw", "AAA", "candles", "2024-01-03T14:36Z"), "names no raw row"),
        (("--raw", "AAA", "actions", "2024-01-03T14:36Z"), "is no date"),
        (("AAA", "quote", "--source", "test"), "goes with --raw"),
        (("XYZ", "quote"), "there are AAA"),
    ],
)
def test_the_command_says_what_is_wrong(cli: Cli, arguments: tuple[str, ...], complaint: str) -> None:
    result = cli(*arguments)
    assert result.exit_code in (1, 2)
    assert complaint in " ".join(result.stderr.split())

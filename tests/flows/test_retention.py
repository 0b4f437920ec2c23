"""Retention end to end: raw rows go, what was computed of them stays, and a hold brings days back."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from flows import retention, steps
from flows.cli import app
from flows.sources.base import Batch, Failure, Origin
from flows.wiring import Deps, wire
from storage.market.database import statement
from storage.market.retention import Frozen
from storage.settings import Settings, load_settings
from tests.flows.stories import (
    AS_OF,
    CHOSEN,
    CLOSE,
    DAY,
    EXACT,
    OPEN,
    assert_alike,
    bodies,
    bring_up_to_date,
    stored,
    tell,
    whole_story,
)
from transforms.errors import ConfigurationError, PermanentError, TransientError
from transforms.schema import RAW_BARS

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
KEEPS = {"ticks": timedelta(days=15), "bars": timedelta(days=15), "sentiment": timedelta(days=15)}
MIDNIGHT = datetime.fromisoformat("2024-01-04T05:00Z")
"""The beginning, in New York, of the day that lies 15 days before AS_OF (the evening of the 4th there)."""
RAW = ("stock_data", "stock_ticks", "sentiment_data")


@pytest.fixture
def kept(settings: Settings) -> Iterator[Deps]:
    with wire(settings.model_copy(update={**CHOSEN, "retention": KEEPS})) as deps:
        yield deps


def all_rows(deps: Deps, symbol: str) -> dict[str, pl.DataFrame]:
    return {table: stored(deps, table, symbol) for table in (*EXACT, *CLOSE)}


def test_what_was_computed_outlives_its_raw_rows(kept: Deps) -> None:
    for symbol in ("AAA", "TWIN"):
        tell(kept, whole_story(symbol))
    bring_up_to_date(kept)
    before, keys = all_rows(kept, "AAA"), bodies(kept, "AAA")
    foreseen = retention.apply(kept, AS_OF, dry_run=True)
    assert kept.retention.horizons() == {}
    done = retention.apply(kept, AS_OF)
    assert [(each.dataset, each.before, each.horizon) for each in done] == [(d, None, MIDNIGHT) for d in KEEPS]
    assert [each.deleted for each in done] == [each.deleted for each in foreseen]
    assert all(each.deleted > 0 for each in done[:2])
    for table in RAW[:2]:
        assert stored(kept, table, "AAA").filter(pl.col("timestamp") < MIDNIGHT).is_empty()
    assert kept.derived.pending() == (0, None)
    again = retention.apply(kept, AS_OF - DAY)
    assert [(each.horizon, each.deleted) for each in again] == [(MIDNIGHT, 0)] * 3, "never back"

    # windows of all that ever was, as `verify --repair` or a setting opens them: what is frozen stays
    with kept.database.transaction() as connection:
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " SELECT 'AAA', dataset, %s, %s, %s, 0, 1 FROM unnest(ARRAY['ticks', 'bars', 'sentiment', 'prices',"
            " 'scores', 'indicators', 'correlations']) AS dataset",
            [OPEN - DAY, AS_OF, OPEN],
        )
    bring_up_to_date(kept)
    assert kept.derived.pending() == (0, None)
    for table, rows in before.items():
        assert rows.equals(stored(kept, table, "AAA")), table
    assert bodies(kept, "AAA") == keys

    # above the horizon life goes on, and a split reaches all of it
    more = whole_story("AAA")
    split = more["actions"].with_columns(ex_date=date(2024, 1, 11), value=pl.lit(3.0))
    late = more["bars"].filter(granularity="1d").tail(1).with_columns(close=6.0)
    for symbol in ("AAA", "TWIN"):
        named = pl.lit(symbol).alias("symbol")
        tell(kept, {"actions": split.with_columns(named), "bars": late.with_columns(named)})
    bring_up_to_date(kept)
    assert_alike(kept, "AAA", "TWIN")
    assert not stored(kept, "adjustment_factors", "AAA").equals(before["adjustment_factors"])


def test_a_day_is_brought_back_under_a_hold(kept: Deps) -> None:
    for symbol in ("AAA", "TWIN"):
        tell(kept, whole_story(symbol))
    bring_up_to_date(kept)
    retention.apply(kept, AS_OF)
    story = whole_story("AAA")
    day = date(2024, 1, 3)
    corrected = story["ticks"].filter(pl.col("timestamp").dt.date() == day).with_columns(price=pl.col("price") + 1)
    tell(kept, {"ticks": corrected})
    assert bring_up_to_date(kept).symbols == set(), "refused"
    held = retention.hold(kept, ["ticks", "bars"], day, day, "a correction", AS_OF.replace(year=2100))
    assert [hold.starts_at for hold in held] == [MIDNIGHT - DAY] * 2
    minutes_of_it = story["bars"].filter(pl.col("timestamp").dt.date() == day)
    tell(kept, {"ticks": corrected, "bars": minutes_of_it})
    assert bring_up_to_date(kept).symbols == {"AAA", "@market"}
    assert stored(kept, "bars_1m", "AAA").height == stored(kept, "bars_1m", "TWIN").height
    fresh = whole_story("FRESH")
    beside = pl.col("timestamp").dt.date() != day
    fresh["ticks"] = pl.concat([fresh["ticks"].filter(beside), corrected.with_columns(symbol=pl.lit("FRESH"))])
    for hold in held:
        kept.retention.release(hold.id)
    assert sum(each.deleted for each in retention.apply(kept, AS_OF)) > 0
    assert stored(kept, "stock_ticks", "AAA").is_empty()
    with wire(kept.settings.model_copy(update={"retention": {}})) as without:  # a store that never heard of retention
        with without.database.transaction() as connection:
            connection.execute("DELETE FROM retention_horizon")
            connection.execute("DELETE FROM coverage WHERE dataset LIKE 'expired%%'")
        tell(without, fresh)
        bring_up_to_date(without)
        assert_alike(without, "AAA", "FRESH")
    for why, first, last, reason, until in [
        ("no days from 2024-01-03 to 2024-01-02", day, date(2024, 1, 2), "x", AS_OF.replace(year=2100)),
        ("is over already", day, day, "x", AS_OF),
        ("say what the hold is for", day, day, " ", AS_OF.replace(year=2100)),
    ]:
        with pytest.raises(PermanentError, match=why):
            retention.hold(kept, ["ticks"], first, last, reason, until)


def test_a_refresh_does_not_believe_rows_that_went_while_it_read(kept: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(kept, whole_story("AAA"))
    bring_up_to_date(kept)
    before = all_rows(kept, "AAA")
    tell(kept, {"bars": whole_story("AAA")["bars"].filter(granularity="1m").with_columns(volume=7.0)})
    asked: list[Frozen] = []
    look = type(kept.retention).frozen

    def frozen(self: object, symbols: list[str]) -> Frozen:
        found = look(kept.retention, symbols)
        if not asked:  # between this look and the first read, everything expires
            retention.apply(kept, AS_OF)
        asked.append(found)
        return found

    monkeypatch.setattr(type(kept.retention), "frozen", frozen)
    with pytest.raises(TransientError, match="expired while they were read"):
        steps.refresh(kept, AS_OF)
    bring_up_to_date(kept)
    lost = [
        table
        for table, rows in before.items()
        if "timestamp" in rows.columns and not stored(kept, table, "AAA")["timestamp"].equals(rows["timestamp"])
    ]
    assert lost == []


class _Feed:
    """A file of minutes."""

    name = "feed"

    def batches(self, as_of: datetime, batch_rows: int, scratch: Path) -> Iterator[Batch | Failure]:
        bars = whole_story("AAA")["bars"].filter(granularity="1m").sort("timestamp")
        numbered = (
            bars.select(RAW_BARS.names()).with_row_index("line", offset=1).with_columns(pl.col("line").cast(pl.Int64))
        )
        yield Batch("bars", "upsert", numbered, Origin("minutes.csv", "digest"), "raw", "XNYS")


def test_ingest_says_what_it_set_aside(kept: Deps) -> None:
    retention.apply(kept, AS_OF)
    (report,) = steps.ingest(kept, [_Feed()], AS_OF).files
    assert (report.read, report.rejected, report.written.inserted) == (18, 9, 9)
    assert "bars before 2024-01-04 05:00 UTC have expired" in report.notes[0]
    kept_rows = kept.database.frame(statement("SELECT line, origin, digest, rule FROM rejected_rows ORDER BY line"))
    assert kept_rows.rows() == [(n, "minutes.csv", "digest", "below_retention") for n in range(1, 10)]


def test_the_setting_says_how_long() -> None:
    for wrong in ({"actions": "P90D"}, {"ticks": "PT1H"}, {"ticks": "soon"}):
        with pytest.raises(ConfigurationError, match="retention"):
            load_settings(retention=wrong)
    assert load_settings(retention={"ticks": "P90D"}).retention == {"ticks": timedelta(days=90)}


def test_the_commands(kept: Deps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMBARS_HOME", str(kept.settings.home))
    monkeypatch.setenv("WARMBARS_NAMESPACE", kept.settings.namespace)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Result:
        return CliRunner().invoke(app, list(args))

    assert "names no dataset" in run("retention", "apply").stdout
    monkeypatch.setenv("WARMBARS_RETENTION", json.dumps({"ticks": "P30D"}))
    tell(kept, whole_story("AAA"))
    seen = json.loads(run("retention", "apply", "--dry-run", "--json").stdout)
    assert [(each["dataset"], each["deleted"], each["before"]) for each in seen["datasets"]] == [("ticks", 800, None)]
    assert len(stored(kept, "stock_ticks", "AAA")) == 800
    applied = run("retention", "apply")
    assert (applied.exit_code, "800" in applied.stdout) == (0, True), applied.output
    assert stored(kept, "stock_ticks", "AAA").is_empty()
    made = run("retention", "hold", "--from", "2024-01-02", "--to", "2024-01-03", "--reason", "a backfill", "--json")
    holds = json.loads(made.stdout)
    assert [(each["dataset"], each["starts_at"], each["ends_at"]) for each in holds] == [
        (dataset, "2024-01-02T05:00:00+00:00", "2024-01-04T05:00:00+00:00") for dataset in KEEPS
    ]
    shown = run("retention", "show").stdout
    assert all(words in shown for words in ("ticks", "30 d", "ever", "a backfill"))
    status = run("status").stdout
    assert "ticks expire after 30 d, gone before" in status
    assert "1 hold until" in status
    told = json.loads(run("status", "--json").stdout)["kept"]
    assert [each["dataset"] for each in told if each["horizon"]] == ["ticks"]
    released = run("retention", "release", *(str(each["id"]) for each in holds))
    assert released.stdout == f"Released: {', '.join(str(each['id']) for each in holds)}.\n"
    assert run("retention", "release", "99").exit_code == 1
    assert [run["kind"] for run in kept.runs.last(1)] == ["retention"]

"""`warmbars delete`: after the next refresh everything is as if the rows had never been there."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from flows import removal
from flows.cli import app
from flows.removal import Deletion
from flows.wiring import Deps, wire
from storage.settings import Settings
from tests.flows.stories import (
    AS_OF,
    CHOSEN,
    DAY,
    OPEN,
    assert_alike,
    bodies,
    bring_up_to_date,
    foretell,
    nothing_left,
    stored,
    tell,
    whole_story,
)
from tests.storage.market.rows import minutes
from transforms.errors import PermanentError, UnknownSymbol

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
WEDNESDAY = date(2024, 1, 3)


@pytest.fixture
def fed(settings: Settings) -> Iterator[Deps]:
    with wire(settings.model_copy(update=CHOSEN)) as deps:
        yield deps


def delete(deps: Deps, *symbols: str, **what: Any) -> int:
    meant = removal.removals(deps, Deletion(symbols=symbols, **what))
    return sum(done.rows for done in removal.delete(deps, meant, AS_OF))


def test_what_is_left_is_all_there_ever_was(fed: Deps) -> None:
    """Step by step, each compared with a symbol that was only ever told what is left."""
    story = whole_story("AAA")
    tell(fed, story)
    bring_up_to_date(fed)
    at = pl.col("timestamp")
    second = OPEN + timedelta(seconds=100)
    taken: list[tuple[str, dict[str, Any], pl.Expr]] = [
        ("some trades", {"dataset": "ticks", "first": second, "last": OPEN + timedelta(minutes=5)},
         (at >= second) & (at < OPEN + timedelta(minutes=5))),
        ("a day of trades: vendors' minutes count again", {"dataset": "ticks", "first": WEDNESDAY, "last": WEDNESDAY},
         at.dt.date() == WEDNESDAY),
        ("a split", {"dataset": "actions", "first": date(2024, 1, 9)}, pl.lit(value=True)),
        ("days", {"dataset": "bars", "granularity": "1d", "first": date(2024, 1, 10), "last": date(2024, 1, 10)},
         (pl.col("granularity") == "1d") & (at.dt.date() == date(2024, 1, 10))),
        ("minutes", {"dataset": "bars", "granularity": "1m", "source": "test"}, pl.col("granularity") == "1m"),
        ("messages", {"dataset": "sentiment", "first": date(2024, 1, 5), "last": date(2024, 1, 8)},
         at.is_between(OPEN + 2.5 * DAY, OPEN + 6.5 * DAY)),
        ("the trades", {"dataset": "ticks"}, pl.lit(value=True)),
    ]  # fmt: skip
    for number, (why, what, gone) in enumerate(taken):
        before = story[what["dataset"]]
        story[what["dataset"]] = before.filter(~gone)
        assert delete(fed, "AAA", **what) == len(before) - len(story[what["dataset"]]) > 0, why
        assert delete(fed, "AAA", **what) == 0, why
        twin = f"TWIN{number}"
        tell(fed, {dataset: frame.with_columns(symbol=pl.lit(twin)) for dataset, frame in story.items()})
        bring_up_to_date(fed)
        assert_alike(fed, "AAA", twin, why)


def test_nothing_is_left_of_a_symbol_without_rows(fed: Deps) -> None:
    for symbol in ("AAA", "BBB"):
        tell(fed, whole_story(symbol))
        foretell(fed, symbol)
    tell(fed, {"sentiment": whole_story("TALK")["sentiment"]})
    bring_up_to_date(fed)
    assert fed.reader().catalogue().value["symbol"].to_list() == ["AAA", "BBB", "TALK"]
    assert "forecast" in bodies(fed, "AAA")
    before = bodies(fed, "BBB"), fed.reader().head("BBB")
    delete(fed, "TALK", dataset="sentiment")
    assert bring_up_to_date(fed).symbols == {"TALK", "@market"}
    assert fed.reader().catalogue().value["symbol"].to_list() == ["AAA", "BBB"], "one that had no price"
    for dataset in ("ticks", "bars", "sentiment", "actions"):
        delete(fed, "AAA", dataset=dataset)
    assert bring_up_to_date(fed).symbols == {"AAA", "@market"}
    nothing_left(fed, "AAA")
    nothing_left(fed, "TALK")
    assert fed.reader().quotes().value["symbol"].to_list() == ["BBB"]
    assert fed.reader().catalogue().value["symbol"].to_list() == ["BBB"]
    assert (bodies(fed, "BBB"), fed.reader().head("BBB")) == before
    assert fed.derived.pending() == (0, None)
    tell(fed, whole_story("AAA"))
    bring_up_to_date(fed)
    assert_alike(fed, "AAA", "BBB", "told again")
    assert fed.reader().catalogue().value["symbol"].to_list() == ["AAA", "BBB"]


def test_what_makes_no_sense_is_refused(fed: Deps) -> None:
    with pytest.raises(UnknownSymbol, match="no row of AAA was ever ingested"):
        delete(fed, "AAA", dataset="ticks")
    tell(fed, {"bars": minutes(3, start=OPEN)})
    with pytest.raises(PermanentError, match="ticks have no granularity"):
        delete(fed, "AAA", dataset="ticks", granularity="1m")
    with pytest.raises(PermanentError, match="actions have dates, no times: write 2024-01-02"):
        delete(fed, "AAA", dataset="actions", first=OPEN)
    with pytest.raises(PermanentError, match="there is nothing from 2024-01-03 to 2024-01-02"):
        delete(fed, "AAA", dataset="bars", first=WEDNESDAY, last=date(2024, 1, 2))


def test_the_command(fed: Deps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMBARS_HOME", str(fed.settings.home))
    monkeypatch.setenv("WARMBARS_NAMESPACE", fed.settings.namespace)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    tell(fed, {"bars": minutes(5, start=OPEN)})

    def run(*args: str, typed: str = "") -> Result:
        return CliRunner().invoke(app, ["delete", "AAA", *args], input=typed)

    seen = run("--dataset", "bars", "--to", "2024-01-02T14:32Z", "--dry-run")
    assert (seen.exit_code, "test" in seen.stdout, " 2 " in seen.stdout) == (0, True, True), seen.output
    refused = run("--dataset", "bars", typed="n\n")
    assert (refused.exit_code, refused.stdout.strip()) == (1, "n"), "what was typed, which a terminal shows itself"
    assert "Delete these 5 rows?" in refused.stderr
    assert len(stored(fed, "stock_data", "AAA")) == 5
    agreed = run("--dataset", "bars", "--to", "2024-01-02T14:32Z", typed="y\n")
    assert "2 rows of bars deleted." in agreed.stdout
    told = json.loads(run("--dataset", "bars", "--from", "2024-01-02", "--to", "2024-01-02", "--yes", "--json").stdout)
    assert told["deleted"] == [{"symbol": "AAA", "rows": 3, "withdrawn": 0, "windows": 1}]
    assert [source["rows"] for source in told["matched"]["AAA"]] == [3]
    assert "nothing to delete" in run("--dataset", "bars", "--yes").stdout
    assert run("--dataset", "bars", "--json").exit_code == 2
    assert run("--dataset", "bars", "--from", "yesterday").exit_code == 2
    assert datetime.now(UTC) - fed.runs.last(1)[0]["started_at"] < timedelta(minutes=5)
    assert [run["kind"] for run in fed.runs.last(3)] == ["delete"] * 3

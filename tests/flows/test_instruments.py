"""`warmbars symbol`: a new name for all that a symbol has, and from when to when one is traded."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from flows import steps, symbols
from flows.cli import app
from flows.gaps import Asked, find_gaps
from flows.wiring import Deps, wire
from storage.market.database import statement
from storage.market.instruments import InstrumentStore
from storage.market.locks import try_derived
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
from tests.storage.market.rows import bar_rows, minutes
from transforms.errors import PermanentError, TransientError, UnknownSymbol

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
RAW = ("stock_data", "stock_ticks", "sentiment_data", "corporate_actions")


@pytest.fixture
def fed(settings: Settings) -> Iterator[Deps]:
    with wire(settings.model_copy(update=CHOSEN)) as deps:
        yield deps


def rename(deps: Deps, old: str, new: str) -> symbols.Renamed:
    return symbols.rename(deps, old, new, AS_OF)


def catalogue(deps: Deps) -> pl.DataFrame:
    return deps.reader().catalogue().value


def test_a_renamed_symbol_is_the_same_under_its_new_name(fed: Deps) -> None:
    for symbol in ("OLD", "TWIN", "OTHER"):
        tell(fed, whole_story(symbol))
        foretell(fed, symbol)
    tell(fed, {"bars": minutes(1, symbol="OLD", start=OPEN + DAY, price=10.5)})  # a correction: it has a history
    tell(fed, {"bars": minutes(1, symbol="TWIN", start=OPEN + DAY, price=10.5)})
    bring_up_to_date(fed)
    before = {table: stored(fed, table, "OLD") for table in (*RAW, "stock_data_history", "coverage")}
    other = bodies(fed, "OTHER"), fed.reader().head("OTHER")
    assert not before["stock_data_history"].is_empty()
    assert "forecast" in bodies(fed, "OLD")
    done = rename(fed, "OLD", "NEW")
    assert (done.rows["ticks"], done.rows["actions"], done.derived) == (800, 1, 0)
    for table, rows in before.items():
        assert stored(fed, table, "NEW").equals(rows), table
        assert stored(fed, table, "OLD").is_empty(), table
    assert fed.derived.pending()[0] == 2 * (4 + 1) + 1, "either symbol's rows of each dataset and keys, and the board"
    refreshed = bring_up_to_date(fed)
    assert refreshed.symbols == {"OLD", "NEW", "@market"}
    assert_alike(fed, "NEW", "TWIN")
    nothing_left(fed, "OLD")
    assert (bodies(fed, "OTHER"), fed.reader().head("OTHER")) == other
    assert catalogue(fed)["symbol"].to_list() == ["NEW", "OTHER", "TWIN"]
    assert fed.derived.pending() == (0, None)
    with pytest.raises(UnknownSymbol, match="OLD was renamed to NEW; ask for that one"):
        find_gaps(fed, Asked("OLD", "1m", None, None), AS_OF)
    rename(fed, "NEW", "OLD")
    bring_up_to_date(fed)
    assert_alike(fed, "OLD", "TWIN", "and back again")
    nothing_left(fed, "NEW")


def test_rows_under_the_old_name_are_set_aside_until_it_is_reopened(fed: Deps) -> None:
    tell(fed, {"bars": minutes(3, symbol="OLD", start=OPEN)})
    rename(fed, "OLD", "NEW")
    rename(fed, "NEW", "NEWER")
    both = pl.concat([minutes(2, symbol="FINE", start=OPEN), minutes(2, symbol="OLD", start=OPEN)])
    bring_up_to_date(fed)
    written = fed.raw.upsert(bar_rows(both))
    assert (written.inserted, written.refused) == (2, 2)
    (note,) = written.notes
    assert "renamed to NEWER" in note
    assert "warmbars symbol reopen OLD" in note
    kept = fed.database.frame(statement("SELECT rule, symbol, line FROM rejected_rows ORDER BY line"))
    assert kept.rows() == [("renamed_symbol", "OLD", 3), ("renamed_symbol", "OLD", 4)]
    assert [row[0] for row in fed.database.frame(statement("SELECT symbol FROM dirty_windows")).rows()] == ["FINE"]
    InstrumentStore(fed.database).reopen("OLD")
    assert fed.raw.upsert(bar_rows(both)).inserted == 2
    with pytest.raises(PermanentError, match="OLD was not renamed"):
        InstrumentStore(fed.database).reopen("OLD")


def test_a_rename_that_would_mix_two_symbols_is_refused(fed: Deps) -> None:
    for symbol in ("AAA", "BBB"):
        tell(fed, {"bars": minutes(2, symbol=symbol, start=OPEN)})
    with pytest.raises(PermanentError, match="BBB has rows of its own"):
        rename(fed, "AAA", "BBB")
    for old, new, why in [
        ("AAA", "AAA", "has this name already"),
        ("AAA", "a b", "cannot be a symbol"),
        ("AAA", "@market", "cannot be a symbol"),
        ("CCC", "DDD", "no row of CCC was ever ingested"),
    ]:
        with pytest.raises(PermanentError, match=why):
            rename(fed, old, new)
    rename(fed, "AAA", "CCC")
    with pytest.raises(PermanentError, match="AAA was renamed to CCC already"):
        rename(fed, "AAA", "DDD")
    with pytest.raises(PermanentError, match="AAA was renamed to CCC; to make it a symbol again"):
        rename(fed, "BBB", "AAA")
    with fed.database.transaction() as refreshing:
        assert try_derived(refreshing, ["CCC"]) == ["CCC"]
        with pytest.raises(TransientError, match="is being refreshed at this moment"):
            rename(fed, "CCC", "DDD")
    assert {row[0] for row in fed.database.frame(statement("SELECT symbol FROM stock_data")).rows()} == {"BBB", "CCC"}


def test_what_was_computed_of_expired_rows_is_renamed_too(fed: Deps) -> None:
    for symbol in ("OLD", "TWIN"):
        tell(fed, whole_story(symbol))
    bring_up_to_date(fed)
    for dataset in ("ticks", "bars", "sentiment"):
        fed.retention.advance(dataset, OPEN + 3 * DAY)
        assert sum(rows for _, rows in fed.retention.expire(dataset)) > 0
    done = rename(fed, "OLD", "NEW")
    assert done.derived > 20
    assert stored(fed, "bars_1m", "NEW").height == 7 + 7 + 9, "of the 2nd to the 4th"
    bring_up_to_date(fed)
    assert_alike(fed, "NEW", "TWIN")
    nothing_left(fed, "OLD")
    assert fed.retention.frozen(["NEW"]).prices.equals(
        fed.retention.frozen(["TWIN"]).prices.with_columns(symbol=pl.lit("NEW"))
    )


def test_a_delisted_symbol_leaves_the_board_when_its_last_day_is_over(fed: Deps) -> None:
    for symbol in ("AAA", "BBB"):
        tell(fed, {"bars": minutes(3, symbol=symbol, start=OPEN)})
    bring_up_to_date(fed, OPEN + DAY)
    heads = [fed.reader().head(symbol) for symbol in ("AAA", "BBB")]
    rows = {table: stored(fed, table, "AAA") for table in ("bars_1m", "quotes", "stock_data")}
    last, noon = date(2024, 1, 5), datetime(2024, 1, 4, 12, tzinfo=UTC)
    symbols.set_active(fed, "AAA", date(2024, 1, 2), last, noon)
    assert bring_up_to_date(fed, noon).symbols == {"@market"}
    assert catalogue(fed).select("symbol", "active_from", "active_to").rows() == [
        ("AAA", date(2024, 1, 2), last),
        ("BBB", None, None),
    ]
    assert fed.reader().quotes().value["symbol"].to_list() == ["AAA", "BBB"], "its last day is to come"
    midnight = datetime(2024, 1, 6, tzinfo=UTC)
    assert steps.refresh(fed, midnight - timedelta(seconds=1)).symbols == set()
    assert bring_up_to_date(fed, midnight).symbols == {"@market"}
    assert fed.reader().quotes().value["symbol"].to_list() == ["BBB"]
    assert catalogue(fed)["symbol"].to_list() == ["AAA", "BBB"]
    assert [fed.reader().head(symbol) for symbol in ("AAA", "BBB")] == heads, "its own keys stay as they are"
    assert all(stored(fed, table, "AAA").equals(before) for table, before in rows.items())

    report = find_gaps(fed, Asked("AAA", "1d", date(2023, 12, 28), date(2024, 1, 10)), AS_OF)
    assert report.sessions["session"].to_list() == [date(2024, 1, day) for day in (2, 3, 4, 5)]
    assert find_gaps(fed, Asked("AAA", "1m", None, None), AS_OF).last == last

    symbols.set_active(fed, "AAA", None, None, AS_OF)
    bring_up_to_date(fed)
    assert fed.reader().quotes().value["symbol"].to_list() == ["AAA", "BBB"]
    with pytest.raises(PermanentError, match="cannot be traded from 2024-01-05 to 2024-01-02"):
        symbols.set_active(fed, "AAA", last, date(2024, 1, 2), AS_OF)
    with pytest.raises(UnknownSymbol, match="no row of ZZZ was ever ingested"):
        symbols.set_active(fed, "ZZZ", None, last, AS_OF)


def test_the_commands(fed: Deps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMBARS_HOME", str(fed.settings.home))
    monkeypatch.setenv("WARMBARS_NAMESPACE", fed.settings.namespace)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Result:
        return CliRunner().invoke(app, ["symbol", *args])

    assert "nothing was ever ingested" in run("list").stdout
    tell(fed, {"bars": minutes(3, symbol="AAA", start=OPEN)})
    tried = json.loads(run("rename", "AAA", "BBB", "--dry-run", "--json").stdout)
    assert tried == {
        "old": "AAA",
        "new": "BBB",
        "rows": {"ticks": 0, "bars": 3, "sentiment": 0, "actions": 0},
        "renamed": False,
    }
    assert "AAA is BBB now: 3 bars." in run("rename", "AAA", "BBB").stdout
    listed = json.loads(run("list", "--json").stdout)
    assert [(each["symbol"], each["renamed_to"]) for each in listed] == [("AAA", "BBB"), ("BBB", None)]
    assert "renamed to BBB" in run("show", "AAA").stdout
    assert json.loads(run("show", "BBB", "--json").stdout)["rows"]["bars"] == 3
    assert json.loads(run("reopen", "AAA", "--json").stdout)["renamed_to"] is None
    assert "2024-01-05" in run("delist", "BBB", "--on", "2024-01-05").stdout
    told = json.loads(run("delist", "BBB", "--from", "2024-01-02", "--json").stdout)
    assert (told["active_from"], told["active_to"]) == ("2024-01-02", "2024-01-05")
    undone = json.loads(run("delist", "BBB", "--undo", "--json").stdout)
    assert (undone["active_from"], undone["active_to"]) == ("2024-01-02", None)
    assert run("delist", "BBB").exit_code == 2
    refused = run("show", "ZZZ")
    assert (refused.exit_code, "no row of ZZZ was ever ingested" in refused.stderr) == (1, True)

"""`refresh --dry-run` and the declared graph: what is said beforehand is what a refresh does."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flows import steps
from flows.graph import GRAPH, keys_of, reached, tables_of
from flows.preview import Preview, preview
from flows.wiring import Deps
from storage.market.raw import Rows, Written
from storage.market.tables_derived import fills, rollups
from tests.flows.test_incremental import CASES, KINDS, World
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.schema import ACTIONS

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
ZONE = "America/New_York"
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
EVENING = datetime(2024, 1, 3, 23, tzinfo=UTC)


def contents(deps: Deps) -> dict[str, dict[str, str]]:
    """The content version of every key, by symbol."""
    heads = {symbol: deps.reader().head(symbol) for symbol in deps.outbox.versions()}
    return {s: {name: listed.etag for name, listed in head.listed.items()} for s, head in heads.items() if head}


def written(deps: Deps, as_of: datetime) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """Rows by table that a refresh wrote, and the keys (symbol, name) whose content that changed."""
    before = contents(deps)
    done = steps.refresh(deps, as_of)
    steps.publish(deps, as_of)
    after = contents(deps)
    pairs = {
        (s, name) for s, keys in after.items() for name, etag in keys.items() if before.get(s, {}).get(name) != etag
    }
    return done.rows, pairs | {(s, name) for s, keys in before.items() for name in keys if name not in after.get(s, {})}


def told(found: Preview) -> set[tuple[str, str]]:
    return {(each.symbol, key) for each in found.planned for key in each.keys} | {
        ("@market", k) for k in found.market_keys
    }


def test_a_plan_says_what_a_refresh_then_does(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(300, start=OPEN)))
    first = preview(deps, EVENING)
    assert deps.outbox.versions() == {}
    rows, keys = written(deps, EVENING)
    assert {each.dataset for each in first.planned if each.written} == {"prices", "indicators", "quote"}
    assert sum(first.rows.values()) == sum(rows[table] for table in rows if table != "return_matrix")
    assert keys <= told(first)
    assert {key for symbol, key in keys if symbol != "@market"} == {k for e in first.planned for k in e.keys}


def test_a_late_trade_is_planned_to_the_row(deps: Deps) -> None:
    sum(deps.raw.replace(tick_rows(pl.concat([ticks(30), ticks(30, symbol="BBB")])), ZONE), Written())
    written(deps, EVENING)
    sum(deps.raw.replace(tick_rows(ticks(90)), ZONE), Written())
    found = preview(deps, EVENING)
    assert {each.symbol for each in found.planned} == {"AAA"}
    assert {(e.dataset, e.because) for e in found.planned} >= {("prices", ("ticks",)), ("indicators", ("ticks",))}
    rows, keys = written(deps, EVENING)
    assert sum(found.rows.values()) > 0
    upserts = sum(each.written for each in found.planned)
    assert upserts <= sum(rows.values())
    assert {(s, k) for s, k in keys if s != "@market"} == {(s, k) for s, k in told(found) if s != "@market"}


def test_nothing_due_is_nothing_planned(deps: Deps) -> None:
    found = preview(deps, EVENING)
    assert (found.windows, found.planned, found.market) == (0, [], [])


def test_what_a_window_may_reach_and_does_not_change_is_said(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(30, start=OPEN)))
    written(deps, EVENING)
    frame = pl.DataFrame([("AAA", date(2023, 1, 3), "dividend", "news", 0, 1.0)], schema=ACTIONS, orient="row")
    deps.raw.upsert(Rows("actions", frame, "raw", "XNYS", 1))
    found = preview(deps, EVENING)
    assert {(each.dataset, each.written, each.keys) for each in found.planned} >= {
        ("factors", 0, ()),
        ("prices", 0, ()),
    }
    rows, keys = written(deps, EVENING)
    assert (rows, keys) == ({}, set())


def test_every_table_and_key_belongs_to_one_dataset(deps: Deps) -> None:
    tables = [table for node in GRAPH.values() for table in tables_of(node, deps.settings.intervals)]
    assert len(tables) == len(set(tables))
    expected = {t.name for t in (*rollups.values(), *fills.values())} | {f"indicators_{i}" for i in rollups}
    assert expected <= {*tables}
    assert {"bars:1m", "bars:1d"} <= {*keys_of(GRAPH["prices"], deps.settings.intervals)}


@pytest.mark.parametrize("raw", ["ticks", "bars", "sentiment", "actions"])
def test_a_change_reaches_only_what_is_declared(deps: Deps, raw: str) -> None:
    """Random histories; then one more row of a dataset: every table that changes is one that the graph says."""
    case = CASES["regular"]
    world = World(deps, case, 3)
    world.now = world.local(case.days[-1], 1_000)
    symbols = {kind: "ONE" for kind in KINDS}
    for _ in range(12):
        world.happen(symbols)
    world.now += timedelta(days=2)
    world.refresh()
    more = {"ticks": world.trade_day, "bars": world.days, "sentiment": world.mention, "actions": world.split}
    for _ in range(4):
        more[raw]("ONE")
    allowed = {table for node in reached([raw]) for table in tables_of(node, deps.settings.intervals)}
    done = steps.refresh(deps, world.now)
    assert done.rows
    assert {*done.rows} <= allowed

"""Publishing only what may have changed gives what publishing everything gives, whatever the cache has lost."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows import steps
from flows.wiring import Deps
from storage.cache.publisher import Outcome, Publication
from storage.market.raw import Rows
from tests.storage.market.rows import bar_rows, minutes
from transforms.schema import ACTIONS, SENTIMENT

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
OPEN = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
EVENING = datetime(2024, 1, 3, 23, tzinfo=UTC)


@pytest.fixture
def sent(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> list[Publication]:
    """The publications that go to the cache, as they go."""
    seen: list[Publication] = []
    send = type(deps.cache).send

    def spy(self: object, publications: list[Publication]) -> list[Outcome]:
        seen.extend(publications)
        return send(self, publications)  # type: ignore[arg-type]

    monkeypatch.setattr(type(deps.cache), "send", spy)
    return seen


def published(deps: Deps, symbol: str) -> dict[str, str]:
    """Name -> etag of every body that the head lists and that is there."""
    names = deps.client.hgetall(deps.keys.head(symbol))
    etags = {
        name.decode(): deps.client.hget(deps.keys.of(symbol, name.decode()), "etag")
        for name in names
        if b" " in names[name]
    }
    return {name: etag.decode() for name, etag in etags.items() if etag}


def whole(deps: Deps, symbol: str) -> dict[str, str]:
    publication = deps.loader.load(symbol)
    assert publication is not None
    return {name: body.etag for name, body in publication.bodies.items()}


def begin(deps: Deps, sent: list[Publication]) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=OPEN)))
    steps.refresh(deps, EVENING)
    steps.publish(deps, EVENING)
    assert all(not p.standing for p in sent)
    sent.clear()


def refreshed(deps: Deps, count: int) -> None:
    deps.raw.upsert(bar_rows(minutes(count, start=OPEN)))
    steps.refresh(deps, EVENING)


def of(sent: list[Publication], symbol: str) -> Publication:
    (found,) = [p for p in sent if p.symbol == symbol]
    return found


def test_what_no_change_reached_is_neither_read_nor_sent(deps: Deps, sent: list[Publication]) -> None:
    begin(deps, sent)
    refreshed(deps, 11)
    steps.publish(deps, EVENING)
    publication = of(sent, "AAA")
    assert {"sentiment:1h", "sentiment:1d", "correlation"} <= set(publication.standing)
    assert "bars:1m" in publication.bodies
    assert not set(publication.standing) & set(publication.bodies)
    assert published(deps, "AAA") == whole(deps, "AAA")


def test_changes_of_several_versions_are_sent_together(deps: Deps, sent: list[Publication]) -> None:
    begin(deps, sent)
    message = {"symbol": "AAA", "timestamp": OPEN, "source": "s", "external_id": "1", "ordinal": 0}
    scored = pl.DataFrame([{**message, "sentiment_score": 0.5, "confidence": 1.0}], schema=SENTIMENT)
    deps.raw.upsert(Rows("sentiment", scored, "raw", "XNYS", 1))
    steps.refresh(deps, EVENING)
    refreshed(deps, 11)
    steps.publish(deps, EVENING)
    publication = of(sent, "AAA")
    assert publication.version == 3
    assert {"sentiment:1d", "bars:1m"} <= set(publication.bodies)
    assert "correlation" in publication.standing
    assert published(deps, "AAA") == whole(deps, "AAA")


def test_keys_that_are_to_be_made_again_are(deps: Deps, sent: list[Publication]) -> None:
    begin(deps, sent)
    with deps.database.transaction() as connection:
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " VALUES ('AAA', 'keys', %(at)s, %(at)s, %(at)s, 0, 0)",
            {"at": OPEN},
        )
    refreshed(deps, 11)
    steps.publish(deps, EVENING)
    assert of(sent, "AAA").standing == ()
    assert published(deps, "AAA") == whole(deps, "AAA")


@pytest.mark.parametrize("harm", ["everything", "head", "body", "older"])
def test_a_cache_that_lacks_what_stands_is_given_all(deps: Deps, sent: list[Publication], harm: str) -> None:
    begin(deps, sent)
    head = deps.client.dump(deps.keys.head("AAA"))
    if harm == "older":
        refreshed(deps, 11)
        steps.publish(deps, EVENING)
        deps.client.restore(deps.keys.head("AAA"), 0, head, replace=True)
        sent.clear()
    refreshed(deps, 12)
    if harm == "everything":
        deps.client.delete(*deps.client.keys(f"{deps.keys.prefix}*"))
    elif harm == "head":
        deps.client.delete(deps.keys.head("AAA"))
    elif harm == "body":
        deps.client.delete(deps.keys.bars("AAA", "1d"))
        refreshed_tables(deps, "AAA", ["quotes"])
    done = steps.publish(deps, EVENING)
    assert [bool(p.standing) for p in sent if p.symbol == "AAA"] == [True, False]
    assert published(deps, "AAA") == whole(deps, "AAA")
    assert done.symbols == 2
    assert deps.outbox.pending() == []


def refreshed_tables(deps: Deps, symbol: str, tables: list[str]) -> None:
    """As if only these tables had changed since the version that was published."""
    with deps.database.transaction() as connection:
        connection.execute(
            "UPDATE publications SET changed = jsonb_build_object('at', version) ||"
            " (SELECT jsonb_object_agg(name, version) FROM unnest(%s::text[]) AS name) WHERE symbol = %s",
            [tables, symbol],
        )


def test_a_version_that_says_nothing_of_tables_is_sent_whole(deps: Deps, sent: list[Publication]) -> None:
    begin(deps, sent)
    with deps.database.transaction() as connection:
        connection.execute("UPDATE publications SET version = version + 1 WHERE symbol = 'AAA'")
    refreshed(deps, 11)
    steps.publish(deps, EVENING)
    assert of(sent, "AAA").standing == ()


def test_another_recipe_is_sent_whole(deps: Deps, sent: list[Publication]) -> None:
    begin(deps, sent)
    deps.loader.recipe = "another"
    refreshed(deps, 11)
    steps.publish(deps, EVENING)
    assert of(sent, "AAA").standing == ()
    sent.clear()
    refreshed(deps, 12)
    steps.publish(deps, EVENING)
    assert of(sent, "AAA").standing != ()


def test_a_split_changes_the_bars_that_show_it(deps: Deps, sent: list[Publication]) -> None:

    begin(deps, sent)
    tomorrow = (EVENING + timedelta(days=1)).date()
    action = {"symbol": "AAA", "ex_date": tomorrow, "action": "split", "source": "s", "ordinal": 0, "value": 2.0}
    frame = pl.DataFrame([action], schema=ACTIONS)
    deps.raw.upsert(Rows("actions", frame, "raw", "XNYS", 1))
    later = EVENING + timedelta(days=2)
    steps.refresh(deps, later)
    steps.publish(deps, later)
    publication = of(sent, "AAA")
    assert {"bars:1m", "bars:5m", "bars:1d"} <= set(publication.bodies)
    assert published(deps, "AAA") == whole(deps, "AAA")

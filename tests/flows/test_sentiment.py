"""Sentiment through a refresh and a publish: momentum after a change, flags, cutoffs, bodies, an older database."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine, text

from flows import steps
from flows.wiring import Addresses, Deps, initialise, wire
from storage.cache.codec import decode
from storage.embedded import Servers
from storage.market import migrate
from storage.market.database import statement
from storage.market.raw import Rows, Written
from storage.settings import Settings
from tests.conftest import truncate
from transforms.errors import ConfigurationError
from transforms.schema import SENTIMENT

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
PAGE = (Path(__file__).parents[2] / "docs" / "cache-contract.md").read_text(encoding="utf-8")
SESSIONS = [date(2024, 1, n) for n in (2, 3, 4, 5, 8, 9, 10, 11, 12)]
SCORES = [0.5, -0.25, 0.0, 0.75, 0.25, -0.5, 1.0, 0.125, -0.375]
LATE = datetime(2024, 1, 31, tzinfo=UTC)
BASELINE = 3


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"sentiment_baseline": BASELINE})


def noon(day: date) -> datetime:
    """Noon in New York."""
    return datetime(day.year, day.month, day.day, 17, tzinfo=UTC)


def say(
    deps: Deps, moments: Sequence[datetime], scores: Sequence[float], market: str = "XNYS", **columns: Any
) -> Written:
    """Messages of AAA, one a moment; each replaces the one of the same moment."""
    columns = {"confidence": 0.5, "is_retweet": None, "is_duplicate": None} | columns
    frame = pl.DataFrame({"timestamp": moments, "sentiment_score": scores}).with_columns(
        symbol=pl.lit("AAA"),
        source=pl.lit("words"),
        external_id=pl.col("timestamp").dt.to_string(),
        ordinal=pl.lit(0),
        **{name: pl.lit(value) for name, value in columns.items()},
    )
    return deps.raw.upsert(Rows("sentiment", frame.select(SENTIMENT.names()).cast(dict(SENTIMENT)), "raw", market, 1))


def rows(deps: Deps, query: str) -> list[tuple[Any, ...]]:
    return deps.database.frame(statement(query)).rows()  # type: ignore[arg-type]


def daily(deps: Deps) -> list[tuple[Any, ...]]:
    return rows(deps, "SELECT session, mean_score, momentum FROM sentiment_1d ORDER BY session")


def expected(scores: Sequence[float], sessions: Sequence[date] = SESSIONS) -> list[tuple[Any, ...]]:
    series = list(zip(sessions, scores, strict=True))
    return [
        (day, score, pytest.approx(score - fmean(scores[n - BASELINE : n]), abs=1e-12) if n >= BASELINE else None)
        for n, (day, score) in enumerate(series)
    ]


def test_a_corrected_session_changes_the_momentum_of_as_many_later_ones(quick: Settings) -> None:
    with wire(quick) as deps:
        say(deps, [noon(day) for day in SESSIONS], SCORES)
        assert steps.refresh(deps, LATE).rows["sentiment_1d"] == len(SESSIONS)
        assert daily(deps) == expected(SCORES)
        say(deps, [noon(SESSIONS[2])], [-1])
        assert steps.refresh(deps, LATE).rows["sentiment_1d"] == 1 + BASELINE
        assert daily(deps) == expected([*SCORES[:2], -1, *SCORES[3:]])


def test_a_session_that_comes_or_goes_moves_the_baselines_after_it(quick: Settings) -> None:
    with wire(quick.model_copy(update={"sentiment_retweets": "drop"})) as deps:
        without = [n for n in range(len(SESSIONS)) if n != 4]
        say(deps, [noon(SESSIONS[n]) for n in without], [SCORES[n] for n in without])
        steps.refresh(deps, LATE)
        say(deps, [noon(SESSIONS[4])], [SCORES[4]])
        steps.refresh(deps, LATE)
        assert daily(deps) == expected(SCORES)
        say(deps, [noon(SESSIONS[4])], [SCORES[4]], is_retweet=True)
        steps.refresh(deps, LATE)
        assert daily(deps) == expected([SCORES[n] for n in without], [SESSIONS[n] for n in without])


def test_only_a_flag_that_changes_makes_a_message_dirty(deps: Deps) -> None:
    assert say(deps, [noon(SESSIONS[0])], [0.5]).windows == 1
    assert say(deps, [noon(SESSIONS[0])], [0.5]) == Written(unchanged=1)
    assert say(deps, [noon(SESSIONS[0])], [0.5], is_duplicate=True) == Written(changed=1, windows=1)
    assert say(deps, [noon(SESSIONS[0])], [0.5], is_duplicate=True) == Written(unchanged=1)
    assert rows(deps, "SELECT is_retweet, is_duplicate FROM sentiment_data") == [(None, True)]
    assert rows(deps, "SELECT is_retweet, is_duplicate FROM sentiment_data_history") == [(None, None)]


@pytest.mark.parametrize(
    ("update", "due"),
    [
        ({}, datetime(2024, 1, 2, 21, tzinfo=UTC)),
        ({"sentiment_cutoff_offset": timedelta(minutes=-15)}, datetime(2024, 1, 2, 20, 45, tzinfo=UTC)),
        ({"sentiment_cutoff": "midnight"}, datetime(2024, 1, 3, 5, tzinfo=UTC)),
    ],
)
def test_a_session_is_there_once_its_cutoff_has_passed(
    settings: Settings, update: dict[str, Any], due: datetime
) -> None:
    with wire(settings.model_copy(update=update)) as deps:
        at_cutoff, after = due, due + timedelta(seconds=1)
        say(deps, [noon(SESSIONS[0]), at_cutoff, after], [0.5, 1, -1])
        steps.refresh(deps, due - timedelta(seconds=1))
        assert daily(deps) == []
        steps.refresh(deps, due)
        assert daily(deps) == [(SESSIONS[0], 0.75, None)]
        steps.refresh(deps, LATE)
        assert daily(deps) == [(SESSIONS[0], 0.75, None), (SESSIONS[1], -1, None)]


def test_sessions_that_open_the_evening_before_are_found_again_at_midnight(settings: Settings) -> None:
    """The label of such a session, its open, lies before what it collects from."""
    update = {"sentiment_cutoff": "midnight", "sentiment_retweets": "drop"}
    with wire(settings.model_copy(update=update)) as deps:
        say(deps, [noon(SESSIONS[1])], [0.5], market="CMES")
        steps.refresh(deps, LATE)
        assert rows(deps, "SELECT timestamp FROM sentiment_1d") == [(datetime(2024, 1, 2, 23, tzinfo=UTC),)]
        say(deps, [noon(SESSIONS[1])], [-0.5], market="CMES")
        assert steps.refresh(deps, LATE).rows == {"sentiment_1h": 1, "sentiment_1d": 1}
        assert daily(deps) == [(SESSIONS[1], -0.5, None)]
        say(deps, [noon(SESSIONS[1])], [-0.5], market="CMES", is_retweet=True)
        assert steps.refresh(deps, LATE).rows == {"sentiment_1h": 1, "sentiment_1d": 1}
        assert daily(deps) == []


def documented(row: str) -> list[str]:
    """The columns a line of the contract's table names."""
    (found,) = re.findall(rf"^\| `…:{row}` \|(.*)\|$", PAGE, re.MULTILINE)
    return re.findall(r"`(\w+)`", found)


def test_the_bodies_hold_what_the_contract_says(quick: Settings) -> None:
    with wire(quick) as deps:
        say(deps, [noon(day) for day in SESSIONS], SCORES, is_retweet=True)
        steps.refresh(deps, LATE)
        steps.publish(deps, LATE)
        key = f"wb:1:{quick.namespace}:{{AAA}}:sentiment"
        hourly, day, current = (
            decode(deps.client.hget(f"{key}:{name}", "body"))  # type: ignore[arg-type]
            for name in ("1h", "1d", "current")
        )
    every = documented("sentiment:1h")
    assert len(every) == 9
    assert hourly.columns == every
    assert day.columns == [*every, *documented("sentiment:1d")]
    assert current.columns == [*documented("sentiment:current"), *day.columns]
    assert day.select("session", "mean_score", "momentum").rows() == expected(SCORES)
    assert day["weighted_score"].to_list() == pytest.approx(SCORES, abs=1e-15)
    assert current.select("interval", "session").rows() == [("1h", SESSIONS[-1]), ("1d", SESSIONS[-1])]
    assert current["momentum"].to_list() == [None, day["momentum"][-1]]


@pytest.fixture
def old(empty: Servers, settings: Settings) -> Iterator[Servers]:
    """A database at the first revision of the schema, with a message that it counted."""
    migrate.migrate(empty.owner_url, "base")
    migrate.migrate(empty.owner_url, "0001")
    with psycopg.connect(empty.owner_url) as connection:
        connection.execute("SET search_path = warmbars")
        connection.execute("INSERT INTO instruments (symbol, market) VALUES ('AAA', 'XNYS')")
        connection.execute(
            "INSERT INTO sentiment_data VALUES"
            " ('AAA', '2023-12-29 17:00Z', 'words', 'x', 0, 0.5, 0.25, 'raw', now(), 1),"
            " ('AAA', '2024-01-02 17:00Z', 'words', 'y', 0, 1.0, 1.0, 'raw', now(), 1)"
        )
        connection.execute(
            "INSERT INTO sentiment_1d VALUES ('AAA', '2024-01-02 14:30Z', '2024-01-02', 1, 1.0, 1.0, NULL, 1)"
        )
    yield empty
    initialise(settings, Addresses(empty.database_url, empty.owner_url, empty.redis_url))
    truncate(empty)


def test_an_older_database_keeps_its_messages_and_counts_them_again(old: Servers, settings: Settings) -> None:
    initialise(settings, Addresses(old.database_url, old.owner_url, old.redis_url))
    with wire(settings) as deps:
        stored = "SELECT sentiment_score, confidence, is_retweet, is_duplicate FROM sentiment_data ORDER BY timestamp"
        assert rows(deps, stored) == [(0.5, 0.25, None, None), (1.0, 1.0, None, None)]
        assert rows(deps, "SELECT dataset, rows FROM dirty_windows ORDER BY id") == [("sentiment", 1)] * 2
        steps.refresh(deps, LATE)
        assert rows(deps, "SELECT session, weighted_score, positive_share FROM sentiment_1d ORDER BY session") == [
            (date(2023, 12, 29), 0.5, 1.0),
            (date(2024, 1, 2), 1.0, 1.0),
        ]


def test_going_back_gives_up_flags_only_where_none_is_known(old: Servers, settings: Settings) -> None:
    initialise(settings, Addresses(old.database_url, old.owner_url, old.redis_url))
    with psycopg.connect(old.owner_url) as connection:
        connection.execute("UPDATE warmbars.sentiment_data SET is_retweet = false WHERE external_id = 'x'")
    with pytest.raises(ConfigurationError, match="whether a message is a retweet"):
        downgrade(old)
    with psycopg.connect(old.owner_url) as connection:
        connection.execute("UPDATE warmbars.sentiment_data SET is_retweet = NULL")
    downgrade(old)
    with psycopg.connect(old.owner_url) as connection:
        kept = connection.execute("SELECT external_id, price_basis FROM warmbars.sentiment_data ORDER BY 1").fetchall()
    assert kept == [("x", "raw"), ("y", "raw")]


def downgrade(servers: Servers) -> None:
    """To the first revision, as `migrate` would."""
    engine = create_engine(servers.owner_url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with engine.begin() as connection:
            connection.execute(text("SET search_path = warmbars"))
            command.downgrade(migrate.alembic_config(connection), "0001")
    finally:
        engine.dispose()

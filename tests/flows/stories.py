"""A symbol with rows of every kind, and what the store and the cache hold of a symbol: to compare one with another."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from flows import steps
from flows.wiring import Deps
from storage.cache.codec import decode
from storage.market.database import statement, table_name
from storage.market.raw import Rows, Written
from storage.market.tables import SCHEMA, metadata
from storage.market.tables_derived import fills, indicators, rollups
from tests.storage.market.rows import bar_rows, minutes, tick_rows, ticks
from transforms.schema import ACTIONS, SENTIMENT

ZONE = "America/New_York"
OPEN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
"""Of Tuesday the 2nd in New York."""
DAY = timedelta(days=1)
AS_OF = datetime(2024, 1, 20, tzinfo=UTC)
CHOSEN: dict[str, Any] = {
    "indicators": ("sma_3", "ema_3", "obv"),
    "correlation_min_n": 3,
    "correlation_lags": (0,),
    "correlation_windows": (3,),
    "rolling_lags": (0,),
    "sentiment_baseline": 2,
}
EXACT = ("bars_1m", *(table.name for table in (*rollups.values(), *fills.values())))
CLOSE = (
    *("quotes", "adjustment_factors", "correlations", "rolling_correlations", "sentiment_1h", "sentiment_1d"),
    *(table.name for table in indicators.values()),
)
_KEYS = ("timestamp", "from_date", "x", "method", "window_sessions", "lag", "session")


def whole_story(symbol: str) -> dict[str, pl.DataFrame]:
    """Trades of the 2nd and 3rd, minutes of the 3rd and 4th, days until the 12th, messages and a split on the 9th."""
    sessions = [OPEN + n * DAY for n in (0, 1, 2, 3, 6, 7, 8, 9, 10)]
    days = pl.concat(
        [
            minutes(1, symbol=symbol, start=at, price=price).with_columns(granularity=pl.lit("1d"))
            for at, price in zip(sessions, (10.0, 11.0, 10.5, 12.0, 11.5, 6.0, 6.25, 6.5, 6.125), strict=True)
        ]
    )
    messages = [
        {
            **{"symbol": symbol, "timestamp": at + n * timedelta(minutes=50), "source": "words", "external_id": ""},
            **{"ordinal": n, "sentiment_score": (7 * day + 3 * n) % 10 / 10 - 0.4, "confidence": 0.5},
            **{"is_retweet": None, "is_duplicate": None},
        }
        for day, at in enumerate(sessions)
        for n in range(2)
    ]
    action = {"symbol": symbol, "ex_date": date(2024, 1, 9), "action": "split", "source": "news", "ordinal": 0}
    return {
        "ticks": pl.concat([ticks(400, symbol=symbol, start=OPEN + n * DAY, price=10.0 + n) for n in (0, 1)]),
        "bars": pl.concat([*(minutes(9, symbol=symbol, start=OPEN + n * DAY, price=11.0) for n in (1, 2)), days]),
        "sentiment": pl.DataFrame(messages, schema=SENTIMENT),
        "actions": pl.DataFrame([{**action, "value": 2.0}], schema=ACTIONS),
    }


def tell(deps: Deps, story: dict[str, pl.DataFrame]) -> None:
    """Store the rows of a story: trades as whole days."""
    for dataset, frame in story.items():
        if frame.is_empty():
            continue
        if dataset == "ticks":
            sum(deps.raw.replace(tick_rows(frame), ZONE), Written())
        elif dataset == "bars":
            deps.raw.upsert(bar_rows(frame))
        else:
            deps.raw.upsert(Rows(dataset, frame, "raw", "XNYS", 1))  # type: ignore[arg-type]


def foretell(deps: Deps, symbol: str) -> None:
    """A stored forecast, made of nothing."""
    table = metadata.tables[f"{SCHEMA}.forecasts"]
    told = {"symbol": symbol, "target": "return", "model": "naive", "role": "baseline", "session": "2024-01-16"}
    needed = {c.name: 0 for c in table.columns if not c.nullable} | told | {"made_from": "2024-01-12"}
    with deps.database.transaction() as connection:
        names = ", ".join(needed)
        holes = ", ".join(["%s"] * len(needed))
        connection.execute(f"INSERT INTO forecasts ({names}) VALUES ({holes})", [*needed.values()])  # type: ignore[arg-type]


def bring_up_to_date(deps: Deps, as_of: datetime = AS_OF) -> steps.Refreshed:
    """Refresh and publish."""
    refreshed = steps.refresh(deps, as_of)
    steps.publish(deps, as_of)
    return refreshed


def stored(deps: Deps, table: str, symbol: str) -> pl.DataFrame:
    """A symbol's rows of a table, in order, without what names it."""
    query = statement("SELECT * FROM {table} WHERE symbol = {symbol}", table=table_name(table), symbol=symbol)
    frame = deps.database.frame(query).drop("symbol", "run_id", strict=False)
    return frame.sort([column for column in _KEYS if column in frame.columns])


def bodies(deps: Deps, symbol: str) -> dict[str, bytes]:
    """What the cache holds under every key of a symbol but its head."""
    prefix = f"wb:1:{deps.settings.namespace}:{{{symbol}}}:"
    names = [key.decode().removeprefix(prefix) for key in deps.client.scan_iter(match=f"{prefix}*")]
    return {name: deps.client.hgetall(prefix + name)[b"body"] for name in names if name != "head"}


def assert_alike(deps: Deps, found: str, expected: str, why: str = "") -> None:
    """One symbol's derived rows and bodies are those of another."""
    for table in (*EXACT, *CLOSE):
        tolerance: dict[str, Any] = {"check_exact": True} if table in EXACT else {"rel_tol": 1e-9, "abs_tol": 1e-9}
        try:
            assert_frame_equal(stored(deps, table, found), stored(deps, table, expected), **tolerance)
        except AssertionError as exc:
            exc.add_note(f"{table} of {found} {why}")
            raise
    here, there = bodies(deps, found), bodies(deps, expected)
    assert here.keys() == there.keys(), why
    for name, body in here.items():
        assert_frame_equal(decode(body), decode(there[name]), rel_tol=1e-9, abs_tol=1e-9)


def nothing_left(deps: Deps, symbol: str) -> None:
    """No derived row of a symbol, no key, no name of one in its head, and no place on the board or the catalogue."""
    assert [table for table in (*EXACT, *CLOSE) if not stored(deps, table, symbol).is_empty()] == []
    assert bodies(deps, symbol) == {}
    head = deps.reader().head(symbol)
    assert head is None or head.listed == {}
    for frame in (deps.reader().catalogue().value, deps.reader().quotes().value):
        assert symbol not in ([] if frame.is_empty() else frame["symbol"].to_list())

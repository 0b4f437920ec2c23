"""Indicators of a long series after changes far back: what is stored is what computing the whole series gives.

The series is longer than any window and settling time, so that stretches begin and end inside of it, meet, have to go
on further than was first read, or begin so early that no state is there to resume from.
"""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.market.raw import Rows
from storage.settings import DEFAULT_INDICATORS, Settings
from tests.storage.market.rows import bar_rows
from transforms import catalogue
from transforms.equal import changed_rows
from transforms.schema import ACTIONS, BARS, RAW_BARS, UTC_US

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SEEDS = range(int(os.environ.get("WARMBARS_TEST_SEEDS", "1")))
FIRST, SESSIONS = datetime(2024, 1, 2, tzinfo=UTC), 60
SETTLING = tuple(name for name in DEFAULT_INDICATORS if name != "obv")
CASES = {
    "default": DEFAULT_INDICATORS,
    "settling": SETTLING,
    "paths": ("psar", "supertrend", "kama", "stoch_rsi", "adx_14", "adl", "keltner", "tsi"),
}


@pytest.fixture(params=CASES)
def deps(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Deps]:
    chosen = {"indicators": CASES[request.param], "intervals": ("1m", "5m", "1h", "1d")}
    with wire(settings.model_copy(update=chosen)) as wired:
        yield wired


def series(draw: random.Random, sessions: pl.DataFrame) -> pl.DataFrame:
    """A bar every five minutes of each session: one for each 5m bucket."""
    rows, price = [], 100.0
    for opened, closed in sessions.select("open", "close").iter_rows():
        at = opened
        while at < closed:
            price *= 1 + draw.gauss(0, 0.001)
            rows.append(bar(draw, at, price))
            at += timedelta(minutes=5)
    return pl.DataFrame(rows, schema=RAW_BARS, orient="row")


def bar(draw: random.Random, at: datetime, price: float) -> tuple[object, ...]:
    high, low = price * (1 + draw.random() / 500), price * (1 - draw.random() / 500)
    close = low + (high - low) * draw.random()
    return ("AAA", "1m", at, "vendor", price, high, low, close, float(draw.randrange(1, 1000)), None)


def assert_whole(deps: Deps) -> None:
    """Every stored value is that of the whole series, for the same rows."""
    names = deps.settings.indicators
    factors = deps.derived.factors(["AAA"])
    scales = {column.name: column.scale for column in catalogue.columns_of(names) if column.shown}
    for interval in deps.settings.intervals[1:]:
        bars = deps.derived.whole(f"bars_{interval}", ["AAA"], BARS.names()).sort("timestamp")
        for day, factor in factors.select("to_date", "price").iter_rows():
            before = pl.col("session") < day
            bars = bars.with_columns(
                *(
                    pl.when(before).then(pl.col(c) * factor).otherwise(c).alias(c)
                    for c in ("open", "high", "low", "close")
                ),
                pl.when(before).then(pl.col("volume") / factor).otherwise("volume").alias("volume"),
            )
        expected = catalogue.compute(bars, names, keep=("close", "volume"), engine="compiled").lazy()
        stored = deps.derived.whole(f"indicators_{interval}", ["AAA"], ("symbol", "timestamp", *scales)).lazy()
        key = ("symbol", "timestamp")
        wrong = changed_rows(expected, stored, key, scales).collect()
        assert wrong.is_empty(), f"{interval}: {wrong}"
        assert stored.join(expected, on=key, how="anti").collect().is_empty()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_stored_is_the_whole_series(deps: Deps, seed: int) -> None:
    draw = random.Random(seed)
    sessions = deps.market("XNYS", FIRST).sessions.collect().filter(pl.col("open") >= FIRST).head(SESSIONS)
    rows = series(draw, sessions)
    late = (sessions["close"][-1] + timedelta(hours=1)).astimezone(UTC)
    deps.raw.upsert(bar_rows(rows.filter(pl.int_range(pl.len()) % 97 != 5)))
    steps.refresh(deps, late)
    assert_whole(deps)
    for _ in range(6):
        change(deps, draw, rows)
        steps.refresh(deps, late)
        assert_whole(deps)
    split = pl.DataFrame([("AAA", sessions["session"][40], "split", "news", 0, 2.0)], schema=ACTIONS, orient="row")
    deps.raw.upsert(Rows("actions", split, "raw", "XNYS", 1))
    steps.refresh(deps, late)
    assert_whole(deps)
    change(deps, draw, rows)
    steps.refresh(deps, late)
    assert_whole(deps)


def change(deps: Deps, draw: random.Random, rows: pl.DataFrame) -> None:
    """Some bars are corrected, or come late: far back or near, next to each other or apart."""
    count = draw.choice([1, 1, 2, 5])
    spread = draw.choice([1, 30, 400, rows.height])
    start = draw.choice([0, draw.randrange(0, 60), draw.randrange(rows.height), rows.height - 1])
    places = sorted({min(start + draw.randrange(spread), rows.height - 1) for _ in range(count)})
    changed = rows[places]
    kind = draw.choice(["as it is", "volume", "price", "tiny"])
    if kind == "volume":
        changed = changed.with_columns(pl.col("volume") + draw.randrange(1, 500))
    if kind in ("price", "tiny"):
        factor = 1 + (draw.choice([-0.01, 0.02]) if kind == "price" else 1e-7)
        changed = changed.with_columns(pl.col("open", "high", "low", "close") * factor)
    deps.raw.upsert(bar_rows(changed.cast({"timestamp": UTC_US})))

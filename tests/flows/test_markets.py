"""Other exchanges and other hours through the whole pipeline."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows import steps
from flows.wiring import Deps, wire
from storage.market.database import statement
from storage.market.raw import Rows
from storage.settings import Settings
from tests.storage.market.rows import minutes

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


def hours(deps: Deps, frame: pl.DataFrame, market: str) -> list[tuple[object, ...]]:
    """Hour bars that follow from a day of minutes."""
    deps.raw.upsert(Rows("bars", frame, "raw", market, 1))
    steps.refresh(deps, datetime.now(UTC))
    query = "SELECT timestamp, volume FROM bars_1h ORDER BY timestamp"
    return deps.database.frame(statement(query)).rows()


def day(start: datetime, length: timedelta) -> pl.DataFrame:
    """A bar of 100 shares every minute."""
    return minutes(length // timedelta(minutes=1), start=start)


def at(day_of_month: int, hour: int, minute: int) -> datetime:
    return datetime(2024, 6, day_of_month, hour, minute, tzinfo=UTC)


def test_tokyo_stops_for_lunch(deps: Deps) -> None:
    """09:00 to 11:30 and 12:30 to 15:00, nine hours ahead; buckets start anew after the break."""
    found = hours(deps, day(at(4, 0, 0), timedelta(hours=6)), "XTKS")
    assert found == [
        (at(4, 0, 0), 6000.0),
        (at(4, 1, 0), 6000.0),
        (at(4, 2, 0), 3000.0),
        (at(4, 3, 30), 6000.0),
        (at(4, 4, 30), 6000.0),
        (at(4, 5, 30), 3000.0),
    ]


def test_mumbai_opens_at_a_quarter_past(deps: Deps) -> None:
    """09:15 to 15:30, five and a half hours ahead."""
    found = hours(deps, day(at(4, 3, 0), timedelta(hours=8)), "XBOM")
    assert found[0] == (at(4, 3, 45), 6000.0)
    assert found[-1] == (at(4, 9, 45), 1600.0)  # a quarter of an hour, and the minute labelled with the close
    assert len(found) == 7


def test_round_the_clock_a_day_has_24_hours(deps: Deps) -> None:
    found = hours(deps, day(at(8, 0, 0), timedelta(days=2)), "24/7")
    assert found == [(at(8, 0, 0) + timedelta(hours=n), 6000.0) for n in range(48)]


def test_all_hours_extend_the_grid_backwards_from_the_open(settings: Settings) -> None:
    """New York opens at 13:30 UTC in summer: 12:30, 11:30 ... before it, and 20:00 after the close."""
    with wire(settings.model_copy(update={"trading_hours": "all"})) as deps:
        found = hours(deps, day(at(4, 11, 0), timedelta(hours=10)), "XNYS")
    labels = [row[0] for row in found]
    assert labels[:3] == [at(4, 10, 30), at(4, 11, 30), at(4, 12, 30)]
    assert at(4, 13, 30) in labels
    assert labels[-2:] == [at(4, 19, 30), at(4, 20, 0)]
    assert found[-2][1] == 3000.0


def test_on_the_clock_buckets_start_at_whole_hours(settings: Settings) -> None:
    with wire(settings.model_copy(update={"align": "clock"})) as deps:
        found = hours(deps, day(at(4, 13, 30), timedelta(hours=6, minutes=30)), "XNYS")
    assert [row[0] for row in found] == [at(4, 13, 30), *(at(4, h, 0) for h in range(14, 20))]
    assert found[0][1] == 3000.0

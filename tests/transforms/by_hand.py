"""The session rules once more, in plain Python over lists of buckets, to compare the transforms with."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.strategies import sessions_of
from transforms.schema import Interval
from transforms.sessions import BucketRules

ZONES = {"XNYS": "America/New_York", "XTKS": "Asia/Tokyo", "XBOM": "Asia/Kolkata", "24/7": "UTC"}
MINUTE = timedelta(minutes=1)
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}


class Bucket(NamedTuple):
    """[start, end) of the session of that date."""

    session: Any
    start: datetime
    end: datetime


@cache
def buckets_of(case: str, interval: Interval, rules: BucketRules) -> list[Bucket]:
    """Every bucket of the case's sessions, found by walking minute by minute."""
    zone = ZoneInfo(ZONES[case.split()[0]])
    found: list[Bucket] = []
    for row in sessions_of(case).rows(named=True):
        stretches = list(_stretches(row, rules))
        if interval == "1d":
            found.append(Bucket(row["session"], stretches[0][0], stretches[-1][1]))
            continue
        for start, end in stretches:
            edges = [
                start,
                *(m for m in _grid(start, end, interval, rules, row, zone) if start < m < end),
                end,
            ]
            found += [Bucket(row["session"], a, b) for a, b in zip(edges, edges[1:], strict=False)]
    return found


def _stretches(row: dict[str, Any], rules: BucketRules) -> Iterator[tuple[datetime, datetime]]:
    pauses = [row["break_start"], row["break_end"]] if row["break_start"] else []
    if rules.trading_hours == "regular":
        edges = [row["open"], *pauses, row["close"]]
        yield from zip(edges[::2], edges[1::2], strict=True)
        return
    edges = [row["day_start"], row["open"], *pauses, row["close"], row["day_end"]]
    yield from ((a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b)


def _grid(
    start: datetime,
    end: datetime,
    interval: Interval,
    rules: BucketRules,
    row: dict[str, Any],
    zone: ZoneInfo,
) -> Iterator[datetime]:
    """The minutes of the stretch at which a bucket starts."""
    length = MINUTES[interval]
    for number in range(int((end - start) / MINUTE)):
        moment = start + number * MINUTE
        if rules.align == "clock":
            local = moment.astimezone(zone)
            on_grid = (local.hour * 60 + local.minute) % length == 0
        else:
            origin = end if end == row["open"] else start
            on_grid = int((moment - origin) / MINUTE) % length == 0
        if on_grid:
            yield moment


def bucket_of(moment: datetime, buckets: Sequence[Bucket]) -> Bucket | None:
    """The bucket that contains a moment."""
    return next((bucket for bucket in buckets if bucket.start <= moment < bucket.end), None)

"""The session rules once more, in plain Python over lists of buckets, to compare the transforms with."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.strategies import sessions_of
from transforms.sessions import BucketRules

ZONES = {
    "XNYS": "America/New_York",
    "XTKS": "Asia/Tokyo",
    "XBOM": "Asia/Kolkata",
    "XHKG": "Asia/Hong_Kong",
    "XTAE": "Asia/Jerusalem",
    "24/7": "UTC",
}
MINUTE = timedelta(minutes=1)
DAYS = ("1d", "1w", "1mo")
WIDER = ("7m", "90m", "24h", "1w", "1mo")
"""Intervals beyond those that are kept."""


class Bucket(NamedTuple):
    """[start, end) of the session of that date."""

    session: Any
    start: datetime
    end: datetime


@cache
def buckets_of(case: str, interval: str, rules: BucketRules) -> list[Bucket]:
    """Every bucket of the case's sessions, found by walking minute by minute."""
    if interval in DAYS:
        return list(_whole_sessions(case, interval, rules))
    zone = ZoneInfo(ZONES[case.split()[0]])
    found: list[Bucket] = []
    for row in sessions_of(case).rows(named=True):
        for start, end in _stretches(row, rules):
            edges = [
                start,
                *(m for m in _grid(start, end, interval, rules, row, zone) if start < m < end),
                end,
            ]
            found += [Bucket(row["session"], a, b) for a, b in zip(edges, edges[1:], strict=False)]
    return found


def _whole_sessions(case: str, interval: str, rules: BucketRules) -> Iterator[Bucket]:
    """Sessions of one day, one ISO week or one calendar month."""

    def period(row: dict[str, Any]) -> Any:
        day: date = row["session"]
        return {"1d": day, "1w": day.isocalendar()[:2], "1mo": (day.year, day.month)}[interval]

    for _, rows in groupby(sessions_of(case).rows(named=True), key=period):
        sessions = list(rows)
        stretches = [stretch for row in sessions for stretch in _stretches(row, rules)]
        yield Bucket(sessions[0]["session"], stretches[0][0], stretches[-1][1])


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
    interval: str,
    rules: BucketRules,
    row: dict[str, Any],
    zone: ZoneInfo,
) -> Iterator[datetime]:
    """The minutes of the stretch at which a bucket starts; on a day of two clocks, those of its last."""
    length = int(interval[:-1]) * {"m": 1, "h": 60}[interval[-1]]
    ahead = (row["day_end"] - MINUTE).astimezone(zone).utcoffset()
    for number in range(int((end - start) / MINUTE)):
        moment = start + number * MINUTE
        if rules.align == "clock":
            local = (moment + ahead).replace(tzinfo=None)
            midnight = datetime.combine(row["session"], time())
            on_grid = int((local - midnight) / MINUTE) % length == 0
        else:
            origin = end if end == row["open"] else start
            on_grid = int((moment - origin) / MINUTE) % length == 0
        if on_grid:
            yield moment


def bucket_of(moment: datetime, buckets: Sequence[Bucket]) -> Bucket | None:
    """The bucket that contains a moment."""
    return next((bucket for bucket in buckets if bucket.start <= moment < bucket.end), None)

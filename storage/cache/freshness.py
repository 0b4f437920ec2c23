"""When a value is stale: a question of who last checked, never of the value's own age."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from storage.cache.keys import dataset_of


class Traded(Protocol):
    """Whether a symbol's market was open at any time between two moments."""

    def __call__(self, symbol: str, start: datetime, end: datetime) -> bool:
        """Answer for (start, end]."""
        ...


def always_traded(symbol: str, start: datetime, end: datetime) -> bool:
    """A market that never closes."""
    return True


def wall_clock() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Freshness:
    """Calls a value stale or fresh.

    A value is fresh while the last check is no older than its dataset's soft TTL (`soft_ttl`, seconds), or
    while its market has not been open since that check. A check further in the future than the soft TTL is a
    wrong clock and vouches for nothing.
    """

    soft_ttl: Mapping[str, int]
    traded: Traded = always_traded
    now: Callable[[], datetime] = wall_clock

    def stale(self, symbol: str, name: str, checked: datetime | None) -> bool:
        """Whether the key `name` of `symbol` has outlived its contract, last checked at `checked` (None: never)."""
        if checked is None:
            return True
        now, ttl = self.now(), timedelta(seconds=self.soft_ttl[dataset_of(name)])
        if abs(now - checked) <= ttl:
            return False
        return checked > now or self.traded(symbol, checked, now)

    def outlived(self, symbol: str, session: date) -> bool:
        """Whether the symbol's market was open on a day (UTC) after `session`: what was expected of it is past."""
        now, end = self.now(), datetime.combine(session, time(), UTC) + timedelta(days=1)
        return now > end and self.traded(symbol, end, now)

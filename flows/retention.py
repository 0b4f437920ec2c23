"""Retention as the settings ask for it: horizons move forward, and what lies below them goes. No Prefect here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from flows.wiring import Deps, Report, silent
from storage.market.database import statement
from storage.market.horizons import EXPIRING
from storage.market.retention import Hold
from transforms.errors import PermanentError
from transforms.schema import MARKET_SYMBOL
from transforms.sessions import days_of

_DAY = timedelta(days=1)
_MARKETS = statement(
    "SELECT DISTINCT market FROM instruments WHERE symbol <> {symbol} ORDER BY market", symbol=MARKET_SYMBOL
)


@dataclass(frozen=True, slots=True)
class Applied:
    """What retention did to a dataset: its horizon before and after, and raw rows deleted, their history included.

    Of a dry run: what it would do, and the rows without their history.
    """

    dataset: str
    keeps: timedelta
    before: datetime | None
    horizon: datetime
    deleted: int


@dataclass(frozen=True, slots=True)
class Kept:
    """How far back a dataset goes: the setting, the horizon, and what is held. None: everything is kept."""

    dataset: str
    keeps: timedelta | None
    horizon: datetime | None
    holds: Sequence[Hold]


def show(deps: Deps) -> list[Kept]:
    """How far back each dataset goes that can expire."""
    horizons, holds = deps.retention.horizons(), deps.retention.holds()
    wanted: dict[str, timedelta] = {str(dataset): keeps for dataset, keeps in deps.settings.retention.items()}
    return [Kept(d, wanted.get(d), horizons.get(d), [hold for hold in holds if hold.dataset == d]) for d in EXPIRING]


def apply(deps: Deps, as_of: datetime, progress: Report | None = None, *, dry_run: bool = False) -> list[Applied]:
    """Move the horizon of each dataset with a retention to `as_of` less that, and delete what lies below.

    Never back, and at most to the beginning of a session's day in the default market. What a hold covers stays. Raises
    `StoreUnavailable` while rows of the dataset are being written; a killed one leaves the rest to the next.
    """
    say = progress or silent
    horizons, wanted = deps.retention.horizons(), deps.settings.retention
    if not wanted:
        return []
    _know_all_markets(deps, as_of)
    if dry_run:
        return [_foreseen(deps, dataset, keeps, horizons.get(dataset), as_of) for dataset, keeps in wanted.items()]
    done: list[Applied] = []
    with deps.runs.run("retention", as_of) as run:
        for dataset, keeps in wanted.items():
            target = _target(deps, keeps, horizons.get(dataset), as_of)
            say(f"moving the horizon of {dataset} to {target:%Y-%m-%d %H:%M}")
            deps.retention.advance(dataset, target)
            deleted = 0
            for symbol, rows in deps.retention.expire(dataset):
                deleted += rows
                say(f"deleting {dataset} of {symbol}: {deleted:,} rows so far")
            done.append(Applied(dataset, keeps, horizons.get(dataset), target, deleted))
        run.summary = {each.dataset: {"horizon": each.horizon.isoformat(), "deleted": each.deleted} for each in done}
    return done


def hold(deps: Deps, datasets: Sequence[str], first: date, last: date, reason: str, expires_at: datetime) -> list[Hold]:
    """Hold retention off these dates of the default market, both included, until `expires_at`; one hold a dataset.

    A local day of another market is held if it lies in them whole. What has expired already stays gone: bring whole
    days back, since a day is computed again from what it has then.
    """
    if first > last:
        raise PermanentError(f"there are no days from {first} to {last}")
    if expires_at <= datetime.now(UTC):
        raise PermanentError(f"a hold until {expires_at.isoformat()} is over already")
    if not reason.strip():
        raise PermanentError("say what the hold is for (--reason)")
    zone = ZoneInfo(deps.calendars.hours(deps.settings.market, datetime.now(UTC).date()).time_zone)

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)

    return [
        deps.retention.hold(Hold(dataset, midnight(first), midnight(last + _DAY), reason, expires_at))
        for dataset in datasets
    ]


def _foreseen(deps: Deps, dataset: str, keeps: timedelta, before: datetime | None, as_of: datetime) -> Applied:
    target = _target(deps, keeps, before, as_of)
    return Applied(dataset, keeps, before, target, deps.retention.expired(dataset, target))


def _target(deps: Deps, keeps: timedelta, before: datetime | None, as_of: datetime) -> datetime:
    """The beginning of the local day, in the default market, of the newest session that has begun by then."""
    moment = as_of - keeps
    sessions = deps.calendars.hours(deps.settings.market, as_of.date()).sessions
    begun = days_of(sessions.lazy()).select(pl.col("_day_start")).filter(pl.col("_day_start") <= moment).collect()
    found: datetime = begun["_day_start"][-1] if begun.height else moment
    return found if before is None else max(found, before)


def _know_all_markets(deps: Deps, as_of: datetime) -> None:
    """Store the sessions of every market there is: by them a horizon is the beginning of a day."""
    markets = deps.database.frame(_MARKETS)["market"].to_list()
    for market in markets:
        deps.calendars.hours(market, as_of.date())

"""Deleting raw rows: which ones a user means, and what becomes of them. No Prefect here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from flows.wiring import Deps, Report, silent
from storage.market.removal import Matched, Removal, RemovalStore, Removed
from transforms.errors import PermanentError, UnknownSymbol
from transforms.schema import MARKET_SYMBOL, Dataset, Granularity

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deletion:
    """Rows of a dataset as a user names them.

    `first`, `last`: a date of the symbol's market, which is meant whole, or an instant with its zone; `last` as an
    instant is not included. None: from the oldest, to the newest.
    """

    dataset: Dataset
    symbols: Sequence[str]
    first: date | datetime | None = None
    last: date | datetime | None = None
    granularity: Granularity | None = None
    source: str | None = None


def removals(deps: Deps, deletion: Deletion) -> list[Removal]:
    """What is meant, a symbol each. Raises `UnknownSymbol`, or `PermanentError` for what makes no sense."""
    if deletion.granularity is not None and deletion.dataset != "bars":
        raise PermanentError(f"{deletion.dataset} have no granularity; leave out --granularity")
    return [_removal(deps, deletion, symbol) for symbol in dict.fromkeys(deletion.symbols)]


def match(deps: Deps, some: Sequence[Removal]) -> dict[str, list[Matched]]:
    """What each symbol's removal is of, by source."""
    store = RemovalStore(deps.database)
    return {removal.symbol: store.match(removal) for removal in some}


def delete(deps: Deps, some: Sequence[Removal], as_of: datetime, progress: Report | None = None) -> list[Removed]:
    """Delete the rows, each symbol's in a transaction of its own; the next refresh computes what is left."""
    store = RemovalStore(deps.database)
    done: list[Removed] = []
    with deps.runs.run("delete", as_of) as run:
        for removal in some:
            (progress or silent)(f"deleting {removal.dataset} of {removal.symbol}")
            done.append(store.delete(removal, run.id))
        run.summary = {"rows": {removed.symbol: removed.rows for removed in done}}
    return done


def _removal(deps: Deps, deletion: Deletion, symbol: str) -> Removal:
    market = deps.calendars.market_of(symbol)
    if market is None or symbol == MARKET_SYMBOL:
        raise UnknownSymbol(f"no row of {symbol} was ever ingested; see: warmbars symbol list")
    if deletion.dataset == "actions":
        since, until = _dates(deletion)
    else:
        zone = ZoneInfo(deps.calendars.hours(market, datetime.now(UTC).date()).time_zone)
        since = None if deletion.first is None else _instant(deletion.first, zone)
        until = None if deletion.last is None else _instant(_after(deletion.last), zone)
    if since is not None and until is not None and since >= until:
        raise PermanentError(f"there is nothing from {deletion.first} to {deletion.last}")
    return Removal(deletion.dataset, symbol, since, until, deletion.granularity, deletion.source)


def _dates(deletion: Deletion) -> tuple[date | None, date | None]:
    for moment in (deletion.first, deletion.last):
        if isinstance(moment, datetime):
            raise PermanentError(f"actions have dates, no times: write {moment.date()} instead of {moment.isoformat()}")
    return deletion.first, None if deletion.last is None else _after(deletion.last)


def _after(last: date | datetime) -> date | datetime:
    return last if isinstance(last, datetime) else last + _DAY


def _instant(moment: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC)
    return datetime(moment.year, moment.month, moment.day, tzinfo=zone).astimezone(UTC)
